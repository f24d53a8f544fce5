//! Sources and gradient outputs with the buffers they point into.

use resnet_core::op::BatchNorm;
use resnet_core::{
    Accumulate, Backend, GradNorm, GradOut, GradSource, GradSums, Residual, Result, Running, Source,
    TensorDesc,
};

use crate::data::Data;
use crate::lab::{Lab, Output, output};
use crate::strategy::forms::{GradOutForm, SourceForm};

/// What the numbers of a source are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Values {
    /// Anything between −1 and 1.
    Any,
    /// Quarters: exact, with many ties.
    Ties,
    /// Exact and all different.
    Distinct,
}

/// A [`Source`] and its buffers.
#[derive(Debug)]
pub(crate) struct OwnedSource<Buf> {
    pub(crate) raw: Buf,
    affine: Option<Buf>,
    residual: Option<(Buf, Option<Buf>)>,
    relu: bool,
}

impl<Buf> OwnedSource<Buf> {
    pub(crate) fn new<B: Backend<Buffer = Buf>>(
        backend: &mut B,
        desc: TensorDesc,
        form: SourceForm,
        values: Values,
        data: &mut Data,
    ) -> Result<Self> {
        let table = |data: &mut Data| match values {
            Values::Any => data.affine(desc.c),
            Values::Ties | Values::Distinct => data.exact_affine(desc.c),
        };
        let mut tensor = |backend: &mut B, distinct: bool, affine: bool| -> Result<(Buf, Option<Buf>)> {
            let raw = match values {
                Values::Any => data.values(desc.len()),
                Values::Distinct if distinct => data.distinct(desc.len()),
                Values::Ties | Values::Distinct => data.quarters(desc.len()),
            };
            let affine = match affine {
                true => Some(backend.put(TensorDesc::affine(desc.c), &table(data))?),
                false => None,
            };
            Ok((backend.put(desc, &raw)?, affine))
        };
        let (raw, affine) = tensor(backend, true, form.affine)?;
        let residual = match form.residual {
            Some(affine) => Some(tensor(backend, false, affine)?),
            None => None,
        };
        Ok(Self { raw, affine, residual, relu: form.relu })
    }

    pub(crate) fn get(&self) -> Source<'_, Buf> {
        Source {
            raw: &self.raw,
            affine: self.affine.as_ref(),
            residual: self.residual.as_ref().map(|(raw, affine)| Residual { raw, affine: affine.as_ref() }),
            relu: self.relu,
        }
    }
}

/// A [`GradSource`] and its buffers.
#[derive(Debug)]
pub(crate) struct OwnedGrad<Buf> {
    dz: Buf,
    norm: Option<(Buf, Buf)>,
}

impl<Buf> OwnedGrad<Buf> {
    pub(crate) fn new<B: Backend<Buffer = Buf>>(
        backend: &mut B,
        desc: TensorDesc,
        norm: bool,
        data: &mut Data,
    ) -> Result<Self> {
        let dz = backend.put(desc, &data.values(desc.len()))?;
        let norm = if norm {
            let coeffs = data.range(3 * desc.c, -2.0, 2.0);
            let y = data.values(desc.len());
            Some((backend.put(TensorDesc::coeffs(desc.c), &coeffs)?, backend.put(desc, &y)?))
        } else {
            None
        };
        Ok(Self { dz, norm })
    }

    pub(crate) fn get(&self) -> GradSource<'_, Buf> {
        GradSource { dz: &self.dz, norm: self.norm.as_ref().map(|(coeffs, y)| GradNorm { coeffs, y }) }
    }
}

/// A [`GradOut`] and its buffers. Under `Set` the gradient is NaN before.
#[derive(Debug)]
pub(crate) struct OwnedGradOut<Buf> {
    desc: TensorDesc,
    dx: Buf,
    accumulate: Accumulate,
    add: Option<Buf>,
    mask: Option<OwnedSource<Buf>>,
    sums: Vec<(Buf, Buf, Buf)>,
}

impl<Buf> OwnedGradOut<Buf> {
    pub(crate) fn new<B: Backend<Buffer = Buf>>(
        backend: &mut B,
        desc: TensorDesc,
        form: GradOutForm,
        data: &mut Data,
    ) -> Result<Self> {
        let dx = match form.accumulate {
            Accumulate::Set => backend.poisoned(desc)?,
            Accumulate::Add => backend.put(desc, &data.values(desc.len()))?,
        };
        let add = if form.add { Some(backend.put(desc, &data.values(desc.len()))?) } else { None };
        let mask = match form.mask {
            Some(form) => Some(OwnedSource::new(backend, desc, form, Values::Any, data)?),
            None => None,
        };
        let mut sums = Vec::new();
        for _ in 0..form.sums {
            sums.push((
                backend.put(desc, &data.values(desc.len()))?,
                backend.put(TensorDesc::moments(desc.c), &data.moments(desc.c))?,
                backend.poisoned(TensorDesc::sums(desc.c))?,
            ));
        }
        Ok(Self { desc, dx, accumulate: form.accumulate, add, mask, sums })
    }

