//! Average pooling over the pixels of a window that lie inside the image.

use resnet_core::op::AvgPool;
use resnet_core::{GradOut, GradSource, Result, Source};

use crate::buffer::{Buffer, check};
use crate::element::{Element, through};
use crate::engine::Engine;
use crate::epilogue::GradTarget;
use crate::kernels::load;
use crate::load::{GradLoad, Load, Rows, X};
use crate::pools;
use crate::window::{Window, pass_tile_rows, segments};

/// Forward.
pub(crate) fn avg_pool<E: Element>(
    engine: &mut Engine,
    op: &AvgPool,
    x: Source<'_, Buffer>,
    y: &mut Buffer,
) -> Result<()> {
    const OP: &str = "avg_pool";
    let (c, n, desc) = (op.c(), op.n(), op.y_desc());
    let x = Load::<E>::open(OP, &X, x, &op.x_desc())?;
    check(OP, "y", y, &desc)?;
    let (isa, window) = (engine.isa, Window::from(op));
    engine.threads.for_tiles(
        &mut engine.partials,
        y.elements_mut::<E>(desc.len()),
        (c, tile_rows(op), 1),
        |tile, scratch| {
            through(isa, tile.out, false, scratch, |y, scratch| {
                y.fill(0.0);
                for s in segments(tile.first_row..tile.first_row + y.len() / c, n) {
                    let out = &mut y[s.at.start * c..s.at.end * c];
                    for tap in 0..window.n_taps() {
                        let Some(pixel) = window.input(s.pixel, tap) else { continue };
                        let rows = pixel * n + s.pictures.start..pixel * n + s.pictures.end;
                        let value = scratch.a.take(out.len());
                        x.eval(isa, rows, 0..c, value, c);
                        load::add(isa, out, value);
                    }
                    let count = n_inside(&window, s.pixel);
                    out.iter_mut().for_each(|v| *v /= count);
                }
            });
        },
    );
    Ok(())
}

/// Backward: an input pixel collects its share of the gradients of the windows that it is in.
pub(crate) fn avg_pool_backward<E: Element>(
    engine: &mut Engine,
    op: &AvgPool,
    dy: GradSource<'_, Buffer>,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    const OP: &str = "avg_pool_backward";
    let (c, n) = (op.c(), op.n());
    let dy = GradLoad::<E>::open(OP, dy, &op.y_desc())?;
    let (isa, window) = (engine.isa, Window::from(op));
    let dx = GradTarget::<E>::open(OP, isa, dx, &op.x_desc())?;
    // Larger tiles than forward, since each leaves sums behind that are as long as some of its rows.
    let tile_rows = pass_tile_rows(c).max((op.h() * op.w() * n).div_ceil(16));
    pools::backward(engine, &window, (n, c, tile_rows), dy, dx, |under, value, out| {
        load::add_scaled(isa, out, value, 1.0 / n_inside(&window, under.pixel));
    });
    Ok(())
}

/// Pixels under the window of an output pixel.
fn n_inside(window: &Window, pixel: usize) -> f32 {
    (0..window.n_taps()).filter(|&tap| window.input(pixel, tap).is_some()).count() as f32
}

/// Rows of a tile: fewer than of other passes where the output is small, so that a global pool still has parts to share.
fn tile_rows(op: &AvgPool) -> usize {
    let rows = op.p() * op.q() * op.n();
    pass_tile_rows(op.c()).min(rows.div_ceil(8))
}
