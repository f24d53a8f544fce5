//! Forward, with batch statistics in the same pass.

use resnet_core::op::Conv2d;
use resnet_core::{Result, Source, TensorDesc};

use super::{ConvShape, THREADS, TILE, cudnn, tensor};
use crate::buffer::{Buffer, address, optional, optional_written, written};
use crate::choice::task::Task;
use crate::choice::ways::{self, Way};
use crate::copies::{self, Side};
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
pub(crate) fn scratch_bytes(engine: &Engine, task: &Task, way: &Way) -> usize {
    match way {
        Way::Cudnn(plan) => cudnn::scratch_bytes(engine, task, plan),
        Way::Tensor(element, tile) => match tensor::plan_forward(engine, &task.op, (*element, *tile)) {
            Some(plan) => tensor::forward_scratch_bytes(&plan, &task.op),
            None => partial_bytes(&task.op),
        },
        Way::Simt => partial_bytes(&task.op),
    }
}

fn partial_bytes(op: &Conv2d) -> usize {
    tiles(op) * 3 * op.k() * 4
}

/// What is computed with, checked: addresses, 0 where there is nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs {
    pub(crate) x: SourceArgs,
    pub(crate) w: u64,
    /// The weights in the form that the way wants, see [`copies`]; 0: it makes them from `w`.
    pub(crate) packed: u64,
    pub(crate) bias: u64,
    pub(crate) y: u64,
    pub(crate) sums: u64,
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
    let inputs = Inputs {
        x: SourceArgs::new(OP, &x, &op.x_desc())?,
        w: address(OP, "w", w, &op.w_desc())?,
        packed: 0,
        bias: optional(OP, "bias", bias, &op.bias_desc())?,
        y: written(OP, "y", y, &op.y_desc())?,
        sums: optional_written(OP, "sums", sums.as_deref(), &TensorDesc::sums(op.k()))?,
    };
    let task = Task::forward(op, &inputs.x, inputs.bias, inputs.sums);
    ways::by(engine, &task, |engine, way| {
        let packed = copies::for_way(engine, way, op, Side::Forward, w)?;
        run(engine, &task, way, &Inputs { packed, ..inputs })
    })
}

/// One way of it.
pub(crate) fn run(engine: &mut Engine, task: &Task, way: &Way, inputs: &Inputs) -> Result<()> {
    let op = &task.op;
    match way {
        Way::Cudnn(plan) => return cudnn::forward(engine, task, plan, inputs),
        Way::Tensor(element, tile) => {
            if let Some(plan) = tensor::plan_forward(engine, op, (*element, *tile)) {
                return tensor::forward(engine, op, &plan, inputs);
            }
        }
        Way::Simt => {}
    }
    let Inputs { x, w, bias, y, sums, .. } = *inputs;
    let tiles = tiles(op);
    let partials = if sums == 0 { 0 } else { engine.scratch(partial_bytes(op))? };
    let columns = (op.k() / op.groups()).div_ceil(TILE);
    let geometry = Geometry {
        grid: [u32_of(tiles), u32_of(columns), u32_of(op.groups())],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
    };
    let args = ConvForwardArgs { x, w, bias, y, partials, shape: op.into() };
    engine.launch(format!("conv_forward_{}", op.dtype()), geometry, &args)?;
    if sums != 0 {
        engine.finish_moments(partials, tiles, op.k(), sums)?;
    }
    Ok(())
}
