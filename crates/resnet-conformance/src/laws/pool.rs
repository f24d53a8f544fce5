//! Pools against the reference, and what a max-pool does with NaN.

use proptest::prelude::*;
use resnet_core::op::{AvgPool, MaxPool, Op, PadValue, Padding};
use resnet_core::{Backend, DType, GradOut, GradSource, Result, Source, TensorDesc};

use super::match_reference;
use crate::data::Data;
use crate::lab::{Case, Lab, Output, output};
use crate::strategy::forms::{self, GradOutForm, SourceForm};
use crate::strategy::{seed, shapes};
use crate::tensors::{OwnedGrad, OwnedGradOut, OwnedSource, Values, finish_sums};

/// Maxima and where they are. The numbers are exact, so that two inputs tie on every machine or on none.
#[derive(Debug)]
pub(crate) struct Max {
    op: MaxPool,
    x: SourceForm,
    values: Values,
    index: bool,
    sums: bool,
    seed: u64,
}

impl Case for Max {
    fn op(&self) -> &'static str {
        "max_pool"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::MaxPool(*op)])?;
        let x = OwnedSource::new(backend, op.x_desc(), self.x, self.values, data)?;
        let mut y = backend.poisoned(op.y_desc())?;
        let mut index = if self.index { Some(backend.poisoned(op.index_desc())?) } else { None };
        let mut sums = if self.sums { Some(backend.poisoned(TensorDesc::sums(op.c()))?) } else { None };
        backend.max_pool(op, x.get(), &mut y, index.as_mut(), sums.as_mut())?;
        let mut outputs = vec![output("y", op.y_desc(), y)];
        outputs.extend(index.map(|index| output("index", op.index_desc(), index)));
        if let Some(sums) = sums {
            outputs.extend(finish_sums(backend, (op.c(), op.n() * op.p() * op.q()), &sums, data)?);
        }
        Ok(outputs)
    }
}

/// Gradients sent to the winners of a forward pass.
#[derive(Debug)]
pub(crate) struct MaxBackward {
    op: MaxPool,
    values: Values,
    norm: bool,
    out: GradOutForm,
    seed: u64,
}

impl Case for MaxBackward {
    fn op(&self) -> &'static str {
        "max_pool_backward"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::MaxPool(*op)])?;
        let x = OwnedSource::new(backend, op.x_desc(), SourceForm::RAW, self.values, data)?;
        let mut y = backend.poisoned(op.y_desc())?;
        let mut index = backend.poisoned(op.index_desc())?;
        backend.max_pool(op, x.get(), &mut y, Some(&mut index), None)?;
        let dy = OwnedGrad::new(backend, op.y_desc(), self.norm, data)?;
        let mut dx = OwnedGradOut::new(backend, op.x_desc(), self.out, data)?;
        backend.max_pool_backward(op, dy.get(), &index, dx.get())?;
        dx.finish(backend, data)
    }
}

/// Means.
#[derive(Debug)]
pub(crate) struct Avg {
    op: AvgPool,
    x: SourceForm,
    seed: u64,
}

impl Case for Avg {
    fn op(&self) -> &'static str {
        "avg_pool"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::AvgPool(*op)])?;
        let x = OwnedSource::new(backend, op.x_desc(), self.x, Values::Any, data)?;
        let mut y = backend.poisoned(op.y_desc())?;
        backend.avg_pool(op, x.get(), &mut y)?;
        Ok(vec![output("y", op.y_desc(), y)])
    }
}

/// Gradients shared out evenly.
#[derive(Debug)]
pub(crate) struct AvgBackward {
    op: AvgPool,
    norm: bool,
    out: GradOutForm,
    seed: u64,
}

impl Case for AvgBackward {
    fn op(&self) -> &'static str {
        "avg_pool_backward"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::AvgPool(*op)])?;
        let dy = OwnedGrad::new(backend, op.y_desc(), self.norm, data)?;
        let mut dx = OwnedGradOut::new(backend, op.x_desc(), self.out, data)?;
        backend.avg_pool_backward(op, dy.get(), dx.get())?;
        dx.finish(backend, data)
    }
}

