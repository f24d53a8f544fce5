//! What both kinds of pooling do on the way back.

use std::ops::Range;

use crate::element::{Element, through};
use crate::engine::Engine;
use crate::epilogue::{GradTarget, partial_len};
use crate::load::{GradLoad, Rows};
use crate::window::{Window, segments};

/// A window that an input pixel is in: the output pixel, its rows for some pictures, and the input pixel's place in it.
pub(crate) struct Under {
    pub(crate) pixel: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) tap: usize,
}

/// Every input pixel collects from the windows that it is in: `collect(window, their gradient, its gradient)`.
pub(crate) fn backward<E: Element>(
    engine: &mut Engine,
    window: &Window,
    (n, c, tile_rows): (usize, usize, usize),
    dy: GradLoad<'_, E>,
    dx: GradTarget<'_, E>,
    collect: impl Fn(Under, &[f32], &mut [f32]) + Sync,
) {
    let isa = engine.isa;
    let GradTarget { dx, add, epilogue, sums } = dx;
    let cut = (c, tile_rows, partial_len(c));
    let partials = engine.threads.for_tiles(&mut engine.partials, dx, cut, |tile, scratch| {
        through(isa, tile.out, add, scratch, |dx, scratch| {
            if !add {
                dx.fill(0.0);
            }
            for s in segments(tile.first_row..tile.first_row + dx.len() / c, n) {
                let out = &mut dx[s.at.start * c..s.at.end * c];
                for tap in 0..window.n_taps() {
                    let Some(pixel) = window.output(s.pixel, tap) else { continue };
                    let rows = pixel * n + s.pictures.start..pixel * n + s.pictures.end;
                    let value = scratch.a.take(out.len());
                    dy.eval(isa, rows.clone(), 0..c, value, c);
                    collect(Under { pixel, rows, tap }, value, out);
                }
            }
            epilogue.finish(dx, tile.first_row, scratch);
        });
        epilogue.take_sums(tile.out, tile.first_row, tile.partial);
    });
    sums.merge(c, partials);
}
