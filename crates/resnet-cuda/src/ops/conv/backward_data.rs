//! The gradient of the input.

use resnet_core::op::Conv2d;
use resnet_core::{GradOut, GradSource, Result};

use super::{ConvShape, THREADS, TILE, cudnn, tensor};
use crate::buffer::{Buffer, address};
use crate::choice::task::Task;
use crate::choice::ways::{self, Way};
use crate::copies::{self, Side};
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
pub(crate) fn scratch_bytes(engine: &Engine, task: &Task, way: &Way) -> usize {
    match way {
        Way::Cudnn(plan) => cudnn::scratch_bytes(engine, task, plan),
        Way::Tensor(element, tile) => match tensor::plan_backward_data(engine, &task.op, (*element, *tile)) {
            Some(plan) => tensor::backward_data_scratch_bytes(&plan, &task.op),
            None => partial_bytes(&task.op),
        },
        Way::Simt => partial_bytes(&task.op),
    }
}

fn partial_bytes(op: &Conv2d) -> usize {
    let (tiles, phases) = tiles(op);
    CheckedGradOut::scratch_bytes(op.c(), tiles * phases)
}

/// What is computed with, checked.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) dy: GradSourceArgs,
    pub(crate) w: u64,
    /// The weights in the form that the way wants, see [`copies`]; 0: it makes them from `w`.
    pub(crate) packed: u64,
    pub(crate) dx: CheckedGradOut,
}

pub(crate) fn conv2d_backward_data(
    engine: &mut Engine,
    op: &Conv2d,
    dy: GradSource<'_, Buffer>,
    w: &Buffer,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    const OP: &str = "conv2d_backward_data";
    let inputs = Inputs {
        dy: GradSourceArgs::new(OP, &dy, &op.y_desc())?,
        w: address(OP, "w", w, &op.w_desc())?,
        packed: 0,
        dx: CheckedGradOut::new(OP, &dx, &op.x_desc())?,
    };
    let task = Task::backward_data(op, &inputs.dy, &inputs.dx);
    ways::by(engine, &task, |engine, way| {
        let packed = copies::for_way(engine, way, op, Side::BackwardData, w)?;
        run(engine, &task, way, &Inputs { packed, ..inputs.clone() })
    })
}

/// One way of it.
pub(crate) fn run(engine: &mut Engine, task: &Task, way: &Way, inputs: &Inputs) -> Result<()> {
    let op = &task.op;
    let Inputs { dy, w, packed, dx } = inputs;
    match way {
        Way::Cudnn(plan) => return cudnn::backward_data(engine, task, plan, *dy, (*w, *packed), dx),
        Way::Tensor(element, tile) => {
            if let Some(plan) = tensor::plan_backward_data(engine, op, (*element, *tile)) {
                return tensor::backward_data(engine, op, &plan, *dy, (*w, *packed), dx.clone());
            }
        }
        Way::Simt => {}
    }
    let (tiles, phases) = tiles(op);
    let scratch = engine.scratch(partial_bytes(op))?;
    let mut dx = dx.clone();
    dx.place(scratch, op.c(), tiles * phases);
    let columns = (op.c() / op.groups()).div_ceil(TILE);
    let geometry = Geometry {
        grid: [u32_of(tiles), u32_of(columns), u32_of(op.groups() * phases)],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
    };
    let args = ConvBackwardDataArgs { dy: *dy, w: *w, dx: dx.args, shape: op.into() };
    engine.launch(format!("conv_backward_data_{}", op.dtype()), geometry, &args)?;
    engine.finish_grad_sums(&dx, tiles * phases, op.c())
}
