//! The three directions of a convolution against the reference.

use proptest::prelude::*;
use resnet_core::op::{Conv2d, Op};
use resnet_core::{Accumulate, Arithmetic, Backend, DType, Error, Finish, Result, Source, TensorDesc};

use super::{cases, hold_cases, match_reference};
use crate::data::Data;
use crate::lab::{Case, Lab, Output, Worst, compare, output};
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
        let mut dw = start(backend, op.w_desc(), self.accumulate, data)?;
        let mut dbias = match self.bias {
            true => Some(start(backend, op.bias_desc(), self.accumulate, data)?),
            false => None,
        };
        backend.conv2d_backward_weight(op, x.get(), dy.get(), &mut dw, dbias.as_mut(), self.accumulate)?;
        let mut outputs = vec![output("dw", op.w_desc(), dw)];
        outputs.extend(dbias.map(|dbias| output("dbias", op.bias_desc(), dbias)));
        Ok(outputs)
    }
}

/// Both gradients.
#[derive(Debug)]
pub(crate) struct Backward {
    op: Conv2d,
    x: SourceForm,
    norm: bool,
    bias: bool,
    accumulate: Accumulate,
    out: GradOutForm,
    /// Whether the value that was read masks, as it does in a network, or what the form says.
    masked_by_x: bool,
    seed: u64,
}

impl Case for Backward {
    fn op(&self) -> &'static str {
        "conv2d_backward"
    }

    fn arithmetic<B: Backend>(&self, backend: &B) -> Arithmetic {
        // A window of one pixel is never tiled. Where one of the two gradients is made of pieces, their bound serves both.
        match backend.arithmetic(&Op::Conv2dBackwardData(self.op)) {
            Arithmetic::Sums => backend.arithmetic(&Op::Conv2dBackwardWeight(self.op)),
            pieces => pieces,
        }
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::Conv2dBackwardData(*op), Op::Conv2dBackwardWeight(*op)])?;
        let x = OwnedSource::new(backend, op.x_desc(), self.x, Values::Any, data)?;
        let dy = OwnedGrad::new(backend, op.y_desc(), self.norm, data)?;
        let w = backend.put(op.w_desc(), &weights(op, data))?;
        let mut out = OwnedGradOut::new(backend, op.x_desc(), self.out, data)?;
        let mut dw = start(backend, op.w_desc(), self.accumulate, data)?;
        let mut dbias = match self.bias {
            true => Some(start(backend, op.bias_desc(), self.accumulate, data)?),
            false => None,
        };
        let mut dx = out.get();
        if self.masked_by_x {
            dx.mask = Some(x.get());
        }
        backend.conv2d_backward(op, x.get(), dy.get(), &w, dx, &mut dw, dbias.as_mut(), self.accumulate)?;
        let mut outputs = out.finish(backend, data)?;
        outputs.push(output("dw", op.w_desc(), dw));
        outputs.extend(dbias.map(|dbias| output("dbias", op.bias_desc(), dbias)));
        Ok(outputs)
    }
}

/// A gradient of parameters before an op: NaN if it is set.
fn start<B: Backend>(
    backend: &mut B,
    desc: TensorDesc,
    accumulate: Accumulate,
    data: &mut Data,
) -> Result<B::Buffer> {
    match accumulate {
        Accumulate::Set => backend.poisoned(desc),
        Accumulate::Add => backend.put(desc, &data.values(desc.len())),
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

pub(crate) fn backward(dtype: DType) -> impl Strategy<Value = Backward> {
    let mask = prop_oneof![2 => Just(true), 1 => Just(false)];
    let weight = (forms::source(), any::<bool>(), prop::bool::weighted(0.2), forms::accumulate());
    (shapes::one_pixel_windows(dtype), weight, forms::grad_out(), mask, seed()).prop_map(
        |(op, (x, norm, bias, accumulate), out, masked_by_x, seed)| {
            // A form that masks by something else too would leave a buffer that nobody reads.
            let out = if masked_by_x { GradOutForm { mask: None, ..out } } else { out };
            Backward { op, x, norm, bias, accumulate, out, masked_by_x, seed }
        },
    )
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

/// [`Backend::conv2d_backward`] matches the reference, over windows of one pixel and enough pixels that a backend computes them
/// in a way of their own; so over fewer cases than others.
pub fn backward_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    const SHARE: u32 = 8;
    let mut backend = make();
    hold_cases("conv2d_backward matches the reference", cases().div_ceil(SHARE), backward(dtype), |case| {
        compare(&mut backend, case, &mut Worst::default())
    });
}
