//! Forward, with batch statistics in the same pass.

use resnet_core::op::Conv2d;
use resnet_core::{Result, Source, TensorDesc};

use super::{ConvShape, THREADS, TILE, tensor};
use crate::buffer::{Buffer, address, optional, suffix};
use crate::engine::{Engine, Geometry, u32_of};
use crate::source::SourceArgs;

crate::args! {
    struct ConvForwardArgs {
        x: SourceArgs,
        w: u64,
        bias: u64,
        y: u64,
        partials: u64,
        shape: ConvShape,
    }
}

fn tiles(op: &Conv2d) -> usize {
    (op.n() * op.p() * op.q()).div_ceil(TILE)
}

/// Bytes of scratch.
pub(crate) fn scratch_bytes(engine: &Engine, op: &Conv2d) -> usize {
    match tensor::plan_forward(engine, op) {
        Some(plan) => tensor::forward_scratch_bytes(&plan, op),
        None => partial_bytes(op),
    }
}

fn partial_bytes(op: &Conv2d) -> usize {
    tiles(op) * 3 * op.k() * 4
}

pub(crate) fn conv2d(
    engine: &mut Engine,
    op: &Conv2d,
    x: Source<'_, Buffer>,
    w: &Buffer,
    bias: Option<&Buffer>,
    y: &mut Buffer,
    sums: Option<&mut Buffer>,
) -> Result<()> {
    const OP: &str = "conv2d";
    let mut args = ConvForwardArgs {
        x: SourceArgs::new(OP, &x, &op.x_desc())?,
        w: address(OP, "w", w, &op.w_desc())?,
        bias: optional(OP, "bias", bias, &op.bias_desc())?,
        y: address(OP, "y", y, &op.y_desc())?,
        partials: 0,
        shape: op.into(),
    };
    let sums = optional(OP, "sums", sums.as_deref(), &TensorDesc::sums(op.k()))?;

    if let Some(plan) = tensor::plan_forward(engine, op) {
        let ConvForwardArgs { x, w, bias, y, .. } = args;
        return tensor::forward(engine, op, &plan, tensor::ForwardInputs { x, w, bias, y, sums });
    }
    let tiles = tiles(op);
    if sums != 0 {
        args.partials = engine.scratch(partial_bytes(op))?;
    }
    let columns = (op.k() / op.groups()).div_ceil(TILE);
    let geometry = Geometry {
        grid: [u32_of(tiles), u32_of(columns), u32_of(op.groups())],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
    };
    engine.launch(format!("conv_forward_{}", suffix(op.dtype())), geometry, &args)?;
    if sums != 0 {
        engine.finish_moments(args.partials, tiles, op.k(), sums)?;
    }
    Ok(())
}
