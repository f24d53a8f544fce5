//! Softmax cross-entropy.

use resnet_core::op::{Metrics, SoftmaxCrossEntropy, StepScalars, Targets};
use resnet_core::{Accumulate, Error, Result};

use crate::buffer::{Buffer, address, optional, optional_written, written};
use crate::engine::{Engine, Geometry, u32_of};

crate::args! {
    struct LossArgs {
        logits: u64,
        a: u64,
        b: u64,
        scalars: u64,
        dlogits: u64,
        pictures: u64,
        n_valid: u32,
        classes: u32,
        smoothing: f32,
        unused: u32,
    }

    struct MetricsArgs {
        pictures: u64,
        metrics: u64,
        n_valid: u32,
        accumulate: u32,
    }
}

/// LOSS_THREADS of loss.cu.
const THREADS: u32 = 128;

/// Bytes of scratch: loss and hit of each picture.
pub(crate) fn scratch_bytes(op: &SoftmaxCrossEntropy) -> usize {
    op.n() * 8
}

pub(crate) fn softmax_cross_entropy(
    engine: &mut Engine,
    op: &SoftmaxCrossEntropy,
    logits: &Buffer,
    targets: Targets<'_, Buffer>,
    scalars: &Buffer,
    dlogits: Option<&mut Buffer>,
    metrics: &mut Buffer,
    accumulate: Accumulate,
) -> Result<()> {
    const OP: &str = "softmax_cross_entropy";
    let (desc, labels, n_valid) = (op.logits_desc(), op.labels_desc(), targets.n_valid);
    if n_valid > op.n() {
        return Err(Error::invalid(OP, format!("{n_valid} valid pictures in a batch of {}", op.n())));
    }
    let mut args = LossArgs {
        logits: address(OP, "logits", logits, &desc)?,
        a: address(OP, "targets.a", targets.a, &labels)?,
        b: optional(OP, "targets.b", targets.b, &labels)?,
        scalars: address(OP, "scalars", scalars, &StepScalars::desc())?,
        dlogits: optional_written(OP, "dlogits", dlogits.as_deref(), &desc)?,
        pictures: 0,
        n_valid: u32_of(n_valid),
        classes: u32_of(op.classes()),
        smoothing: op.smoothing(),
        unused: 0,
    };
    let metrics = written(OP, "metrics", metrics, &Metrics::desc())?;

    args.pictures = engine.scratch(scratch_bytes(op))?;
    let blocks = |n: usize| Geometry { grid: [u32_of(n), 1, 1], block: [THREADS, 1, 1], shared_bytes: 0 };
    engine.launch(format!("softmax_cross_entropy_{}", desc.dtype), blocks(op.n()), &args)?;
    let accumulate = u32::from(accumulate == Accumulate::Add);
    let totals = MetricsArgs { pictures: args.pictures, metrics, n_valid: args.n_valid, accumulate };
    engine.launch("loss_metrics", blocks(1), &totals)
}
