//! The loss scale of training in half precision. It lives on the device; the host reads it only where it looks anyway.

use resnet_core::op::{LossScale, LossScaleState};
use resnet_core::{Backend, HostData, HostDataMut};

use super::Trainer;
use crate::Result;

/// The smallest scale that is still tried. Below it the scaled loss is smaller than the loss itself, so what overflows are
/// activations or weights, and no scale helps.
const LEAST: f32 = 1.0;

/// A loss scale on the device, and its rule.
#[derive(Debug)]
pub(super) struct Scaling<B: Backend> {
    pub(super) rule: LossScale,
    pub(super) state: B::Buffer,
}

impl<B: Backend> Scaling<B> {
    /// A scale where PyTorch's begins.
    pub(super) fn new(backend: &mut B, rule: LossScale) -> Result<Self> {
        let bytes = backend.buffer_bytes(&LossScale::desc());
        let mut scaling = Self { rule, state: backend.alloc(bytes)? };
        scaling.write(backend, LossScaleState::default())?;
        Ok(scaling)
    }

    fn write(&mut self, backend: &mut B, state: LossScaleState) -> Result<()> {
        let values = state.to_array();
        Ok(backend.upload(&LossScale::desc(), HostData::F32(&values), &mut self.state)?)
    }

    fn read(&self, backend: &mut B) -> Result<LossScaleState> {
        let mut values = [0.0; 4];
        backend.download(&LossScale::desc(), &self.state, HostDataMut::F32(&mut values))?;
        Ok(LossScaleState::from_array(values))
    }
}

impl<B: Backend> Trainer<B> {
    /// The loss scale after the last step, where there is one. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn loss_scale(&mut self) -> Result<Option<LossScaleState>> {
        self.scaling.as_ref().map(|scaling| scaling.read(&mut self.backend)).transpose()
    }

    /// By what the gradients of the last step are multiplied.
    pub(super) fn last_loss_scale(&mut self) -> Result<f32> {
        Ok(self.loss_scale()?.map_or(1.0, |state| state.last_scale))
    }

    /// Whether a loss that is not finite may come right by itself: the step was left out, and a smaller scale is tried next.
    pub(super) fn tries_smaller_scale(&mut self) -> Result<bool> {
        Ok(self.loss_scale()?.is_some_and(|state| state.scale >= LEAST))
    }

    /// Goes on with the scale of a checkpoint.
    pub(super) fn restore_loss_scale(&mut self, saved: Option<LossScaleState>) -> Result<()> {
        match &mut self.scaling {
            Some(scaling) => scaling.write(&mut self.backend, saved.unwrap_or_default()),
            None => Ok(()),
        }
    }
}
