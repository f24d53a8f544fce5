//! Which kernels the ops of a step take, and how much scratch. They run one after another, so it is the most that any of them does.

use resnet_core::Result;
use resnet_core::op::Op;

use crate::choice::task::{Form, Task};
use crate::choice::tune;
use crate::engine::Engine;
use crate::ops::{combine, conv, loss, pool};

/// Bytes for one op.
fn scratch_bytes(engine: &Engine, op: &Op) -> usize {
    match op {
        Op::Conv2d(_) | Op::Conv2dBackwardData(_) | Op::Conv2dBackwardWeight(_) => {
            Task::all(op).iter().map(|task| conv_bytes(engine, task)).max().unwrap_or(0)
        }
        Op::Combine(op) | Op::CombineBackward(op) => combine::scratch_bytes(engine, op),
        Op::MaxPool(op) => pool::scratch_bytes(engine, &op.x_desc(), &op.y_desc()),
        Op::AvgPool(op) => pool::scratch_bytes(engine, &op.x_desc(), &op.y_desc()),
        Op::SoftmaxCrossEntropy(op) => loss::scratch_bytes(op),
        Op::BatchNorm(_) | Op::Ingest(_) => 0,
    }
}

/// Bytes for a convolution, the way it is chosen.
fn conv_bytes(engine: &Engine, task: &Task) -> usize {
    let way = engine.ways.way(task);
    match task.form {
        Form::Forward { .. } => conv::forward::scratch_bytes(engine, task, &way),
        Form::BackwardData { .. } => conv::backward_data::scratch_bytes(engine, task, &way),
        Form::BackwardWeight { .. } => conv::backward_weight::scratch_bytes(engine, task, &way),
    }
}

/// Chooses kernels, has as much scratch as these ops need, and says how much there is.
pub(crate) fn prepare(engine: &mut Engine, ops: &[Op]) -> Result<usize> {
    tune::choose(engine, ops)?;
    let most = ops.iter().map(|op| scratch_bytes(engine, op)).max().unwrap_or(0);
    engine.scratch(most)?;
    Ok(engine.scratch_bytes())
}
