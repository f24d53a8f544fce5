//! Inner loops of the optimizers, see [`Optimizer`](resnet_core::op::Optimizer) for the formulas.

use super::kernel;

/// The numbers that an update multiplies with.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// Learning rate of this parameter.
    pub(crate) lr: f32,
    /// Weight decay of this parameter.
    pub(crate) decay: f32,
    /// Factor on the gradient.
    pub(crate) clip: f32,
}

/// Adam's own numbers.
#[derive(Clone, Copy)]
pub(crate) struct Adam {
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) eps: f32,
    /// `lr / c₁`.
    pub(crate) step_size: f32,
    /// `sqrt(c₂)`.
    pub(crate) sqrt_c2: f32,
}

kernel! {
    /// Gradient descent without a velocity.
    fn sgd(p: &mut [f32], g: &[f32], s: Step) {
        for (p, &g) in p.iter_mut().zip(g) {
            let g = s.clip * g + s.decay * *p;
            *p -= s.lr * g;
        }
    }
}

kernel! {
    /// Gradient descent with a velocity.
    fn momentum<const NESTEROV: bool>(p: &mut [f32], g: &[f32], v: &mut [f32], momentum: f32, s: Step) {
        for ((p, &g), v) in p.iter_mut().zip(g).zip(v) {
            let g = s.clip * g + s.decay * *p;
            *v = momentum * *v + g;
            *p -= s.lr * if NESTEROV { g + momentum * *v } else { *v };
        }
    }
}

kernel! {
    /// Adam, with the decay in the gradient or taken off the parameter first.
    fn adam<const DECOUPLED: bool>(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], a: Adam, s: Step) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let mut g = s.clip * g;
            if DECOUPLED {
                *p -= s.lr * s.decay * *p;
            } else {
                g += s.decay * *p;
            }
            *m += (1.0 - a.beta1) * (g - *m);
            *v = a.beta2 * *v + (1.0 - a.beta2) * g * g;
            *p -= a.step_size * *m / (v.sqrt() / a.sqrt_c2 + a.eps);
        }
    }
}
