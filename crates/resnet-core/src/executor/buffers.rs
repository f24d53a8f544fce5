//! Where numbered tensors become buffers, and steps become calls of a backend.

use crate::graph::ParamId;
use crate::lower::{FinishWrite, GradRead, GradWrite, NormParams, Program, Read, Step, TableId, TensorId};
use crate::params::Params;
use crate::plan::Plan;
use crate::{
    Accumulate, Backend, Error, Finish, GradNorm, GradOut, GradSource, GradSums, Residual, Result, Running,
    Source,
};

/// Slots and tables. An output is taken out while an op runs, so that it cannot be an input too.
#[derive(Debug)]
pub(super) struct Buffers<Buf> {
    slot_of: Vec<usize>,
    n_slots: usize,
    all: Vec<Option<Buf>>,
}

impl<Buf> Buffers<Buf> {
    pub(super) fn new<B: Backend<Buffer = Buf>>(
        backend: &mut B,
        program: &Program,
        plan: &Plan,
    ) -> Result<Self> {
        let tables = program.tables.iter().map(|desc| backend.buffer_bytes(desc)).collect::<Vec<_>>();
        let (mut all, mut given) = (vec![], 0);
        for &bytes in plan.slot_bytes.iter().chain(&tables) {
            let buffer = backend.alloc(bytes).map_err(|error| match error {
                Error::OutOfMemory { backend, free_bytes, .. } => Error::BatchTooLarge {
                    backend,
                    batch: plan.batch,
                    needed_bytes: plan.activation_bytes() + plan.table_bytes,
                    available_bytes: given + free_bytes,
                },
                other => other,
            })?;
            given += bytes;
            all.push(Some(buffer));
        }
        Ok(Self { slot_of: plan.slot_of.clone(), n_slots: plan.slot_bytes.len(), all })
    }

    fn at(&self, i: usize) -> Result<&Buf> {
        self.all[i].as_ref().ok_or_else(in_use)
    }

    pub(super) fn tensor(&self, t: TensorId) -> Result<&Buf> {
        self.at(self.slot_of[t.0])
    }

    fn table(&self, t: TableId) -> Result<&Buf> {
        self.at(self.n_slots + t.0)
    }

    /// Takes buffers out, runs an op that writes them, and puts them back whatever the op answers.
    fn taking<const N: usize, T>(
        &mut self,
        ids: [Option<usize>; N],
        op: impl FnOnce(&Self, [Option<&mut Buf>; N]) -> Result<T>,
    ) -> Result<T> {
        let mut out = ids.map(|i| i.map(|i| self.all[i].take()));
        let missing = out.iter().any(|o| matches!(o, Some(None)));
        let result =
            if missing { Err(in_use()) } else { op(self, out.each_mut().map(|o| o.as_mut()?.as_mut())) };
        for (i, buffer) in ids.into_iter().zip(out) {
            if let (Some(i), Some(Some(buffer))) = (i, buffer) {
                self.all[i] = Some(buffer);
            }
        }
        result
    }

    pub(super) fn write(
        &mut self,
        t: TensorId,
        op: impl FnOnce(&Self, &mut Buf) -> Result<()>,
    ) -> Result<()> {
        self.taking([Some(self.slot_of[t.0])], |all, [out]| op(all, out.ok_or_else(in_use)?))
    }

