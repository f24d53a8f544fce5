//! The norm of all gradients, and one step of the optimizer over all parameters.

use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{Error, Param, Result, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::engine::Engine;
use crate::kernels::Isa;
use crate::kernels::sums;
use crate::kernels::update::{self, Adam, Step};
use crate::threads::grown;

/// Numbers per task.
const CHUNK: usize = 32 * 1024;

/// `sqrt(Σ g²)` over all gradients.
pub(crate) fn grad_norm(engine: &mut Engine, params: &[Param<Buffer>], norm: &mut Buffer) -> Result<()> {
    const OP: &str = "grad_norm";
    check(OP, "norm", norm, &TensorDesc::table(1, 1))?;
    for param in params {
        if let Some(grad) = &param.grad {
            check(OP, "params.grad", grad, &param.desc)?;
        }
    }
    let isa = engine.isa;
    let mut total = 0.0;
    for param in params {
        let Some(grad) = &param.grad else { continue };
        let grad = grad.f32(param.desc.len());
        let partials = grown(&mut engine.partials, grad.len().div_ceil(CHUNK));
        engine.threads.run(grad.chunks(CHUNK).zip(partials.iter_mut()), |(grad, sum), _| {
            *sum = 0.0;
            sums::squares(isa, grad, sum);
        });
        total += partials.iter().sum::<f64>();
    }
    norm.f32_mut(1)[0] = total.sqrt() as f32;
    Ok(())
}

/// One step.
pub(crate) fn update(
    engine: &mut Engine,
    rule: &Optimizer,
    scalars: &Buffer,
    norm: Option<&Buffer>,
    params: &mut [Param<Buffer>],
) -> Result<()> {
    const OP: &str = "update";
    check(OP, "scalars", scalars, &StepScalars::desc())?;
    if let Some(norm) = norm {
        check(OP, "norm", norm, &TensorDesc::table(1, 1))?;
    }
    for param in params.iter().filter(|p| moves(p)) {
        check(OP, "params.value", &param.value, &param.desc)?;
        if let Some(grad) = &param.grad {
            check(OP, "params.grad", grad, &param.desc)?;
        }
        for state in &param.states[..rule.n_states()] {
            let Some(state) = state else {
                return Err(Error::invalid(
                    OP,
                    format!(
                        "{:?} needs {} states, a parameter of {} has fewer",
                        rule,
                        rule.n_states(),
                        param.desc
                    ),
                ));
            };
            check(OP, "params.states", state, &param.desc)?;
        }
    }

    let mut step = [0.0; 8];
    step.copy_from_slice(scalars.f32(8));
    let step = StepScalars::from_array(step);
    let clip = match norm.map(|norm| norm.f32(1)[0]) {
        None => step.unscale,
        Some(norm) if !norm.is_finite() => return Ok(()),
        Some(norm) => (step.max_norm / (norm * step.unscale + 1e-6)).min(1.0) * step.unscale,
    };
    for param in params.iter_mut().filter(|p| moves(p)) {
        one(engine, rule, &step, clip, param);
    }
    Ok(())
}

/// Whether a parameter is trained.
fn moves(param: &Param<Buffer>) -> bool {
    param.grad.is_some() && param.lr_scale != 0.0
}

fn one(engine: &Engine, rule: &Optimizer, scalars: &StepScalars, clip: f32, param: &mut Param<Buffer>) {
    let Some(grad) = &param.grad else { return };
    let len = param.desc.len();
    let lr = scalars.lr * param.lr_scale;
    let with = |decay: f32| Step { lr, decay: if param.decay { decay } else { 0.0 }, clip };
    let adam = |beta1, beta2, eps| Adam {
        beta1,
        beta2,
        eps,
        step_size: lr / scalars.correction1,
        sqrt_c2: scalars.correction2.sqrt(),
    };
    let isa: Isa = engine.isa;
    let items = param.value.f32_mut(len).chunks_mut(CHUNK).zip(grad.f32(len).chunks(CHUNK));
    match (*rule, &mut param.states) {
        (Optimizer::Sgd { momentum, nesterov, weight_decay }, [Some(v), _]) if momentum != 0.0 => {
            let s = with(weight_decay);
            let run = if nesterov { update::momentum::<true> } else { update::momentum::<false> };
            let items = items.zip(v.f32_mut(len).chunks_mut(CHUNK));
            engine.threads.run(items, |((p, g), v), _| run(isa, p, g, v, momentum, s));
        }
        (Optimizer::Sgd { weight_decay, .. }, _) => {
            let s = with(weight_decay);
            engine.threads.run(items, |(p, g), _| update::sgd(isa, p, g, s));
        }
        (Optimizer::Adam { beta1, beta2, eps, weight_decay }, [Some(m), Some(v)]) => {
            let (a, s) = (adam(beta1, beta2, eps), with(weight_decay));
            let items = items.zip(m.f32_mut(len).chunks_mut(CHUNK)).zip(v.f32_mut(len).chunks_mut(CHUNK));
            engine.threads.run(items, |(((p, g), m), v), _| update::adam::<false>(isa, p, g, m, v, a, s));
        }
        (Optimizer::AdamW { beta1, beta2, eps, weight_decay }, [Some(m), Some(v)]) => {
            let (a, s) = (adam(beta1, beta2, eps), with(weight_decay));
            let items = items.zip(m.f32_mut(len).chunks_mut(CHUNK)).zip(v.f32_mut(len).chunks_mut(CHUNK));
            engine.threads.run(items, |(((p, g), m), v), _| update::adam::<true>(isa, p, g, m, v, a, s));
        }
        // `update` refused parameters without the states that their rule needs.
        (Optimizer::Adam { .. } | Optimizer::AdamW { .. }, _) => {}
    }
}
