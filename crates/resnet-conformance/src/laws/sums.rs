//! Sums are those of the values as they were stored, not as they were computed: what normalises a tensor later reads it from memory.
//!
//! With 16 bits the difference is large, and the bounds of the other laws are too wide to see it. So here the reference sums what
//! the backend stored.

use proptest::prelude::*;
use resnet_core::op::{Combine, Conv2d, Op};
use resnet_core::{Accumulate, Backend, DType, GradOut, GradSource, GradSums, Result, Source, TensorDesc};

use super::{hold, text};
use crate::bound::{Bounded, U};
use crate::data::Data;
use crate::lab::{Lab, Output, Worst, compare_outputs};
use crate::reference::{Buffer, Reference};
use crate::strategy::forms::{self, SourceForm};
use crate::strategy::{seed, shapes};
use crate::tensors::{OwnedGrad, OwnedSource, Values, finish_grad_sums, finish_sums};

/// A pass that does nothing to a tensor but read, write and sum it.
fn copy(desc: TensorDesc) -> Result<Combine> {
    Combine::new(desc.n, desc.h, desc.w, desc.c, desc.dtype)
}

/// Values that a backend handed out. Where they are f32, it may keep more than it hands out, as the reference in f64 does:
/// then what it summed lies within one rounding of them.
fn as_read(dtype: DType, values: &[f32]) -> Buffer<Bounded> {
    let unit = if dtype == DType::F32 { U } else { 0.0 };
    let read = |&v: &f32| {
        let value = f64::from(v);
        let rounded = unit * value.abs();
        Bounded { value, lo: value - rounded, hi: value + rounded }
    };
    Buffer::from_values(values.iter().map(read).collect())
}

/// Moments of a convolution's output and of a combined tensor.
pub fn sums_are_of_stored_values<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let mut backend = make();
    let cases = (shapes::conv2d_or_fast(dtype), forms::source(), any::<bool>(), seed());
    hold("batch sums are of stored values", cases, |&(op, form, combine, seed)| {
        let b = &mut backend;
        let desc = if combine { op.x_desc() } else { op.y_desc() };
        let (stored, sums) = summed(b, &op, form, combine, seed).map_err(text)?;
        let finish = (desc.c, desc.len() / desc.c);
        let outputs = finish_sums(b, finish, &sums, &mut Data::new(!seed)).map_err(text)?;
        let wanted = || -> Result<Vec<Output<_>>> {
            let reference = &mut Reference::bounded();
            let x = as_read(desc.dtype, &stored);
            let mut z = reference.poisoned(desc)?;
            let mut sums = reference.poisoned(TensorDesc::sums(desc.c))?;
            reference.combine(&copy(desc)?, Source::raw(&x), &mut z, Some(&mut sums))?;
            finish_sums(reference, finish, &sums, &mut Data::new(!seed))
        };
        compare_outputs(b, "sums", &outputs, &wanted().map_err(text)?, &mut Worst::default())
    });
}

/// What an op stored, and its sums.
fn summed<B: Backend>(
    b: &mut B,
    op: &Conv2d,
    form: SourceForm,
    combine: bool,
    seed: u64,
) -> Result<(Vec<f32>, B::Buffer)> {
    let data = &mut Data::new(seed);
    let x = OwnedSource::new(b, op.x_desc(), form, Values::Any, data)?;
    let desc = if combine { op.x_desc() } else { op.y_desc() };
    let mut out = b.poisoned(desc)?;
    let mut sums = b.poisoned(TensorDesc::sums(desc.c))?;
    if combine {
        let op = copy(desc)?;
        b.prepare(&[Op::Combine(op)])?;
        b.combine(&op, x.get(), &mut out, Some(&mut sums))?;
    } else {
        b.prepare(&[Op::Conv2d(*op)])?;
        let w = b.put(op.w_desc(), &data.values(op.w_desc().len()))?;
        b.conv2d(op, x.get(), &w, None, &mut out, Some(&mut sums))?;
    }
    Ok((b.get(desc, &out)?, sums))
}

/// The gradient that an op stored, and what follows from its sums.
type Stored<B> = (Vec<f32>, Vec<Output<<B as Backend>::Buffer>>);

/// Gradient sums of a convolution's input.
pub fn gradient_sums_are_of_stored_values<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let mut backend = make();
    let cases = (shapes::conv2d_or_fast(dtype), any::<bool>(), seed());
    hold("gradient sums are of stored values", cases, |&(op, norm, seed)| {
        let b = &mut backend;
        let run = |b: &mut B| -> Result<Stored<B>> {
            let data = &mut Data::new(seed);
            b.prepare(&[Op::Conv2dBackwardData(op)])?;
            let dy = OwnedGrad::new(b, op.y_desc(), norm, data)?;
            let w = b.put(op.w_desc(), &data.values(op.w_desc().len()))?;
            gradient_sums(b, op.x_desc(), seed, |b, out| b.conv2d_backward_data(&op, dy.get(), &w, out))
        };
        let (stored, outputs) = run(b).map_err(text)?;
        let wanted = || -> Result<_> {
            let reference = &mut Reference::bounded();
            let dz = as_read(dtype, &stored);
            let op = copy(op.x_desc())?;
            gradient_sums(reference, op.desc(), seed, |b, out| {
                b.combine_backward(&op, GradSource::raw(&dz), out)
            })
        };
        let (_, wanted) = wanted().map_err(text)?;
        compare_outputs(b, "gradient sums", &outputs, &wanted, &mut Worst::default())
    });
}

/// Runs an op that leaves a gradient and its sums.
fn gradient_sums<B: Backend>(
    b: &mut B,
    desc: TensorDesc,
    seed: u64,
    run: impl FnOnce(&mut B, GradOut<'_, B::Buffer>) -> Result<()>,
) -> Result<Stored<B>> {
    let data = &mut Data::new(!seed);
    let y = b.put(desc, &data.values(desc.len()))?;
    let moments = b.put(TensorDesc::moments(desc.c), &data.moments(desc.c))?;
    let (mut dx, mut sums) = (b.poisoned(desc)?, b.poisoned(TensorDesc::sums(desc.c))?);
    let wanted = GradSums { y: &y, moments: &moments, sums: &mut sums };
    run(b, GradOut { sums: [Some(wanted), None], ..GradOut::set(&mut dx) })?;
    let finish = (desc.c, desc.len() / desc.c);
    let outputs = finish_grad_sums(b, finish, &sums, &moments, Accumulate::Set, data)?;
    Ok((b.get(desc, &dx)?, outputs))
}
