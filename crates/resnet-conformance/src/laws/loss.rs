//! Softmax cross-entropy against the reference, and how it treats what is not a number or not a class.

use proptest::prelude::*;
use resnet_core::op::{Metrics, Op, SoftmaxCrossEntropy, StepScalars, Targets};
use resnet_core::{Accumulate, Backend, DType, Error, Result};

use super::match_reference;
use crate::data::Data;
use crate::lab::{Case, Lab, Output, output};
use crate::strategy::{forms, seed};

/// A batch of logits; those after `n_valid` are NaN, because they must not matter.
#[derive(Debug)]
pub(crate) struct Loss {
    dtype: DType,
    n: usize,
    n_valid: usize,
    classes: usize,
    smoothing: f32,
    mixed: bool,
    ties: bool,
    gradient: bool,
    accumulate: Accumulate,
    seed: u64,
}

impl Case for Loss {
    fn op(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let data = &mut Data::new(self.seed);
        let op = SoftmaxCrossEntropy::new(self.n, self.classes, self.smoothing, self.dtype)?;
        backend.prepare(&[Op::SoftmaxCrossEntropy(op)])?;
        let desc = op.logits_desc();
        let offset = [0.0, 0.0, 30.0, -200.0][data.below(4)];
        let mut logits =
            if self.ties { data.quarters(desc.len()) } else { data.range(desc.len(), -8.0, 8.0) };
        logits.iter_mut().for_each(|x| *x += offset);
        logits[self.n_valid * self.classes..].fill(f32::NAN);
        let logits = backend.put(desc, &logits)?;
        let mut labels = || (0..self.n).map(|_| data.below(self.classes) as u32).collect::<Vec<_>>();
        let a = backend.put_labels(&labels())?;
        let b = if self.mixed { Some(backend.put_labels(&labels())?) } else { None };
        // Without a second label the mixing weight must not matter.
        let lambda = data.between(0.0, 1.0);
        let scalars = StepScalars { lambda, grad_scale: data.between(0.25, 4.0), ..StepScalars::default() };
        let scalars = backend.put(StepScalars::desc(), &scalars.to_array())?;
        let mut dlogits = if self.gradient { Some(backend.poisoned(desc)?) } else { None };
        let mut metrics = match self.accumulate {
            Accumulate::Set => backend.poisoned(Metrics::desc())?,
            Accumulate::Add => backend.put(Metrics::desc(), &[3.5, 2.0, 8.0, 1.0])?,
        };
        let targets = Targets { a: &a, b: b.as_ref(), n_valid: self.n_valid };
        let accumulate = self.accumulate;
        backend.softmax_cross_entropy(
            &op,
            &logits,
            targets,
            &scalars,
            dlogits.as_mut(),
            &mut metrics,
            accumulate,
        )?;
        let mut outputs = vec![output("metrics", Metrics::desc(), metrics)];
        outputs.extend(dlogits.map(|dlogits| output("dlogits", desc, dlogits)));
        Ok(outputs)
    }
}

pub(crate) fn loss(dtype: DType) -> impl Strategy<Value = Loss> {
    let classes =
        prop_oneof![Just(2usize), 3..=20usize, prop::sample::select(vec![31usize, 32, 33, 100, 500])];
    let smoothing = prop_oneof![Just(0.0f32), Just(0.1f32)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (1..=8usize, 0..8usize, classes, smoothing, flags, forms::accumulate(), seed()).prop_map(
        move |(n, invalid, classes, smoothing, (mixed, ties, gradient), accumulate, seed)| Loss {
            dtype,
            n,
            n_valid: n - invalid % n,
            classes,
            smoothing,
            mixed,
            ties,
            gradient,
            accumulate,
            seed,
        },
    )
}

/// [`Backend::softmax_cross_entropy`] matches the reference: smoothing, two labels, padding rows, ties, metrics set and added.
pub fn matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "softmax_cross_entropy matches the reference", loss(dtype));
}

/// Runs three pictures over four classes without a second label; metrics are set.
fn run<B: Backend>(backend: &mut B, dtype: DType, logits: &[f32; 12], labels: [u32; 3]) -> Result<Vec<f32>> {
    let op = SoftmaxCrossEntropy::new(3, 4, 0.0, dtype)?;
    backend.prepare(&[Op::SoftmaxCrossEntropy(op)])?;
    let logits = backend.put(op.logits_desc(), logits)?;
    let a = backend.put_labels(&labels)?;
    let scalars = backend.put(StepScalars::desc(), &StepScalars::default().to_array())?;
    let mut dlogits = backend.poisoned(op.logits_desc())?;
    let mut metrics = backend.poisoned(Metrics::desc())?;
    let targets = Targets { a: &a, b: None, n_valid: 3 };
    let (d, set) = (Some(&mut dlogits), Accumulate::Set);
    backend.softmax_cross_entropy(&op, &logits, targets, &scalars, d, &mut metrics, set)?;
    backend.get(Metrics::desc(), &metrics)
}

/// A picture whose loss is not finite is counted as such, next to pictures that are fine.
pub fn non_finite_losses_are_counted<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let mut logits = [0.5; 12];
    logits[5] = f32::NAN;
    logits[10] = f32::INFINITY;
    let metrics = match run(&mut make(), dtype, &logits, [0, 1, 0]) {
        Ok(metrics) => metrics,
        Err(error) => panic!("softmax_cross_entropy: {error}"),
    };
    assert_eq!(
        metrics[2..],
        [3.0, 2.0],
        "softmax_cross_entropy: pictures counted, and those without a finite loss"
    );
}

/// A label that is no class is an error or a loss that is not finite. It is never an address.
pub fn a_wrong_label_is_no_address<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    for wrong in [4, 5, 1 << 20, u32::MAX] {
        match run(&mut make(), dtype, &[0.5; 12], [0, wrong, 3]) {
            Err(Error::Invalid { .. } | Error::Device { .. } | Error::Mismatch { .. }) => {}
            Err(error) => {
                panic!("softmax_cross_entropy: label {wrong} of 4 classes gave the wrong error: {error}")
            }
            Ok(metrics) => {
                assert!(
                    metrics[3] >= 1.0,
                    "softmax_cross_entropy: label {wrong} of 4 classes passed unnoticed: {metrics:?}"
                );
            }
        }
    }
}
