//! Max-pooling: taps compete in order, and the winner's position is kept for the way back.

use resnet_core::op::{MaxPool, PadValue};
use resnet_core::{GradOut, GradSource, Result, Source, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::element::{Element, through};
use crate::engine::Engine;
use crate::epilogue::{Forward, GradTarget};
use crate::kernels::pool;
use crate::load::{GradLoad, Load, Rows, X};
use crate::pools;
use crate::stats;
use crate::threads::{Scratch, grown};
use crate::window::{Window, pass_tile_rows, segments};

/// Forward.
pub(crate) fn max_pool<E: Element>(
    engine: &mut Engine,
    op: &MaxPool,
    x: Source<'_, Buffer>,
    y: &mut Buffer,
    index: Option<&mut Buffer>,
    sums: Option<&mut Buffer>,
) -> Result<()> {
    const OP: &str = "max_pool";
    let (c, n, desc) = (op.c(), op.n(), op.y_desc());
    let x = Load::<E>::open(OP, &X, x, &op.x_desc())?;
    check(OP, "y", y, &desc)?;
    if let Some(index) = &index {
        check(OP, "index", index, &op.index_desc())?;
    }
    if let Some(sums) = &sums {
        check(OP, "sums", sums, &TensorDesc::sums(c))?;
    }

    let (isa, window, tile_rows) = (engine.isa, Window::from(op), pass_tile_rows(c));
    let zero_competes = op.pad_value() == PadValue::Zero;
    let epilogue = Forward { isa, bias: None, finish: None, sums: sums.is_some() };
    let best_of = |first_row: usize, y: &mut [f32], index: &mut [u8], value: &mut [f32]| {
        for s in segments(first_row..first_row + y.len() / c, n) {
            let cells = s.at.start * c..s.at.end * c;
            let index = if index.is_empty() { &mut [][..] } else { &mut index[cells.clone()] };
            let best = &mut y[cells];
            let value = &mut value[..best.len()];
            let mut empty = true;
            for tap in 0..window.n_taps() {
                let position = match window.input(s.pixel, tap) {
                    Some(pixel) => {
                        let rows = pixel * n + s.pictures.start..pixel * n + s.pictures.end;
                        x.eval(isa, rows, 0..c, value, c);
                        tap as u8 // a window has at most 255 positions
                    }
                    None if zero_competes => {
                        value.fill(0.0);
                        MaxPool::OUTSIDE
                    }
                    None => continue,
                };
                if empty {
                    pool::first(isa, value, position, best, index);
                } else {
                    pool::compete(isa, value, position, best, index);
                }
                empty = false;
            }
        }
    };
    let tile = |i: usize, y: &mut [E], index: &mut [u8], partial: &mut [f64], scratch: &mut Scratch| {
        through(isa, y, false, scratch, |y, scratch| {
            best_of(i * tile_rows, y, index, scratch.a.take(tile_rows * c));
        });
        epilogue.take_sums(y, c, partial);
    };

    let y = y.elements_mut::<E>(desc.len());
    let cells = tile_rows * c;
    let n_tiles = y.len().div_ceil(cells);
    let partials = grown(&mut engine.partials, n_tiles * 2 * c);
    let tiles = y.chunks_mut(cells).zip(partials.chunks_mut(2 * c)).enumerate();
    match index {
        Some(index) => {
            let tiles = tiles.zip(index.u8_mut(desc.len()).chunks_mut(cells));
            engine.threads.run(tiles, |((i, (y, partial)), index), scratch| {
                tile(i, y, index, partial, scratch);
            });
        }
        None => engine.threads.run(tiles, |(i, (y, partial)), scratch| {
            tile(i, y, &mut [], partial, scratch);
        }),
    }
    if let Some(sums) = sums {
        stats::merge_moments(partials, 2 * c, desc.len() / c, tile_rows, sums.f64_mut(2 * c));
    }
    Ok(())
}

/// Backward: an input pixel collects the gradients of the windows that it won.
pub(crate) fn max_pool_backward<E: Element>(
    engine: &mut Engine,
    op: &MaxPool,
    dy: GradSource<'_, Buffer>,
    index: &Buffer,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    const OP: &str = "max_pool_backward";
    let (c, n) = (op.c(), op.n());
    let dy = GradLoad::<E>::open(OP, dy, &op.y_desc())?;
    check(OP, "index", index, &op.index_desc())?;
    let (isa, window) = (engine.isa, Window::from(op));
    let dx = GradTarget::<E>::open(OP, isa, dx, &op.x_desc())?;
    let index = index.u8(op.index_desc().len());
    pools::backward(engine, &window, (n, c, pass_tile_rows(c)), dy, dx, |under, value, out| {
        let index = &index[under.rows.start * c..under.rows.end * c];
        pool::route(isa, value, index, under.tap as u8, out);
    });
    Ok(())
}
