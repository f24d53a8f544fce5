use super::{Optimizer, StepScalars};
use crate::TensorDesc;

/// How a loss scale follows the gradients: gradients of activations in half precision vanish below 6e-8 and overflow above 65504, so
/// the loss is multiplied by as much as just does not overflow.
///
/// # Shapes
/// `state`: [`LossScale::desc`]. `norm`: a table of one row and one column.
///
/// # Semantics
/// A step with scale `s` multiplies the gradient of the loss by `s` and reads gradients divided by `s`
/// ([`Backend::scale_loss`](crate::Backend::scale_loss)), and Adam's bias corrections are those of `t − skipped`, since a step that was
/// left out moved no moment. Afterwards ([`Backend::adapt_loss_scale`](crate::Backend::adapt_loss_scale)):
/// ```text
/// norm is not finite   s ← s · backoff;  good ← 0;  skipped ← skipped + 1      (update changed nothing)
/// otherwise            good ← good + 1;  if good = interval: good ← 0, and s ← s · growth if that is finite
/// ```
/// These are the rule and the defaults of `torch.amp.GradScaler`.
///
/// # Source
/// Micikevicius et al., *Mixed Precision Training*, 2018, section 3.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// Factor after `interval` good steps.
    pub growth: f32,
    /// Factor after a step that overflowed.
    pub backoff: f32,
    /// Good steps from one growth to the next.
    pub interval: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// Where a loss scale stands. It lives on the device, so that no step waits for the host.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScaleState {
    /// The scale of the next step.
    pub scale: f32,
    /// Steps since the scale last changed.
    pub good_steps: f32,
    /// Steps that overflowed and were left out, in all.
    pub skipped_steps: f32,
    /// The scale of the last step, by which its gradients are multiplied.
    pub last_scale: f32,
}

impl Default for LossScaleState {
    fn default() -> Self {
        Self { scale: 65536.0, good_steps: 0.0, skipped_steps: 0.0, last_scale: 65536.0 }
    }
}

impl LossScaleState {
    /// The buffer's content, in the order of the fields.
    pub fn to_array(&self) -> [f32; 4] {
        [self.scale, self.good_steps, self.skipped_steps, self.last_scale]
    }

    /// The inverse of [`LossScaleState::to_array`].
    pub fn from_array([scale, good_steps, skipped_steps, last_scale]: [f32; 4]) -> Self {
        Self { scale, good_steps, skipped_steps, last_scale }
    }
}

impl LossScaleState {
    /// The numbers of a step as they become under this state: the specification of
    /// [`Backend::scale_loss`](crate::Backend::scale_loss).
    pub fn scaled(&self, rule: &Optimizer, step: StepScalars) -> StepScalars {
        let taken = StepScalars::of_step(rule, (step.step - self.skipped_steps) as u64);
        StepScalars {
            grad_scale: step.grad_scale * self.scale,
            unscale: step.unscale / self.scale,
            correction1: taken.correction1,
            correction2: taken.correction2,
            ..step
        }
    }
}

impl LossScale {
    /// The buffer of the state: a table of one row and four columns.
    pub fn desc() -> TensorDesc {
        TensorDesc::table(1, 4)
    }

    /// The state after a step whose gradients have this norm: the specification of
    /// [`Backend::adapt_loss_scale`](crate::Backend::adapt_loss_scale).
    pub fn after(&self, state: LossScaleState, norm: f32) -> LossScaleState {
        let mut next = LossScaleState { last_scale: state.scale, ..state };
        if !norm.is_finite() {
            next.scale = state.scale * self.backoff;
            next.good_steps = 0.0;
            next.skipped_steps += 1.0;
            return next;
        }
        next.good_steps += 1.0;
        if next.good_steps >= self.interval as f32 {
            next.good_steps = 0.0;
            let grown = state.scale * self.growth;
            next.scale = if grown.is_finite() { grown } else { state.scale };
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_backs_off_at_once_and_grows_after_an_interval() {
        let rule = LossScale { interval: 3, ..LossScale::default() };
        let mut state = LossScaleState::default();
        let mut scales = vec![];
        for norm in [f32::INFINITY, 1.0, f32::NAN, 1.0, 1.0, 1.0, 2.0] {
            state = rule.after(state, norm);
            scales.push((state.scale, state.last_scale));
        }
        let k = 1024.0;
        let wanted = [
            (32.0, 64.0),
            (32.0, 32.0),
            (16.0, 32.0),
            (16.0, 16.0),
            (16.0, 16.0),
            (32.0, 16.0),
            (32.0, 32.0),
        ];
        assert_eq!(scales, wanted.map(|(scale, last)| (scale * k, last * k)));
        assert_eq!((state.skipped_steps, state.good_steps), (2.0, 1.0));
    }

    /// As PyTorch: `GradScaler.step` does not call an optimizer's step that overflowed, so Adam does not count it.
    #[test]
    fn steps_that_were_left_out_do_not_count_for_adam() {
        let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
        let state = LossScaleState { skipped_steps: 3.0, scale: 8.0, ..LossScaleState::default() };
        let scaled = state.scaled(&adam, StepScalars { grad_scale: 0.25, ..StepScalars::of_step(&adam, 5) });
        assert_eq!((scaled.correction1, scaled.correction2), adam.bias_corrections(2));
        assert_eq!((scaled.grad_scale, scaled.unscale, scaled.step), (2.0, 0.125, 5.0));
        let sgd = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
        let scaled = state.scaled(&sgd, StepScalars::of_step(&sgd, 5));
        assert_eq!((scaled.correction1, scaled.correction2), (1.0, 1.0));
    }

    #[test]
    fn it_never_grows_to_infinity() {
        let rule = LossScale { interval: 1, ..LossScale::default() };
        let state = LossScaleState { scale: f32::MAX, ..LossScaleState::default() };
        assert_eq!(rule.after(state, 1.0).scale, f32::MAX);
    }
}
