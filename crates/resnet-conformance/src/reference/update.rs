//! The optimizers, and the norm of all gradients.

use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{Error, Param, Result, TensorDesc};

use super::Buffer;
use crate::number::{Number, blend, sum};

pub(super) fn grad_norm<T: Number>(params: &[Param<Buffer<T>>], norm: &mut Buffer<T>) -> Result<()> {
    const OP: &str = "grad_norm";
    let mut squares = Vec::new();
    for param in params {
        if let Some(grad) = &param.grad {
            squares.extend(grad.read(OP, "grad", param.desc.len())?.iter().map(|&g| g * g));
        }
    }
    norm.write(OP, "norm", TensorDesc::table(1, 1).len())?[0] = sum(squares).sqrt();
    Ok(())
}

/// The step's numbers, and what every parameter of one call shares.
struct Step<T> {
    lr: T,
    correction1: T,
    correction2: T,
    clip: T,
}

pub(super) fn update<T: Number>(
    rule: &Optimizer,
    scalars: &Buffer<T>,
    norm: Option<&Buffer<T>>,
    params: &mut [Param<Buffer<T>>],
) -> Result<()> {
    const OP: &str = "update";
    let s = scalars.read(OP, "scalars", StepScalars::desc().len())?;
    let norm = norm.map(|norm| norm.read(OP, "norm", 1)).transpose()?.map(|norm| norm[0]);
    for param in params.iter() {
        check(rule, param)?;
    }
    if norm.is_some_and(|norm| !norm.value().is_finite()) {
        return Ok(());
    }
    let (max_norm, unscale) = (s[5], s[6]);
    let clip = match norm {
        Some(norm) if max_norm.value().is_finite() => {
            (max_norm / (norm * unscale + T::rounded(1e-6))).min(T::exact(1.0)) * unscale
        }
        _ => unscale,
    };
    let step = Step { lr: s[0], correction1: s[1], correction2: s[2], clip };
    for param in params {
        move_param(rule, &step, param)?;
    }
    Ok(())
}

/// Whether the parameter takes part in an update.
fn moves<T>(param: &Param<Buffer<T>>) -> bool {
    param.grad.is_some() && param.lr_scale != 0.0
}

/// Refuses a missing or short buffer before anything is written.
fn check<T: Number>(rule: &Optimizer, param: &Param<Buffer<T>>) -> Result<()> {
    if !moves(param) {
        return Ok(());
    }
    let n = param.desc.len();
    param.value.read("update", "value", n)?;
    if let Some(grad) = &param.grad {
        grad.read("update", "grad", n)?;
    }
    for state in &param.states[..rule.n_states()] {
        let Some(state) = state else {
            return Err(Error::invalid("update", format!("{} has no state for {rule:?}", param.desc)));
        };
        state.read("update", "state", n)?;
    }
    Ok(())
}

fn move_param<T: Number>(rule: &Optimizer, step: &Step<T>, param: &mut Param<Buffer<T>>) -> Result<()> {
    const OP: &str = "update";
    if !moves(param) {
        return Ok(());
    }
    let n = param.desc.len();
    let Some(grad) = &param.grad else { return Ok(()) };
    let grad = grad.read(OP, "grad", n)?;
    let values = param.value.write(OP, "value", n)?;
    let mut states: Vec<&mut [T]> = Vec::new();
    for state in param.states[..rule.n_states()].iter_mut().flatten() {
        states.push(state.write(OP, "state", n)?);
    }
    let lr = step.lr * T::exact(f64::from(param.lr_scale));
    let decay = |lambda: f32| T::exact(if param.decay { f64::from(lambda) } else { 0.0 });
    let exact = |x: f32| T::exact(f64::from(x));

    for i in 0..n {
        let (p, g) = (values[i], grad[i] * step.clip);
        values[i] = match *rule {
            Optimizer::Sgd { momentum, nesterov, weight_decay } => {
                let g = sum([g, decay(weight_decay) * p]);
                let v = match states.first_mut() {
                    Some(velocity) => {
                        velocity[i] = sum([exact(momentum) * velocity[i], g]);
                        velocity[i]
                    }
                    None => g,
                };
                let direction = if nesterov { sum([g, exact(momentum) * v]) } else { v };
                sum([p, -(lr * direction)])
            }
            Optimizer::Adam { beta1, beta2, eps, weight_decay } => {
                let g = sum([g, decay(weight_decay) * p]);
                adam(step, lr, [exact(beta1), exact(beta2), exact(eps)], p, g, &mut states, i)
            }
            Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
                let p = p * (T::exact(1.0) - lr * decay(weight_decay));
                adam(step, lr, [exact(beta1), exact(beta2), exact(eps)], p, g, &mut states, i)
            }
        };
    }
    Ok(())
}

fn adam<T: Number>(
    step: &Step<T>,
    lr: T,
    [beta1, beta2, eps]: [T; 3],
    p: T,
    g: T,
    states: &mut [&mut [T]],
    i: usize,
) -> T {
    let one = T::exact(1.0);
    let [m, v] = states else { return p };
    m[i] = blend(m[i], one - beta1, g);
    v[i] = sum([beta2 * v[i], (one - beta2) * (g * g)]);
    let denominator = v[i].sqrt() / step.correction2.sqrt() + eps;
    sum([p, -(lr / step.correction1 * m[i] / denominator)])
}
