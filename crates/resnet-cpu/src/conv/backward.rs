//! Both gradients of a convolution, from one reading of `dy` and `x`.

use resnet_core::op::Conv2d;
use resnet_core::{Accumulate, GradOut, GradSource, Result, Source};

use crate::buffer::{Buffer, check};
use crate::direct;
use crate::engine::Engine;
use crate::epilogue::GradTarget;
use crate::load::{GradLoad, Load, X};

const OP: &str = "conv2d_backward";

/// Of an op in f32 whose gradients are [joined](crate::direct::Direct::joins_backward).
pub(crate) fn conv2d_backward(
    engine: &mut Engine,
    op: &Conv2d,
    x: Source<'_, Buffer>,
    dy: GradSource<'_, Buffer>,
    w: &Buffer,
    dx: GradOut<'_, Buffer>,
    dw: &mut Buffer,
    accumulate: Accumulate,
) -> Result<()> {
    let w_desc = op.w_desc();
    let x = Load::<f32>::open(OP, &X, x, &op.x_desc())?;
    let dy = GradLoad::<f32>::open(OP, dy, &op.y_desc())?;
    check(OP, "w", w, &w_desc)?;
    check(OP, "dw", dw, &w_desc)?;
    let target = GradTarget::open(OP, engine.isa, dx, &op.x_desc())?;
    let (w, dw, add) = (w.f32(w_desc.len()), dw.f32_mut(w_desc.len()), accumulate == Accumulate::Add);
    if target.epilogue.masks_by(&x) {
        direct::backward(engine, op, (x, dy), w, target, (dw, add));
    } else {
        direct::backward_weight(engine, op, x, dy, dw, None, add);
        direct::backward_data(engine, op, dy, w, target);
    }
    Ok(())
}
