//! The three directions of a convolution against the reference.

use proptest::prelude::*;
use resnet_core::op::{Conv2d, Op};
use resnet_core::{Accumulate, Arithmetic, Backend, DType, Error, Finish, Result, Source, TensorDesc};

use super::match_reference;
use crate::data::Data;
use crate::lab::{Case, Lab, Output, output};
use crate::number::nearest;
use crate::strategy::forms::{self, GradOutForm, SourceForm};
use crate::strategy::{seed, shapes};
use crate::tensors::{OwnedGrad, OwnedGradOut, OwnedSource, Values, finish_sums};

/// A forward pass.
#[derive(Debug)]
pub(crate) struct Forward {
    op: Conv2d,
    x: SourceForm,
    bias: bool,
    sums: bool,
    seed: u64,
}

impl Case for Forward {
    fn op(&self) -> &'static str {
        "conv2d"
    }

    fn arithmetic<B: Backend>(&self, backend: &B) -> Arithmetic {
        backend.arithmetic(&Op::Conv2d(self.op))
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::Conv2d(*op)])?;
        let x = OwnedSource::new(backend, op.x_desc(), self.x, Values::Any, data)?;
        let w = backend.put(op.w_desc(), &weights(op, data))?;
        let bias = if self.bias { Some(backend.put(op.bias_desc(), &data.values(op.k()))?) } else { None };
        let mut y = backend.poisoned(op.y_desc())?;
        let mut sums = if self.sums { Some(backend.poisoned(TensorDesc::sums(op.k()))?) } else { None };
        backend.conv2d(op, x.get(), &w, bias.as_ref(), &mut y, sums.as_mut())?;
        let mut outputs = vec![output("y", op.y_desc(), y)];
        if let Some(sums) = sums {
            outputs.extend(finish_sums(backend, (op.k(), op.n() * op.p() * op.q()), &sums, data)?);
        }
        Ok(outputs)
    }
}

/// A forward pass whose result is finished before it is stored.
#[derive(Debug)]
pub(crate) struct Finished {
    op: Conv2d,
    x: SourceForm,
    bias: bool,
    finish: SourceForm,
    seed: u64,
}

impl Case for Finished {
    fn op(&self) -> &'static str {
        "conv2d_finished"
    }

    fn arithmetic<B: Backend>(&self, backend: &B) -> Arithmetic {
        backend.arithmetic(&Op::Conv2d(self.op))
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::Conv2d(*op)])?;
        let x = OwnedSource::new(backend, op.x_desc(), self.x, Values::Any, data)?;
        let w = backend.put(op.w_desc(), &weights(op, data))?;
        let bias = if self.bias { Some(backend.put(op.bias_desc(), &data.values(op.k()))?) } else { None };
        // The tables and the residual of a source are those of a finish; its raw tensor is not read.
        let finish = OwnedSource::new(backend, op.y_desc(), self.finish, Values::Any, data)?;
        let Source { affine, residual, relu, .. } = finish.get();
        let mut y = backend.poisoned(op.y_desc())?;
        let end = Finish { affine, residual, relu };
        let result = backend.conv2d_finished(op, x.get(), &w, bias.as_ref(), end, &mut y);
        match result {
            // A backend that says it cannot is not asked; if it is, it must say so again.
            Err(Error::Unsupported { .. }) if !backend.finishes(op) => Ok(vec![]),
            _ => result.map(|()| vec![output("y", op.y_desc(), y)]),
        }
    }
}

/// The gradient of the input.
#[derive(Debug)]
pub(crate) struct BackwardData {
    op: Conv2d,
    norm: bool,
    out: GradOutForm,
    seed: u64,
}

impl Case for BackwardData {
    fn op(&self) -> &'static str {
        "conv2d_backward_data"
    }

    fn arithmetic<B: Backend>(&self, backend: &B) -> Arithmetic {
        backend.arithmetic(&Op::Conv2dBackwardData(self.op))
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::Conv2dBackwardData(*op)])?;
        let dy = OwnedGrad::new(backend, op.y_desc(), self.norm, data)?;
        let w = backend.put(op.w_desc(), &weights(op, data))?;
        let mut dx = OwnedGradOut::new(backend, op.x_desc(), self.out, data)?;
        backend.conv2d_backward_data(op, dy.get(), &w, dx.get())?;
        dx.finish(backend, data)
    }
}

