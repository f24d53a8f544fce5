//! The gradient of the input: `dx[n,i,j,c] = Σ_{r,s,k} dy[n,p,q,k] · w[k,r,s,c]` over the windows `p, q` that have pixel `i, j`
//! under tap `r, s`.
//!
//! It gathers like the forward pass, with the window read backwards: no two tasks write one pixel, and a stride only means
//! that some taps find no window.

use resnet_core::op::Conv2d;
use resnet_core::{GradOut, GradSource, Result};

use super::gather::{Gather, Weights};
use crate::buffer::{Buffer, check};
use crate::engine::Engine;
use crate::epilogue::{GradTarget, partial_len};
use crate::load::GradLoad;
use crate::window::{Window, product_tile_rows};

const OP: &str = "conv2d_backward_data";

pub(crate) fn conv2d_backward_data(
    engine: &mut Engine,
    op: &Conv2d,
    dy: GradSource<'_, Buffer>,
    w: &Buffer,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    let (c, w_desc) = (op.c(), op.w_desc());
    let rows = GradLoad::open(OP, dy, &op.y_desc())?;
    check(OP, "w", w, &w_desc)?;
    let target = GradTarget::open(OP, engine.isa, dx, &op.x_desc())?;

    let window = Window::from(op);
    let (depth, width) = (op.k() / op.groups(), c / op.groups());
    let gather = Gather {
        isa: engine.isa,
        n: op.n(),
        groups: op.groups(),
        n_taps: window.n_taps(),
        depth,
        width,
        rows,
        locate: |pixel, tap| window.output(pixel, tap),
        weights: Weights {
            data: w.f32(w_desc.len()),
            group: depth * window.n_taps() * width,
            tap_stride: width,
            rs: window.n_taps() * width,
            cs: 1,
        },
    };
    let tile_rows = product_tile_rows(op.h() * op.w(), op.n());
    let GradTarget { dx, add, epilogue, sums } = target;
    let partials = engine.for_tiles(dx, c, tile_rows, partial_len(c), |tile, scratch| {
        gather.tile(tile.first_row, tile.out, add, &mut scratch.a);
        epilogue.finish(tile.out, tile.first_row, tile.partial, &mut scratch.b);
    });
    sums.merge(c, partials);
    Ok(())
}
