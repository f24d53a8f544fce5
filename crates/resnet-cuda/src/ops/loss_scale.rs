//! The loss scale, kept on the device.

use resnet_core::op::{LossScale, StepScalars};
use resnet_core::{Result, TensorDesc};

use crate::buffer::{Buffer, address, written};
use crate::engine::{Engine, Geometry};

crate::args! {
    struct ScaleLossArgs {
        state: u64,
        scalars: u64,
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
pub(crate) fn scale(engine: &mut Engine, state: &Buffer, scalars: &mut Buffer) -> Result<()> {
    const OP: &str = "scale_loss";
    let args = ScaleLossArgs {
        state: address(OP, "state", state, &LossScale::desc())?,
        scalars: written(OP, "scalars", scalars, &StepScalars::desc())?,
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
