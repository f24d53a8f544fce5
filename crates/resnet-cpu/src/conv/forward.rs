//! `y[n,p,q,k] = bias[k] + Σ_{r,s,c} x[n, p·stride − top + r, q·stride − left + s, c] · w[k,r,s,c]`.

use resnet_core::op::Conv2d;
use resnet_core::{Result, Source, TensorDesc};

use super::gather::{Gather, Weights};
use crate::buffer::{Buffer, check};
use crate::engine::Engine;
use crate::epilogue::Forward;
use crate::load::{Load, X};
use crate::stats;
use crate::window::{Window, product_tile_rows};

const OP: &str = "conv2d";

pub(crate) fn conv2d(
    engine: &mut Engine,
    op: &Conv2d,
    x: Source<'_, Buffer>,
    w: &Buffer,
    bias: Option<&Buffer>,
    y: &mut Buffer,
    sums: Option<&mut Buffer>,
) -> Result<()> {
    let (k, y_desc, w_desc) = (op.k(), op.y_desc(), op.w_desc());
    let rows = Load::open(OP, &X, x, &op.x_desc())?;
    check(OP, "w", w, &w_desc)?;
    check(OP, "y", y, &y_desc)?;
    if let Some(bias) = bias {
        check(OP, "bias", bias, &op.bias_desc())?;
    }
    if let Some(sums) = &sums {
        check(OP, "sums", sums, &TensorDesc::sums(k))?;
    }

    let window = Window::from(op);
    let (depth, width) = (op.c() / op.groups(), k / op.groups());
    let gather = Gather {
        isa: engine.isa,
        n: op.n(),
        groups: op.groups(),
        n_taps: window.n_taps(),
        depth,
        width,
        rows,
        locate: |pixel, tap| window.input(pixel, tap),
        weights: Weights {
            data: w.f32(w_desc.len()),
            group: width * window.n_taps() * depth,
            tap_stride: depth,
            rs: 1,
            cs: window.n_taps() * depth,
        },
    };
    let epilogue = Forward { isa: engine.isa, bias: bias.map(|b| b.f32(k)), sums: sums.is_some() };
    let tile_rows = product_tile_rows(op.p() * op.q(), op.n());
    let out = y.f32_mut(y_desc.len());
    let partials = engine.for_tiles(out, k, tile_rows, 2 * k, |tile, scratch| {
        gather.tile(tile.first_row, tile.out, false, &mut scratch.a);
        epilogue.finish(tile.out, k, tile.partial);
    });
    if let Some(sums) = sums {
        stats::merge_moments(partials, 2 * k, y_desc.len() / k, tile_rows, sums.f64_mut(2 * k));
    }
    Ok(())
}
