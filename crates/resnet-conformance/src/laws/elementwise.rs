//! Combine in both directions, ingest, and transfers.

use proptest::prelude::*;
use resnet_core::op::{Combine, Ingest, Op};
use resnet_core::{Backend, DType, Result, Role, TensorDesc};

use super::{hold, match_reference, text};
use crate::data::Data;
use crate::lab::{Case, Lab, Output, output};
use crate::number::Number;
use crate::strategy::forms::{self, GradOutForm, SourceForm};
use crate::strategy::{seed, shapes};
use crate::tensors::{OwnedGrad, OwnedGradOut, OwnedSource, Values, finish_sums};

/// A source materialised.
#[derive(Debug)]
pub(crate) struct Forward {
    op: Combine,
    x: SourceForm,
    sums: bool,
    seed: u64,
}

impl Case for Forward {
    fn op(&self) -> &'static str {
        "combine"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::Combine(*op)])?;
        let x = OwnedSource::new(backend, op.desc(), self.x, Values::Any, data)?;
        let mut z = backend.poisoned(op.desc())?;
        let mut sums = if self.sums { Some(backend.poisoned(TensorDesc::sums(op.c()))?) } else { None };
        backend.combine(op, x.get(), &mut z, sums.as_mut())?;
        let mut outputs = vec![output("z", op.desc(), z)];
        if let Some(sums) = sums {
            outputs.extend(finish_sums(backend, (op.c(), op.rows()), &sums, data)?);
        }
        Ok(outputs)
    }
}

/// A gradient materialised.
#[derive(Debug)]
pub(crate) struct Backward {
    op: Combine,
    norm: bool,
    out: GradOutForm,
    seed: u64,
}

impl Case for Backward {
    fn op(&self) -> &'static str {
        "combine_backward"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (op, data) = (&self.op, &mut Data::new(self.seed));
        backend.prepare(&[Op::CombineBackward(*op)])?;
        let dz = OwnedGrad::new(backend, op.desc(), self.norm, data)?;
        let mut dx = OwnedGradOut::new(backend, op.desc(), self.out, data)?;
        backend.combine_backward(op, dz.get(), dx.get())?;
        dx.finish(backend, data)
    }
}

/// Pictures to activations.
#[derive(Debug)]
pub(crate) struct Pictures {
    shape: Combine,
    seed: u64,
}

impl Case for Pictures {
    fn op(&self) -> &'static str {
        "ingest"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let (d, data) = (self.shape.desc(), &mut Data::new(self.seed));
        let op = Ingest::new(d.n, d.h, d.w, d.c, d.dtype)?;
        backend.prepare(&[Op::Ingest(op)])?;
        let bytes: Vec<u8> = (0..d.len()).map(|_| data.below(256) as u8).collect();
        let pixels = backend.put_u8(op.pixels_desc(), &bytes)?;
        let affine = backend.put(TensorDesc::affine(d.c), &data.affine(d.c))?;
        let mut x = backend.poisoned(op.x_desc())?;
        backend.ingest(&op, &pixels, &affine, &mut x)?;
        Ok(vec![output("x", op.x_desc(), x)])
    }
}

pub(crate) fn forward(dtype: DType) -> impl Strategy<Value = Forward> {
    (shapes::combine(dtype), forms::source(), any::<bool>(), seed()).prop_map(|(op, x, sums, seed)| Forward {
        op,
        x,
        sums,
        seed,
    })
}

pub(crate) fn backward(dtype: DType) -> impl Strategy<Value = Backward> {
    (shapes::combine(dtype), any::<bool>(), forms::grad_out(), seed())
        .prop_map(|(op, norm, out, seed)| Backward { op, norm, out, seed })
}

pub(crate) fn pictures(dtype: DType) -> impl Strategy<Value = Pictures> {
    (shapes::combine(dtype), seed()).prop_map(|(shape, seed)| Pictures { shape, seed })
}

/// [`Backend::combine`] with its batch sums matches the reference.
pub fn combine_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "combine matches the reference", forward(dtype));
}

/// [`Backend::combine_backward`] with its epilogue matches the reference.
pub fn combine_backward_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "combine_backward matches the reference", backward(dtype));
}

/// [`Backend::ingest`] matches the reference.
pub fn ingest_matches_reference<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    match_reference(make, "ingest matches the reference", pictures(dtype));
}

/// What is uploaded comes down unchanged, for every role that the host may see. Activations of 16 bits are rounded on the way.
pub fn transfers_keep_every_bit<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let mut backend = make();
    hold("what is uploaded comes down unchanged", (shapes::combine(dtype), seed()), |&(shape, seed)| {
        let (d, data) = (shape.desc(), &mut Data::new(seed));
        let floats = [d, TensorDesc::weight(d.n, d.h, d.w, d.c), TensorDesc::table(3, d.c)];
        for desc in floats {
            let mut sent = data.values(desc.len());
            let buffer = backend.put(desc, &sent).map_err(text)?;
            if desc.role == Role::Activation {
                sent.iter_mut().for_each(|v| *v = v.stored(desc.dtype));
            }
            let got = backend.get(desc, &buffer).map_err(text)?;
            if let Some(i) = (0..sent.len()).find(|&i| sent[i].to_bits() != got[i].to_bits()) {
                return Err(format!("{desc}: element {i}: sent {:e}, got {:e}", sent[i], got[i]));
            }
        }
        for desc in [TensorDesc::pixels(d.n, d.h, d.w, d.c), TensorDesc::index(d.n, d.h, d.w, d.c)] {
            let sent: Vec<u8> = (0..desc.len()).map(|_| data.below(256) as u8).collect();
            let buffer = backend.put_u8(desc, &sent).map_err(text)?;
            let got = backend.get(desc, &buffer).map_err(text)?;
            if let Some(i) = (0..sent.len()).find(|&i| f32::from(sent[i]) != got[i]) {
                return Err(format!("{desc}: element {i}: sent {}, got {}", sent[i], got[i]));
            }
        }
        Ok(())
    });
}
