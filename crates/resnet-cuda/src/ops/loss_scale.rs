//! The loss scale, kept on the device.

use resnet_core::op::{LossScale, Optimizer, StepScalars};
use resnet_core::{Result, TensorDesc};

use crate::buffer::{Buffer, address, written};
use crate::engine::{Engine, Geometry};

crate::args! {
    struct ScaleLossArgs {
        state: u64,
        scalars: u64,
        beta1: f32,
        beta2: f32,
    }

    struct AdaptLossScaleArgs {
        norm: u64,
        state: u64,
        growth: f32,
        backoff: f32,
        interval: f32,
        unused: u32,
    }
}

const ONE_THREAD: Geometry = Geometry { grid: [1, 1, 1], block: [1, 1, 1], shared_bytes: 0 };

/// Before a step.
pub(crate) fn scale(
    engine: &mut Engine,
    rule: &Optimizer,
    state: &Buffer,
    scalars: &mut Buffer,
) -> Result<()> {
    const OP: &str = "scale_loss";
    // SGD has no corrections: those of β = 0 are 1.
    let (beta1, beta2) = match *rule {
        Optimizer::Sgd { .. } => (0.0, 0.0),
        Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => (beta1, beta2),
    };
    let args = ScaleLossArgs {
        state: address(OP, "state", state, &LossScale::desc())?,
        scalars: written(OP, "scalars", scalars, &StepScalars::desc())?,
        beta1,
        beta2,
    };
    engine.launch("scale_loss", ONE_THREAD, &args)
}

/// After a step.
pub(crate) fn adapt(engine: &mut Engine, rule: &LossScale, norm: &Buffer, state: &mut Buffer) -> Result<()> {
    const OP: &str = "adapt_loss_scale";
    let args = AdaptLossScaleArgs {
        norm: address(OP, "norm", norm, &TensorDesc::table(1, 1))?,
        state: written(OP, "state", state, &LossScale::desc())?,
        growth: rule.growth,
        backoff: rule.backoff,
        interval: rule.interval as f32,
        unused: 0,
    };
    engine.launch("adapt_loss_scale", ONE_THREAD, &args)
}