    pub(crate) fn get(&mut self) -> GradOut<'_, Buf> {
        let mut sums = self.sums.iter_mut().map(|(y, moments, sums)| GradSums { y, moments, sums });
        GradOut {
            dx: &mut self.dx,
            accumulate: self.accumulate,
            add: self.add.as_ref(),
            mask: self.mask.as_ref().map(OwnedSource::get),
            sums: [sums.next(), sums.next()],
        }
    }

    /// The gradient, and what the sums come to.
    pub(crate) fn finish<B: Backend<Buffer = Buf>>(
        self,
        backend: &mut B,
        data: &mut Data,
    ) -> Result<Vec<Output<Buf>>> {
        let mut outputs = vec![output("dx", self.desc, self.dx)];
        for (_, moments, sums) in self.sums {
            let m = self.desc.len() / self.desc.c;
            outputs.extend(finish_grad_sums(
                backend,
                (self.desc.c, m),
                &sums,
                &moments,
                Accumulate::Set,
                data,
            )?);
        }
        Ok(outputs)
    }
}

/// Batch sums are private to a backend; this shows them through [`Backend::norm_finish`].
pub(crate) fn finish_sums<B: Backend>(
    backend: &mut B,
    (c, m): (usize, usize),
    sums: &B::Buffer,
    data: &mut Data,
) -> Result<Vec<Output<B::Buffer>>> {
    let row = TensorDesc::table(1, c);
    let momentum = [0.1, 0.01, 1.0][data.below(3)];
    let op = BatchNorm::new(c, m, [1e-5, 1e-3][data.below(2)], momentum, data.below(2) == 0)?;
    backend.prepare(&[resnet_core::op::Op::BatchNorm(op)])?;
    let gamma = backend.put(row, &data.range(c, -2.0, 2.0))?;
    let beta = backend.put(row, &data.range(c, -1.0, 1.0))?;
    let mut mean = backend.put(row, &data.range(c, -1.0, 1.0))?;
    let mut var = backend.put(row, &data.range(c, 0.5, 2.0))?;
    let mut affine = backend.poisoned(TensorDesc::affine(c))?;
    let mut moments = backend.poisoned(TensorDesc::moments(c))?;
    let running = Running { mean: &mut mean, var: &mut var };
    backend.norm_finish(&op, sums, &gamma, &beta, running, &mut affine, &mut moments)?;
    Ok(vec![
        output("moments", TensorDesc::moments(c), moments),
        output("affine", TensorDesc::affine(c), affine),
        output("running mean", row, mean),
        output("running variance", row, var),
    ])
}

/// The same for the sums of a backward pass, through [`Backend::norm_backward_finish`].
pub(crate) fn finish_grad_sums<B: Backend>(
    backend: &mut B,
    (c, m): (usize, usize),
    sums: &B::Buffer,
    moments: &B::Buffer,
    accumulate: Accumulate,
    data: &mut Data,
) -> Result<Vec<Output<B::Buffer>>> {
    let row = TensorDesc::table(1, c);
    let op = BatchNorm::new(c, m, 1e-5, 0.1, true)?;
    backend.prepare(&[resnet_core::op::Op::BatchNorm(op)])?;
    let gamma = backend.put(row, &data.range(c, -2.0, 2.0))?;
    let mut start = || -> Result<B::Buffer> {
        match accumulate {
            Accumulate::Set => backend.poisoned(row),
            Accumulate::Add => backend.put(row, &data.range(c, -1.0, 1.0)),
        }
    };
    let (mut dgamma, mut dbeta) = (start()?, start()?);
    let mut coeffs = backend.poisoned(TensorDesc::coeffs(c))?;
    backend.norm_backward_finish(
        &op,
        sums,
        moments,
        &gamma,
        &mut dgamma,
        &mut dbeta,
        accumulate,
        &mut coeffs,
    )?;
    Ok(vec![
        output("dgamma", row, dgamma),
        output("dbeta", row, dbeta),
        output("coeffs", TensorDesc::coeffs(c), coeffs),
    ])
}