fn exact_values() -> impl Strategy<Value = Values> {
    prop_oneof![Just(Values::Distinct), Just(Values::Ties)]
}

pub(crate) fn max(dtype: DType) -> impl Strategy<Value = Max> {
    (shapes::max_pool(dtype), forms::source(), exact_values(), any::<bool>(), any::<bool>(), seed())
        .prop_map(|(op, x, values, index, sums, seed)| Max { op, x, values, index, sums, seed })
}

pub(crate) fn max_backward(dtype: DType) -> impl Strategy<Value = MaxBackward> {
    (shapes::max_pool(dtype), exact_values(), any::<bool>(), forms::grad_out(), seed())
        .prop_map(|(op, values, norm, out, seed)| MaxBackward { op, values, norm, out, seed })
}

pub(crate) fn avg(dtype: DType) -> impl Strategy<Value = Avg> {
    (shapes::avg_pool(dtype), forms::source(), seed()).prop_map(|(op, x, seed)| Avg { op, x, seed })
}

pub(crate) fn avg_backward(dtype: DType) -> impl Strategy<Value = AvgBackward> {
    (shapes::avg_pool(dtype), any::<bool>(), forms::grad_out(), seed())
        .prop_map(|(op, norm, out, seed)| AvgBackward { op, norm, out, seed })
}

/// [`Backend::max_pool`] matches the reference: maxima, winners on ties, batch sums.
pub fn max_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "max_pool matches the reference", max(dtype));
}

/// [`Backend::max_pool_backward`] matches the reference.
pub fn max_backward_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "max_pool_backward matches the reference", max_backward(dtype));
}

/// [`Backend::avg_pool`] matches the reference.
pub fn avg_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "avg_pool matches the reference", avg(dtype));
}

/// [`Backend::avg_pool_backward`] matches the reference.
pub fn avg_backward_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "avg_pool_backward matches the reference", avg_backward(dtype));
}

/// The first NaN of a window wins over everything, and a NaN passes a ReLU.
pub fn nan_wins<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let run = |backend: &mut B, relu: bool| -> Result<(Vec<f32>, Vec<f32>, Vec<f32>)> {
        // Two windows of 1 × 3: the first holds NaN twice, the second an infinity and no NaN.
        let x = [7.0, f32::NAN, f32::NAN, 1.0, f32::INFINITY, 2.0];
        let op = MaxPool::new((1, 1, 6, 1), (1, 3), 3, Padding::default(), PadValue::NegInf, dtype)?;
        backend.prepare(&[Op::MaxPool(op)])?;
        let raw = backend.put(op.x_desc(), &x)?;
        let mut y = backend.poisoned(op.y_desc())?;
        let mut index = backend.poisoned(op.index_desc())?;
        backend.max_pool(&op, Source { relu, ..Source::raw(&raw) }, &mut y, Some(&mut index), None)?;
        let dy = backend.put(op.y_desc(), &[3.0, 5.0])?;
        let mut dx = backend.poisoned(op.x_desc())?;
        backend.max_pool_backward(&op, GradSource::raw(&dy), &index, GradOut::set(&mut dx))?;
        Ok((
            backend.get(op.y_desc(), &y)?,
            backend.get(op.index_desc(), &index)?,
            backend.get(op.x_desc(), &dx)?,
        ))
    };
    for relu in [false, true] {
        let (y, index, dx) = match run(&mut make(), relu) {
            Ok(results) => results,
            Err(error) => panic!("max_pool: {error}"),
        };
        assert!(
            y[0].is_nan() && y[1] == f32::INFINITY,
            "max_pool, relu {relu}: y is {y:?}, wanted [NaN, inf]"
        );
        assert_eq!(index, [1.0, 1.0], "max_pool, relu {relu}: winners of [7 NaN NaN] and [1 inf 2]");
        assert_eq!(dx, [0.0, 3.0, 0.0, 0.0, 5.0, 0.0], "max_pool_backward, relu {relu}");
    }
}