/// The gradient of the kernels and the bias.
#[derive(Debug)]
pub(crate) struct BackwardWeight {
    op: Conv2d,
    x: SourceForm,
    norm: bool,
    bias: bool,
    accumulate: Accumulate,
    seed: u64,
}

impl Case for BackwardWeight {
    fn op(&self) -> &'static str {
        "conv2d_backward_weight"
    }

    fn arithmetic<B: Backend>(&self, backend: &B) -> Arithmetic {
        backend.arithmetic(&Op::Conv2dBackwardWeight(self.op))
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::Conv2dBackwardWeight(*op)])?;
        let x = OwnedSource::new(backend, op.x_desc(), self.x, Values::Any, data)?;
        let dy = OwnedGrad::new(backend, op.y_desc(), self.norm, data)?;
        let mut start = |desc| match self.accumulate {
            Accumulate::Set => backend.poisoned(desc),
            Accumulate::Add => backend.put(desc, &data.values(desc.len())),
        };
        let mut dw = start(op.w_desc())?;
        let mut dbias = if self.bias { Some(start(op.bias_desc())?) } else { None };
        backend.conv2d_backward_weight(op, x.get(), dy.get(), &mut dw, dbias.as_mut(), self.accumulate)?;
        let mut outputs = vec![output("dw", op.w_desc(), dw)];
        outputs.extend(dbias.map(|dbias| output("dbias", op.bias_desc(), dbias)));
        Ok(outputs)
    }
}

/// Kernels. For 16 bits, three times out of four such that no rounding changes them, and what products err by is f32's alone.
fn weights(op: &Conv2d, data: &mut Data) -> Vec<f32> {
    let mut w = data.values(op.w_desc().len());
    if op.dtype() != DType::F32 && data.below(4) > 0 {
        w.iter_mut().for_each(|w| *w = nearest(op.dtype(), f64::from(*w)) as f32);
    }
    w
}

pub(crate) fn forward(dtype: DType) -> impl Strategy<Value = Forward> {
    (shapes::conv2d_or_fast(dtype), forms::source(), any::<bool>(), any::<bool>(), seed())
        .prop_map(|(op, x, bias, sums, seed)| Forward { op, x, bias, sums, seed })
}

pub(crate) fn finished(dtype: DType) -> impl Strategy<Value = Finished> {
    (shapes::conv2d_or_fast(dtype), forms::source(), any::<bool>(), forms::source(), seed())
        .prop_map(|(op, x, bias, finish, seed)| Finished { op, x, bias, finish, seed })
}

pub(crate) fn backward_data(dtype: DType) -> impl Strategy<Value = BackwardData> {
    (shapes::conv2d_or_fast(dtype), any::<bool>(), forms::grad_out(), seed())
        .prop_map(|(op, norm, out, seed)| BackwardData { op, norm, out, seed })
}

pub(crate) fn backward_weight(dtype: DType) -> impl Strategy<Value = BackwardWeight> {
    (
        shapes::conv2d_or_fast(dtype),
        forms::source(),
        any::<bool>(),
        any::<bool>(),
        forms::accumulate(),
        seed(),
    )
        .prop_map(|(op, x, norm, bias, accumulate, seed)| BackwardWeight {
            op,
            x,
            norm,
            bias,
            accumulate,
            seed,
        })
}

/// [`Backend::conv2d`] with its batch sums matches the reference.
pub fn forward_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "conv2d matches the reference", forward(dtype));
}

/// [`Backend::conv2d_finished`] matches the reference, on a backend that [finishes](Backend::finishes) the op.
pub fn finished_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "conv2d_finished matches the reference", finished(dtype));
}

/// [`Backend::conv2d_backward_data`] with its epilogue matches the reference.
pub fn backward_data_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "conv2d_backward_data matches the reference", backward_data(dtype));
}

/// [`Backend::conv2d_backward_weight`] matches the reference.
pub fn backward_weight_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "conv2d_backward_weight matches the reference", backward_weight(dtype));
}
