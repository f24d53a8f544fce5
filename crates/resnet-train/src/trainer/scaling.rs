//! The loss scale of training in half precision. It lives on the device; the host reads it only where it looks anyway.

use resnet_core::Backend;
use resnet_core::op::LossScaleState;

use super::Trainer;
use crate::Result;

/// The smallest scale that is still tried. Below it the scaled loss is smaller than the loss itself, so what overflows are
/// activations or weights, and no scale helps.
const LEAST: f32 = 1.0;

impl<B: Backend> Trainer<B> {
    /// The loss scale after the last step, where there is one. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn loss_scale(&mut self) -> Result<Option<LossScaleState>> {
        Ok(self.training.loss_scale(&mut self.backend)?)
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
        Ok(self.training.set_loss_scale(&mut self.backend, saved.unwrap_or_default())?)
    }
}
