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
    let isa: Isa = engine.isa;
    let adam = |beta1, beta2, eps, lr: f32| Adam {
        beta1,
        beta2,
        eps,
        step_size: lr / step.correction1,
        sqrt_c2: step.correction2.sqrt(),
    };
    // One parallel region for all parameters: most of a ResNet's have fewer numbers than one task takes.
    let stretches = params.iter_mut().filter(|p| moves(p)).flat_map(stretches);
    engine.threads.run_in_order(stretches, |stretch, _| {
        let Stretch { value, grad, states: [first, second], lr_scale, decays } = stretch;
        let lr = step.lr * lr_scale;
        let with = |decay: f32| Step { lr, decay: if decays { decay } else { 0.0 }, clip };
        match *rule {
            Optimizer::Sgd { momentum, nesterov, weight_decay } if momentum != 0.0 => {
                let run = if nesterov { update::momentum::<true> } else { update::momentum::<false> };
                run(isa, value, grad, first, momentum, with(weight_decay));
            }
            Optimizer::Sgd { weight_decay, .. } => update::sgd(isa, value, grad, with(weight_decay)),
            Optimizer::Adam { beta1, beta2, eps, weight_decay } => {
                let rule = adam(beta1, beta2, eps, lr);
                update::adam::<false>(isa, value, grad, first, second, rule, with(weight_decay));
            }
            Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
                let rule = adam(beta1, beta2, eps, lr);
                update::adam::<true>(isa, value, grad, first, second, rule, with(weight_decay));
            }
        }
    });
    Ok(())
}

/// Whether a parameter is trained.
fn moves(param: &Param<Buffer>) -> bool {
    param.grad.is_some() && param.lr_scale != 0.0
}

/// A part of one parameter: what one task updates.
struct Stretch<'a> {
    value: &'a mut [f32],
    grad: &'a [f32],
    /// Empty where the rule keeps none.
    states: [&'a mut [f32]; 2],
    lr_scale: f32,
    decays: bool,
}

/// Cuts a parameter for the tasks.
fn stretches(param: &mut Param<Buffer>) -> impl Iterator<Item = Stretch<'_>> {
    let Param { value, grad, states: [first, second], .. } = param;
    let (len, lr_scale, decays) = (param.desc.len(), param.lr_scale, param.decay);
    let [mut first, mut second] =
        [first, second].map(|s| s.as_mut().map(|s| s.f32_mut(len).chunks_mut(CHUNK)));
    let grad = grad.as_ref().map_or(&[][..], |grad| grad.f32(len));
    value.f32_mut(len).chunks_mut(CHUNK).zip(grad.chunks(CHUNK)).map(move |(value, grad)| {
        let states =
            [&mut first, &mut second].map(|s| s.as_mut().and_then(Iterator::next).unwrap_or_default());
        Stretch { value, grad, states, lr_scale, decays }
    })
}
