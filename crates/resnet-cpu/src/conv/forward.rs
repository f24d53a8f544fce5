//! `y[n,p,q,k] = bias[k] + Σ_{r,s,c} x[n, p·stride − top + r, q·stride − left + s, c] · w[k,r,s,c]`.

use resnet_core::op::Conv2d;
use resnet_core::{Finish, Result, Source, TensorDesc};

use super::gather::{Cut, Extents, Gather};
use super::weights::{Direction, Weights};
use crate::buffer::{Buffer, check};
use crate::direct;
use crate::element::{Element, through};
use crate::engine::Engine;
use crate::epilogue::Forward;
use crate::finish::Finishing;
use crate::load::{Load, X};
use crate::stats;
use crate::window::Window;

const OP: &str = "conv2d";

pub(crate) fn conv2d<E: Element>(
    engine: &mut Engine,
    op: &Conv2d,
    x: Source<'_, Buffer>,
    w: &Buffer,
    bias: Option<&Buffer>,
    finish: Option<Finish<'_, Buffer>>,
    y: &mut Buffer,
    sums: Option<&mut Buffer>,
) -> Result<()> {
    let (k, y_desc, w_desc) = (op.k(), op.y_desc(), op.w_desc());
    let rows = Load::<E>::open(OP, &X, x, &op.x_desc())?;
    check(OP, "w", w, &w_desc)?;
    check(OP, "y", y, &y_desc)?;
    if let Some(bias) = bias {
        check(OP, "bias", bias, &op.bias_desc())?;
    }
    if let Some(sums) = &sums {
        check(OP, "sums", sums, &TensorDesc::sums(k))?;
    }

    let epilogue = Forward {
        isa: engine.isa,
        bias: bias.map(|b| b.f32(k)),
        finish: finish.map(|finish| Finishing::open(OP, finish, &y_desc)).transpose()?,
        sums: sums.is_some(),
    };
    if engine.direct.handles(op) {
        let (y, sums) = (y.elements_mut::<E>(y_desc.len()), sums.map(|s| s.f64_mut(2 * k)));
        direct::forward(engine, op, rows, w, &epilogue, y, sums);
        return Ok(());
    }

    let Engine { isa, threads, partials, weights, .. } = engine;
    let (isa, window, extents) = (*isa, Window::from(op), extents(op));
    let n_rows = extents.pixels * extents.n;
    let weights = Weights::new(threads, isa, op, Direction::Forward, w.f32(w_desc.len()), n_rows, weights);
    let cut = Cut::new(&extents);
    let locate = |pixel, tap| window.input(pixel, tap);
    let gather = Gather { isa, extents, cut, rows, locate, weights };
    let cut = (k, cut.tile_rows(), 2 * k);
    let partials = threads.for_tiles(partials, y.elements_mut::<E>(y_desc.len()), cut, |tile, scratch| {
        through(isa, tile.out, false, scratch, |out, scratch| {
            gather.tile(tile.first_row, out, false, scratch);
            epilogue.finish(out, k, tile.first_row, 0..k);
        });
        epilogue.take_sums(tile.out, k, tile.partial);
    });
    if let Some(sums) = sums {
        stats::merge_moments(partials, 2 * k, n_rows, cut.1, sums.f64_mut(2 * k));
    }
    Ok(())
}

/// The extents of the direction.
pub(crate) fn extents(op: &Conv2d) -> Extents {
    Extents {
        n: op.n(),
        pixels: op.p() * op.q(),
        in_pixels: op.h() * op.w(),
        groups: op.groups(),
        window: (op.r(), op.s()),
        depth: op.c() / op.groups(),
    }
}
