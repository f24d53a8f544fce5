//! Writing a value, or a gradient, where it must exist in memory.

use resnet_core::op::Combine;
use resnet_core::{GradOut, GradSource, Result, Source, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::element::{Element, through};
use crate::engine::Engine;
use crate::epilogue::{Forward, GradTarget, partial_len};
use crate::kernels::load;
use crate::load::{GradLoad, Load, Rows, X};
use crate::stats;
use crate::window::pass_tile_rows;

/// `z = act(scale·raw + shift + residual)`.
pub(crate) fn combine<E: Element>(
    engine: &mut Engine,
    op: &Combine,
    x: Source<'_, Buffer>,
    z: &mut Buffer,
    sums: Option<&mut Buffer>,
) -> Result<()> {
    const OP: &str = "combine";
    let (c, desc) = (op.c(), op.desc());
    let x = Load::<E>::open(OP, &X, x, &desc)?;
    check(OP, "z", z, &desc)?;
    if let Some(sums) = &sums {
        check(OP, "sums", sums, &TensorDesc::sums(c))?;
    }
    let (isa, tile_rows) = (engine.isa, pass_tile_rows(c));
    let epilogue = Forward { isa, bias: None, finish: None, sums: sums.is_some() };
    let out = z.elements_mut::<E>(desc.len());
    let partials = engine.threads.for_tiles(&mut engine.partials, out, (c, tile_rows, 2 * c), |tile, _| {
        let rows = tile.first_row..tile.first_row + tile.out.len() / c;
        x.eval(isa, rows, 0..c, tile.out, c);
        epilogue.take_sums(tile.out, c, tile.partial);
    });
    if let Some(sums) = sums {
        stats::merge_moments(partials, 2 * c, op.rows(), tile_rows, sums.f64_mut(2 * c));
    }
    Ok(())
}

/// `dx = mask ⊙ (A·dz + B·y + C + …)`.
pub(crate) fn combine_backward<E: Element>(
    engine: &mut Engine,
    op: &Combine,
    dz: GradSource<'_, Buffer>,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    const OP: &str = "combine_backward";
    let (c, desc) = (op.c(), op.desc());
    let dz = GradLoad::<E>::open(OP, dz, &desc)?;
    let isa = engine.isa;
    let GradTarget { dx, add, epilogue, sums } = GradTarget::<E>::open(OP, isa, dx, &desc)?;
    let partials = engine.threads.for_tiles(
        &mut engine.partials,
        dx,
        (c, pass_tile_rows(c), partial_len(c)),
        |tile, scratch| {
            let rows = tile.first_row..tile.first_row + tile.out.len() / c;
            through(isa, tile.out, add, scratch, |out, scratch| {
                if add {
                    let value = scratch.a.take(out.len());
                    dz.eval(isa, rows, 0..c, value, c);
                    load::add(isa, out, value);
                } else {
                    dz.eval(isa, rows, 0..c, out, c);
                }
                epilogue.finish(out, tile.first_row, scratch);
            });
            epilogue.take_sums(tile.out, tile.first_row, tile.partial);
        },
    );
    sums.merge(c, partials);
    Ok(())
}
