//! The gradient of the input: `dx[n,i,j,c] = Σ_{r,s,k} dy[n,p,q,k] · w[k,r,s,c]` over the windows `p, q` that have pixel `i, j`
//! under tap `r, s`.
//!
//! It gathers like the forward pass, with the window read backwards: no two tasks write one pixel, and a stride only means
//! that some taps find no window.

use resnet_core::op::Conv2d;
use resnet_core::{GradOut, GradSource, Result};

use super::gather::{Cut, Extents, Gather};
use super::weights::{Direction, Weights};
use crate::buffer::{Buffer, check};
use crate::direct;
use crate::element::{Element, through};
use crate::engine::Engine;
use crate::epilogue::{GradTarget, partial_len};
use crate::load::GradLoad;
use crate::window::Window;

const OP: &str = "conv2d_backward_data";

pub(crate) fn conv2d_backward_data<E: Element>(
    engine: &mut Engine,
    op: &Conv2d,
    dy: GradSource<'_, Buffer>,
    w: &Buffer,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    let (c, w_desc) = (op.c(), op.w_desc());
    let rows = GradLoad::<E>::open(OP, dy, &op.y_desc())?;
    check(OP, "w", w, &w_desc)?;
    let target = GradTarget::open(OP, engine.isa, dx, &op.x_desc())?;
    if engine.direct.handles(op) {
        direct::backward_data(engine, op, rows, w.f32(w_desc.len()), target);
        return Ok(());
    }
    let GradTarget { dx, add, epilogue, sums } = target;

    let Engine { isa, threads, partials, weights, .. } = engine;
    let (isa, window, extents) = (*isa, Window::from(op), extents(op));
    let n_rows = extents.pixels * extents.n;
    let weights =
        Weights::new(threads, isa, op, Direction::BackwardData, w.f32(w_desc.len()), n_rows, weights);
    let cut = Cut::new(&extents);
    let locate = |pixel, tap| window.output(pixel, window.n_taps() - 1 - tap); // as `Weights` has them
    let gather = Gather { isa, extents, cut, rows, locate, weights };
    let cut = (c, cut.tile_rows(), partial_len(c));
    let partials = threads.for_tiles(partials, dx, cut, |tile, scratch| {
        through(isa, tile.out, add, scratch, |out, scratch| {
            gather.tile(tile.first_row, out, add, scratch);
            epilogue.finish(out, tile.first_row, scratch);
        });
        epilogue.take_sums(tile.out, tile.first_row, tile.partial);
    });
    sums.merge(c, partials);
    Ok(())
}

/// The extents of the direction.
pub(crate) fn extents(op: &Conv2d) -> Extents {
    Extents {
        n: op.n(),
        pixels: op.h() * op.w(),
        in_pixels: op.p() * op.q(),
        groups: op.groups(),
        window: (op.r(), op.s()),
        depth: op.k() / op.groups(),
    }
}
