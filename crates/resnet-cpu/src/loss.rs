//! Softmax cross-entropy: per picture in f64, summed in the order of the pictures.

use resnet_core::op::{Metrics, SoftmaxCrossEntropy, StepScalars, Targets};
use resnet_core::{Accumulate, Error, Result};

use crate::buffer::{Buffer, check};
use crate::element::Element;
use crate::engine::Engine;
use crate::threads::grown;

const OP: &str = "softmax_cross_entropy";

pub(crate) fn softmax_cross_entropy<E: Element>(
    engine: &mut Engine,
    op: &SoftmaxCrossEntropy,
    logits: &Buffer,
    targets: Targets<'_, Buffer>,
    scalars: &Buffer,
    dlogits: Option<&mut Buffer>,
    metrics: &mut Buffer,
    accumulate: Accumulate,
) -> Result<()> {
    let (desc, classes, n_valid) = (op.logits_desc(), op.classes(), targets.n_valid);
    check(OP, "logits", logits, &desc)?;
    check(OP, "targets.a", targets.a, &op.labels_desc())?;
    if let Some(b) = targets.b {
        check(OP, "targets.b", b, &op.labels_desc())?;
    }
    check(OP, "scalars", scalars, &StepScalars::desc())?;
    if let Some(dlogits) = &dlogits {
        check(OP, "dlogits", dlogits, &desc)?;
    }
    check(OP, "metrics", metrics, &Metrics::desc())?;
    if n_valid > op.n() {
        return Err(Error::invalid(OP, format!("{n_valid} valid pictures in a batch of {}", op.n())));
    }
    let a = labels("targets.a", targets.a, n_valid, classes)?;
    let b = targets.b.map(|b| labels("targets.b", b, n_valid, classes)).transpose()?;

    let mut step = [0.0; 8];
    step.copy_from_slice(scalars.f32(8));
    let step = StepScalars::from_array(step);
    let lambda = if b.is_some() { f64::from(step.lambda) } else { 1.0 };
    let picture = Picture {
        smoothing: f64::from(op.smoothing()),
        lambda,
        factor: f64::from(step.grad_scale) / n_valid as f64,
    };

    let logits = logits.elements::<E>(desc.len());
    let label = |i: usize| (a[i] as usize, b.map_or(a[i], |b| b[i]) as usize);
    // Loss and hit of every picture.
    let results = &mut grown(&mut engine.partials, 2 * op.n())[..2 * n_valid];
    let items = logits.chunks(classes).zip(results.chunks_mut(2)).enumerate();
    match dlogits {
        Some(dlogits) => {
            let (counted, padding) = dlogits.elements_mut::<E>(desc.len()).split_at_mut(n_valid * classes);
            padding.fill(E::narrow(0.0));
            let items = items.zip(counted.chunks_mut(classes));
            engine.threads.run(items, |((i, (logits, result)), dlogits), _| {
                picture.run(logits, label(i), result, Some(dlogits));
            });
        }
        None => engine.threads.run(items, |(i, (logits, result)), _| {
            picture.run(logits, label(i), result, None);
        }),
    }

    let sum = |f: fn(&[f64]) -> f64| results.chunks_exact(2).map(f).sum::<f64>();
    let new = [
        sum(|r| r[0]),
        sum(|r| r[1]),
        n_valid as f64,
        sum(|r| if (r[0] as f32).is_finite() { 0.0 } else { 1.0 }),
    ];
    for (m, new) in metrics.f32_mut(4).iter_mut().zip(new) {
        let old = if accumulate == Accumulate::Add { f64::from(*m) } else { 0.0 };
        *m = (old + new) as f32;
    }
    Ok(())
}

/// The labels that count, all of them below the number of classes.
fn labels<'a>(arg: &str, buffer: &'a Buffer, n_valid: usize, classes: usize) -> Result<&'a [u32]> {
    let labels = buffer.u32(n_valid);
    match labels.iter().position(|&label| label as usize >= classes) {
        None => Ok(labels),
        Some(i) => Err(Error::invalid(
            OP,
            format!("label {} of picture {i} in `{arg}` is not below the {classes} classes", labels[i]),
        )),
    }
}

/// What is the same for all pictures of a batch.
struct Picture {
    smoothing: f64,
    lambda: f64,
    /// On the gradient.
    factor: f64,
}

impl Picture {
    fn run<E: Element>(
        &self,
        logits: &[E],
        (a, b): (usize, usize),
        result: &mut [f64],
        dlogits: Option<&mut [E]>,
    ) {
        let logit = |j: usize| f64::from(logits[j].widen());
        let mut best = 0;
        for j in 0..logits.len() {
            if logit(j) > logit(best) {
                best = j;
            }
        }
        let max = logit(best);
        let sum: f64 = (0..logits.len()).map(|j| (logit(j) - max).exp()).sum();
        let log_sum = max + sum.ln();
        let share = self.smoothing / logits.len() as f64;
        let target = |j: usize| {
            let first = if j == a { self.lambda } else { 0.0 };
            let second = if j == b { 1.0 - self.lambda } else { 0.0 };
            (1.0 - self.smoothing) * (first + second) + share
        };
        let loss_of = |j: usize| log_sum - logit(j);
        // A class without weight does not count, even where its loss is infinite.
        let mut loss = 0.0;
        for j in 0..logits.len() {
            let t = target(j);
            if t != 0.0 {
                loss += t * loss_of(j);
            }
        }
        result[0] = loss;
        result[1] = if best == a { 1.0 } else { 0.0 };
        if let Some(dlogits) = dlogits {
            for (j, d) in dlogits.iter_mut().enumerate() {
                let softmax = (logit(j) - log_sum).exp();
                *d = E::narrow(((softmax - target(j)) * self.factor) as f32);
            }
        }
    }
}
