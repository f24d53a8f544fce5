//! What both kinds of pooling do on the way back.

use std::ops::Range;

use crate::element::{Element, through};
use crate::engine::Engine;
use crate::epilogue::{BLOCK, GradTarget, partial_len};
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
    // A block at a time: what windows add up, the mask and the sums find it in the innermost cache.
    let block_rows = (BLOCK / c).max(1);
    let partials = engine.threads.for_tiles(&mut engine.partials, dx, cut, |tile, scratch| {
        for (i, block) in tile.out.chunks_mut(block_rows * c).enumerate() {
            let first_row = tile.first_row + i * block_rows;
            epilogue.prefetch(first_row..first_row + block.len() / c);
            through(isa, block, add, scratch, |dx, scratch| {
                if !add {
                    dx.fill(0.0);
                }
                for s in segments(first_row..first_row + dx.len() / c, n) {
                    let out = &mut dx[s.at.start * c..s.at.end * c];
                    for tap in 0..window.n_taps() {
                        let Some(pixel) = window.output(s.pixel, tap) else { continue };
                        let rows = pixel * n + s.pictures.start..pixel * n + s.pictures.end;
                        let value = match dy.stored(rows.clone()) {
                            Some(stored) => stored,
                            None => {
                                let value = scratch.a.take(out.len());
                                dy.eval(isa, rows.clone(), 0..c, value, c);
                                value
                            }
                        };
                        collect(Under { pixel, rows, tap }, value, out);
                    }
                }
                epilogue.finish(dx, first_row, scratch);
            });
            epilogue.take_sums(block, first_row, tile.partial);
        }
    });
    sums.merge(c, partials);
}
