//! Batch normalisation against the reference.
//!
//! Sums are private to a backend, so they come from an op that takes them: combine.

use proptest::prelude::*;
use resnet_core::op::{BatchNorm, Combine, Op};
use resnet_core::{Accumulate, Backend, DType, GradOut, GradSource, GradSums, Result, Source, TensorDesc};

use super::match_reference;
use crate::data::Data;
use crate::lab::{Case, Lab, Output, output};
use crate::strategy::{forms, seed, shapes};
use crate::tensors::{finish_grad_sums, finish_sums};

/// Batch statistics of values that lie around a mean per channel.
#[derive(Debug)]
pub(crate) struct Finish {
    op: Combine,
    seed: u64,
}

impl Case for Finish {
    fn op(&self) -> &'static str {
        "norm_finish"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::Combine(*op)])?;
        let means = data.range(op.c(), -3.0, 3.0);
        let mut values = data.values(op.desc().len());
        values.iter_mut().enumerate().for_each(|(i, v)| *v += means[i % op.c()]);
        let raw = backend.put(op.desc(), &values)?;
        let mut z = backend.poisoned(op.desc())?;
        let mut sums = backend.poisoned(TensorDesc::sums(op.c()))?;
        backend.combine(op, Source::raw(&raw), &mut z, Some(&mut sums))?;
        finish_sums(backend, (op.c(), op.rows()), &sums, data)
    }
}

/// The affine of running statistics.
#[derive(Debug)]
pub(crate) struct Frozen {
    c: usize,
    seed: u64,
}

impl Case for Frozen {
    fn op(&self) -> &'static str {
        "norm_frozen"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (c, data, row) = (self.c, &mut Data::new(self.seed), TensorDesc::table(1, self.c));
        let op = BatchNorm::new(c, 1 + data.below(100), [1e-5, 1e-3][data.below(2)], 0.1, true)?;
        backend.prepare(&[Op::BatchNorm(op)])?;
        let mean = backend.put(row, &data.range(c, -3.0, 3.0))?;
        let var = backend.put(row, &data.range(c, 0.0, 2.0))?;
        let gamma = backend.put(row, &data.range(c, -2.0, 2.0))?;
        let beta = backend.put(row, &data.range(c, -1.0, 1.0))?;
        let mut affine = backend.poisoned(TensorDesc::affine(c))?;
        backend.norm_frozen(&op, &mean, &var, &gamma, &beta, &mut affine)?;
        Ok(vec![output("affine", TensorDesc::affine(c), affine)])
    }
}

/// The coefficients of the gradient through running statistics.
#[derive(Debug)]
pub(crate) struct FrozenBackward {
    c: usize,
    seed: u64,
}

impl Case for FrozenBackward {
    fn op(&self) -> &'static str {
        "norm_frozen_backward"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (c, data) = (self.c, &mut Data::new(self.seed));
        let op = BatchNorm::new(c, 1 + data.below(100), 1e-5, 0.1, true)?;
        backend.prepare(&[Op::BatchNorm(op)])?;
        let affine = backend.put(TensorDesc::affine(c), &data.range(2 * c, -2.0, 2.0))?;
        let mut coeffs = backend.poisoned(TensorDesc::coeffs(c))?;
        backend.norm_frozen_backward(&op, &affine, &mut coeffs)?;
        Ok(vec![output("coeffs", TensorDesc::coeffs(c), coeffs)])
    }
}

/// Gradients of scale and shift, and the coefficients of the input's gradient.
#[derive(Debug)]
pub(crate) struct Backward {
    op: Combine,
    accumulate: Accumulate,
    seed: u64,
}

impl Case for Backward {
    fn op(&self) -> &'static str {
        "norm_backward_finish"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::CombineBackward(*op)])?;
        let dz = backend.put(op.desc(), &data.values(op.desc().len()))?;
        let y = backend.put(op.desc(), &data.values(op.desc().len()))?;
        let moments = backend.put(TensorDesc::moments(op.c()), &data.moments(op.c()))?;
        let mut sums = backend.poisoned(TensorDesc::sums(op.c()))?;
        let mut dx = backend.poisoned(op.desc())?;
        let out = GradOut {
            sums: [Some(GradSums { y: &y, moments: &moments, sums: &mut sums }), None],
            ..GradOut::set(&mut dx)
        };
        backend.combine_backward(op, GradSource::raw(&dz), out)?;
        finish_grad_sums(backend, (op.c(), op.rows()), &sums, &moments, self.accumulate, data)
    }
}

pub(crate) fn finish() -> impl Strategy<Value = Finish> {
    (shapes::combine(DType::F32), seed()).prop_map(|(op, seed)| Finish { op, seed })
}

pub(crate) fn frozen() -> impl Strategy<Value = Frozen> {
    (1..=70usize, seed()).prop_map(|(c, seed)| Frozen { c, seed })
}

pub(crate) fn frozen_backward() -> impl Strategy<Value = FrozenBackward> {
    (1..=70usize, seed()).prop_map(|(c, seed)| FrozenBackward { c, seed })
}

pub(crate) fn backward() -> impl Strategy<Value = Backward> {
    (shapes::combine(DType::F32), forms::accumulate(), seed()).prop_map(|(op, accumulate, seed)| Backward {
        op,
        accumulate,
        seed,
    })
}

/// [`Backend::norm_finish`] matches the reference: moments, affine, and running statistics with and without `m / (m − 1)`.
pub fn finish_matches_reference<B: Backend>(make: impl Fn() -> B) {
    match_reference(make, "norm_finish matches the reference", finish());
}

/// [`Backend::norm_frozen`] matches the reference.
pub fn frozen_matches_reference<B: Backend>(make: impl Fn() -> B) {
    match_reference(make, "norm_frozen matches the reference", frozen());
}

/// [`Backend::norm_frozen_backward`] matches the reference.
pub fn frozen_backward_matches_reference<B: Backend>(make: impl Fn() -> B) {
    match_reference(make, "norm_frozen_backward matches the reference", frozen_backward());
}

/// [`Backend::norm_backward_finish`] matches the reference.
pub fn backward_matches_reference<B: Backend>(make: impl Fn() -> B) {
    match_reference(make, "norm_backward_finish matches the reference", backward());
}
