//! Softmax cross-entropy with its gradient and metrics.

use resnet_core::op::{Metrics, SoftmaxCrossEntropy, StepScalars, Targets};
use resnet_core::{Accumulate, Error, Result};

use super::Buffer;
use super::source::put;
use crate::number::{Number, Sum, sum};

pub(super) fn softmax_cross_entropy<T: Number>(
    op: &SoftmaxCrossEntropy,
    logits: &Buffer<T>,
    targets: Targets<'_, Buffer<T>>,
    scalars: &Buffer<T>,
    dlogits: Option<&mut Buffer<T>>,
    metrics: &mut Buffer<T>,
    accumulate: Accumulate,
) -> Result<()> {
    const OP: &str = "softmax_cross_entropy";
    let (n, classes) = (op.n(), op.classes());
    if targets.n_valid > n {
        return Err(Error::invalid(OP, format!("{} valid pictures in a batch of {n}", targets.n_valid)));
    }
    let logits = logits.read(OP, "logits", n * classes)?;
    let a = labels(op, targets.a.read(OP, "targets.a", n)?, targets.n_valid)?;
    let b = match targets.b {
        Some(b) => Some(labels(op, b.read(OP, "targets.b", n)?, targets.n_valid)?),
        None => None,
    };
    let scalars = scalars.read(OP, "scalars", StepScalars::desc().len())?;
    let mut dlogits = dlogits.map(|d| d.write(OP, "dlogits", n * classes)).transpose()?;
    let metrics = metrics.write(OP, "metrics", Metrics::desc().len())?;

    let (lambda, grad_scale) = (scalars[3], scalars[4]);
    let one = T::exact(1.0);
    let smoothing = T::exact(f64::from(op.smoothing()));
    let mut sums = [(); 4].map(|()| T::Sum::default());
    for i in 0..n {
        let row = i * classes..(i + 1) * classes;
        let dlogits = dlogits.as_deref_mut().map(|d| &mut d[row.clone()]);
        if i >= targets.n_valid {
            if let Some(d) = dlogits {
                d.fill(T::exact(0.0));
            }
            continue;
        }
        let x = &logits[row];
        let target = |j: usize| {
            let here = |label: usize| T::exact(f64::from(u8::from(label == j)));
            let mixed = match &b {
                None => here(a[i]),
                Some(b) => lambda * here(a[i]) + (one - lambda) * here(b[i]),
            };
            (one - smoothing) * mixed + smoothing / T::exact(classes as f64)
        };

        let max = x.iter().copied().reduce(T::max).unwrap_or(one);
        let exps: Vec<T> = x.iter().map(|&x| (x - max).exp()).collect();
        let total = sum(exps.iter().copied());
        let log_sum_exp = max + total.ln();
        let loss = sum((0..classes).map(|j| target(j) * (log_sum_exp - x[j])));
        if let Some(d) = dlogits {
            for j in 0..classes {
                let share = exps[j] / total - target(j);
                let gradient = share * grad_scale / T::exact(targets.n_valid as f64);
                d[j] = gradient.stored(op.logits_desc().dtype);
            }
        }

        let largest = (0..classes).fold(0, |best, j| if x[j].value() > x[best].value() { j } else { best });
        let flags = [largest == a[i], true, !loss.value().is_finite()];
        sums[0].add(loss);
        for (sum, flag) in sums[1..].iter_mut().zip(flags) {
            sum.add(T::exact(f64::from(u8::from(flag))));
        }
    }
    put(metrics, accumulate, sums);
    Ok(())
}

fn labels<T: Number>(op: &SoftmaxCrossEntropy, labels: &[T], n_valid: usize) -> Result<Vec<usize>> {
    let labels: Vec<usize> = labels.iter().map(|label| label.value() as usize).collect();
    match labels[..n_valid].iter().position(|&label| label >= op.classes()) {
        None => Ok(labels),
        Some(at) => Err(Error::invalid(
            "softmax_cross_entropy",
            format!("label {} of picture {at} is not one of {} classes", labels[at], op.classes()),
        )),
    }
}
