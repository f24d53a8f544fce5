//! How much scratch the ops of a step need. They run one after another, so it is the most that any of them does.

use resnet_core::Result;
use resnet_core::op::Op;

use crate::engine::Engine;
use crate::ops::{combine, conv, loss, pool};

/// Bytes for one op.
fn scratch_bytes(engine: &Engine, op: &Op) -> usize {
    match op {
        Op::Conv2d(op) => conv::forward::scratch_bytes(engine, op),
        Op::Conv2dBackwardData(op) => conv::backward_data::scratch_bytes(engine, op),
        Op::Conv2dBackwardWeight(op) => conv::backward_weight::scratch_bytes(engine, op),
        Op::Combine(op) | Op::CombineBackward(op) => combine::scratch_bytes(engine, op),
        Op::MaxPool(op) => pool::scratch_bytes(engine, &op.x_desc(), &op.y_desc()),
        Op::AvgPool(op) => pool::scratch_bytes(engine, &op.x_desc(), &op.y_desc()),
        Op::SoftmaxCrossEntropy(op) => loss::scratch_bytes(op),
        Op::BatchNorm(_) | Op::Ingest(_) => 0,
    }
}

/// Has as much scratch as these ops need, and says how much there is.
pub(crate) fn prepare(engine: &mut Engine, ops: &[Op]) -> Result<usize> {
    let most = ops.iter().map(|op| scratch_bytes(engine, op)).max().unwrap_or(0);
    engine.scratch(most)?;
    Ok(engine.scratch_bytes())
}