    fn source(&self, r: &Read) -> Result<Source<'_, Buf>> {
        let (affine, residual) = (self.optional_table(r.affine)?, self.residual(r.residual)?);
        Ok(Source { raw: self.tensor(r.raw)?, affine, residual, relu: r.relu })
    }

    fn finish(&self, w: &FinishWrite) -> Result<Finish<'_, Buf>> {
        let (affine, residual) = (self.optional_table(w.affine)?, self.residual(w.residual)?);
        Ok(Finish { affine, residual, relu: w.relu })
    }

    fn residual(&self, r: Option<(TensorId, Option<TableId>)>) -> Result<Option<Residual<'_, Buf>>> {
        let Some((t, affine)) = r else { return Ok(None) };
        Ok(Some(Residual { raw: self.tensor(t)?, affine: self.optional_table(affine)? }))
    }

    fn optional_table(&self, t: Option<TableId>) -> Result<Option<&Buf>> {
        t.map(|t| self.table(t)).transpose()
    }

    fn grad_source(&self, r: &GradRead) -> Result<GradSource<'_, Buf>> {
        let norm = match r.norm {
            Some((coeffs, y)) => Some(GradNorm { coeffs: self.table(coeffs)?, y: self.tensor(y)? }),
            None => None,
        };
        Ok(GradSource { dz: self.tensor(r.dz)?, norm })
    }

    /// Runs an op that writes a gradient.
    fn grad_out(
        &mut self,
        w: &GradWrite,
        op: impl FnOnce(&Self, GradOut<'_, Buf>) -> Result<()>,
    ) -> Result<()> {
        let sums = w.sums.map(|s| s.map(|s| self.n_slots + s.sums.0));
        self.taking([Some(self.slot_of[w.dx.0]), sums[0], sums[1]], |all, [dx, s0, s1]| {
            let mut grad_sums = [None, None];
            for ((out, write), sums) in grad_sums.iter_mut().zip(w.sums).zip([s0, s1]) {
                if let (Some(write), Some(sums)) = (write, sums) {
                    *out =
                        Some(GradSums { y: all.tensor(write.y)?, moments: all.table(write.moments)?, sums });
                }
            }
            let out = GradOut {
                dx: dx.ok_or_else(in_use)?,
                accumulate: w.accumulate,
                add: w.add.map(|t| all.tensor(t)).transpose()?,
                mask: w.mask.as_ref().map(|m| all.source(m)).transpose()?,
                sums: grad_sums,
            };
            op(all, out)
        })
    }

    /// One backend call. `accumulate` says whether gradients of parameters are set or added to.
    pub(super) fn run<B: Backend<Buffer = Buf>>(
        &mut self,
        backend: &mut B,
        params: &mut Params<B>,
        step: &Step,
        accumulate: Accumulate,
    ) -> Result<()> {
        let (slot, table) =
            (|b: &Self, t: TensorId| Some(b.slot_of[t.0]), |b: &Self, t: TableId| b.n_slots + t.0);
        let list = &mut params.list;
        match step {
            Step::Conv { op, x, w, bias, y, sums } => {
                let out = [slot(self, *y), sums.map(|s| table(self, s))];
                self.taking(out, |all, [y, sums]| {
                    let bias = bias.map(|b| &list[b.0].value);
                    backend.conv2d(op, all.source(x)?, &list[w.0].value, bias, y.ok_or_else(in_use)?, sums)
                })
            }
            Step::ConvFinished { op, x, w, bias, finish, y } => self.write(*y, |all, y| {
                let bias = bias.map(|b| &list[b.0].value);
                backend.conv2d_finished(op, all.source(x)?, &list[w.0].value, bias, all.finish(finish)?, y)
            }),
            Step::Combine { op, x, z, sums } => {
                let out = [slot(self, *z), sums.map(|s| table(self, s))];
                self.taking(out, |all, [z, sums]| {
                    backend.combine(op, all.source(x)?, z.ok_or_else(in_use)?, sums)
                })
            }
            Step::MaxPool { op, x, y, index, sums } => {
                let out = [slot(self, *y), index.and_then(|i| slot(self, i)), sums.map(|s| table(self, s))];
                self.taking(out, |all, [y, index, sums]| {
                    backend.max_pool(op, all.source(x)?, y.ok_or_else(in_use)?, index, sums)
                })
            }
            Step::AvgPool { op, x, y } => self.write(*y, |all, y| backend.avg_pool(op, all.source(x)?, y)),
            Step::Norm { op, sums, params: p, affine, moments } => {
                let out = [Some(table(self, *affine)), Some(table(self, *moments))];
                self.taking(out, |all, [affine, moments]| {
                    let [gamma, beta, mean, var] = norm_params(list, p)?;
                    let running = Running { mean: &mut mean.value, var: &mut var.value };
                    let (affine, moments) = (affine.ok_or_else(in_use)?, moments.ok_or_else(in_use)?);
                    backend.norm_finish(
                        op,
                        all.table(*sums)?,
                        &gamma.value,
                        &beta.value,
                        running,
                        affine,
                        moments,
                    )
                })
            }
            Step::NormFrozen { op, params: p, affine } => {
                self.taking([Some(table(self, *affine))], |_, [affine]| {
                    let [gamma, beta, mean, var] = norm_params(list, p)?;
                    let affine = affine.ok_or_else(in_use)?;
                    backend.norm_frozen(op, &mean.value, &var.value, &gamma.value, &beta.value, affine)
                })
            }
            Step::NormFrozenBackward { op, affine, coeffs } => {
                self.taking([Some(table(self, *coeffs))], |all, [coeffs]| {
                    backend.norm_frozen_backward(op, all.table(*affine)?, coeffs.ok_or_else(in_use)?)
                })
            }
            Step::ConvBackwardData { op, dy, w, dx } => self.grad_out(dx, |all, dx| {
                backend.conv2d_backward_data(op, all.grad_source(dy)?, &list[w.0].value, dx)
            }),
            Step::ConvBackwardWeight { op, x, dy, w, bias } => {
                let (x, dy) = (self.source(x)?, self.grad_source(dy)?);
                with_gradients(list, *w, *bias, |_, dw, dbias| match dw {
                    Some(dw) => backend.conv2d_backward_weight(op, x, dy, dw, dbias, accumulate),
                    None => Ok(()), // a constant kernel
                })
            }
            Step::ConvBackward { op, x, dy, w, bias, dx } => self.grad_out(dx, |all, dx| {
                let (x, dy) = (all.source(x)?, all.grad_source(dy)?);
                with_gradients(list, *w, *bias, |w, dw, dbias| match dw {
                    Some(dw) => backend.conv2d_backward(op, x, dy, w, dx, dw, dbias, accumulate),
                    None => backend.conv2d_backward_data(op, dy, w, dx), // a constant kernel
                })
            }),
            Step::CombineBackward { op, dz, dx } => {
                self.grad_out(dx, |all, dx| backend.combine_backward(op, all.grad_source(dz)?, dx))
            }
            Step::MaxPoolBackward { op, dy, index, dx } => self.grad_out(dx, |all, dx| {
                backend.max_pool_backward(op, all.grad_source(dy)?, all.tensor(*index)?, dx)
            }),
            Step::AvgPoolBackward { op, dy, dx } => {
                self.grad_out(dx, |all, dx| backend.avg_pool_backward(op, all.grad_source(dy)?, dx))
            }
            Step::NormBackward { op, sums, moments, params: p, coeffs } => {
                self.taking([Some(table(self, *coeffs))], |all, [coeffs]| {
                    let [gamma, beta, ..] = norm_params(list, p)?;
                    let (Some(dgamma), Some(dbeta)) = (gamma.grad.as_mut(), beta.grad.as_mut()) else {
                        return Err(Error::invalid(
                            "backward",
                            "these parameters were made without gradients",
                        ));
                    };
                    let (sums, moments) = (all.table(*sums)?, all.table(*moments)?);
                    let coeffs = coeffs.ok_or_else(in_use)?;
                    backend.norm_backward_finish(
                        op,
                        sums,
                        moments,
                        &gamma.value,
                        dgamma,
                        dbeta,
                        accumulate,
                        coeffs,
                    )
                })
            }
        }
    }
}

/// Runs an op with a kernel and the gradients of kernel and bias, which are taken out meanwhile.
fn with_gradients<Buf>(
    list: &mut [crate::Param<Buf>],
    w: ParamId,
    bias: Option<ParamId>,
    op: impl FnOnce(&Buf, Option<&mut Buf>, Option<&mut Buf>) -> Result<()>,
) -> Result<()> {
    let mut dw = list[w.0].grad.take();
    let mut dbias = bias.and_then(|b| list[b.0].grad.take());
    let result = op(&list[w.0].value, dw.as_mut(), dbias.as_mut());
    list[w.0].grad = dw;
    if let Some(b) = bias {
        list[b.0].grad = dbias;
    }
    result
}

fn norm_params<'a, Buf>(
    list: &'a mut [crate::Param<Buf>],
    p: &NormParams,
) -> Result<[&'a mut crate::Param<Buf>; 4]> {
    list.get_disjoint_mut([p.gamma.0, p.beta.0, p.mean.0, p.var.0]).map_err(|_| in_use())
}

/// The plan never lets a step write what it reads; this says so if it ever did.
fn in_use() -> Error {
    Error::invalid("plan", "a step writes a buffer that it also reads; this is a bug in the memory plan")
}
