//! The gradient of the input.

use resnet_core::op::Conv2d;
use resnet_core::{GradOut, GradSource, Result};

use super::{ConvShape, THREADS, TILE, tensor};
use crate::buffer::{Buffer, address, suffix};
use crate::engine::{Engine, Geometry, u32_of};
use crate::source::{CheckedGradOut, GradOutArgs, GradSourceArgs};

crate::args! {
    struct ConvBackwardDataArgs {
        dy: GradSourceArgs,
        w: u64,
        dx: GradOutArgs,
        shape: ConvShape,
    }
}

/// Tiles of one phase, the pixels at one position within a stride, and phases. The first phase has the most pixels.
fn tiles(op: &Conv2d) -> (usize, usize) {
    let pixels = op.n() * op.h().div_ceil(op.stride()) * op.w().div_ceil(op.stride());
    (pixels.div_ceil(TILE), op.stride() * op.stride())
}

/// Bytes of scratch.
pub(crate) fn scratch_bytes(engine: &Engine, op: &Conv2d) -> usize {
    match tensor::plan_backward_data(engine, op) {
        Some(plan) => tensor::backward_data_scratch_bytes(&plan, op),
        None => partial_bytes(op),
    }
}

fn partial_bytes(op: &Conv2d) -> usize {
    let (tiles, phases) = tiles(op);
    CheckedGradOut::scratch_bytes(op.c(), tiles * phases)
}

pub(crate) fn conv2d_backward_data(
    engine: &mut Engine,
    op: &Conv2d,
    dy: GradSource<'_, Buffer>,
    w: &Buffer,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    const OP: &str = "conv2d_backward_data";
    let dy = GradSourceArgs::new(OP, &dy, &op.y_desc())?;
    let w = address(OP, "w", w, &op.w_desc())?;
    let mut dx = CheckedGradOut::new(OP, &dx, &op.x_desc())?;

    if let Some(plan) = tensor::plan_backward_data(engine, op) {
        return tensor::backward_data(engine, op, &plan, dy, w, dx);
    }
    let (tiles, phases) = tiles(op);
    let scratch = engine.scratch(partial_bytes(op))?;
    dx.place(scratch, op.c(), tiles * phases);
    let columns = (op.c() / op.groups()).div_ceil(TILE);
    let geometry = Geometry {
        grid: [u32_of(tiles), u32_of(columns), u32_of(op.groups() * phases)],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
    };
    let args = ConvBackwardDataArgs { dy, w, dx: dx.args, shape: op.into() };
    engine.launch(format!("conv_backward_data_{}", suffix(op.dtype())), geometry, &args)?;
    engine.finish_grad_sums(&dx, tiles * phases, op.c())
}
