//! Where gradients flow: the forward steps are walked backwards, and every gradient is finished by whoever touches it last.
//!
//! A value's gradient is collected at a [`Key`]. Steps that read the value write to it directly; expressions that contain
//! the value hand it a gradient that can be read without any work ([`GradRead`]): the identity branch, or the affine map
//! that a normalisation's backward pass is. The last direct writer adds the identity branch, masks by the ReLU and takes
//! the sums of the normalisations behind, all while it stores. Only where several parts are left over does a
//! [`Step::CombineBackward`] bring them together.

use std::collections::HashMap;

use super::forward::{Expr, ExprId, Lowered, NormIdx};
use super::{GradRead, GradWrite, Program, Read, Step, SumsWrite, TableId, TensorId, TensorInfo};
use crate::graph::ParamId;
use crate::op::Combine;
use crate::{Accumulate, Error, Result, TensorDesc};

/// Where a gradient is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Of a tensor as it lies in memory.
    Tensor(TensorId),
    /// Of a value that exists only while it is read.
    Expr(ExprId),
}

/// A gradient being collected.
#[derive(Default)]
struct Collected {
    /// Where direct writers write.
    buffer: Option<TensorId>,
    /// Contributions that can be read without work.
    parts: Vec<GradRead>,
    /// Direct writers to come.
    writers: usize,
    /// Expressions to come that will hand over a part.
    parts_due: usize,
    /// Whether mask and sums were applied.
    finished: bool,
}

struct Builder {
    program: Program,
    exprs: Vec<Expr>,
    step_reads: Vec<Option<ExprId>>,
    lowered_reads: Vec<Read>,
    norms: Vec<super::forward::Norm>,
    collected: HashMap<Key, Collected>,
    /// The expression each combine wrote out.
    origin: HashMap<TensorId, ExprId>,
    /// Per normalisation: the sums its backward pass reads and the coefficients it leaves.
    norm_tables: HashMap<usize, (TableId, TableId)>,
    steps: Vec<Step>,
    /// Whether each parameter is trained.
    trained: Vec<bool>,
    /// Tensors of the forward pass whose gradient something trained needs.
    needed: Vec<bool>,
}

pub(super) fn lower(lowered: Lowered) -> Result<Program> {
    let lowered_reads = (0..lowered.exprs.len()).map(|i| lowered.read(ExprId(i))).collect();
    let Lowered { program, exprs, norms, step_reads, trained } = lowered;
    let mut b = Builder {
        program,
        exprs,
        step_reads,
        lowered_reads,
        norms,
        collected: HashMap::new(),
        origin: HashMap::new(),
        norm_tables: HashMap::new(),
        steps: vec![],
        needed: vec![],
        trained,
    };
    b.find_needed();
    if !b.needed[b.program.logits.0] {
        return Err(Error::invalid("freeze", "everything is frozen: there is nothing to train"));
    }
    b.count_contributions();
    b.start_at_logits();
    for i in (0..b.program.forward.len()).rev() {
        b.step(b.program.forward[i], b.step_reads[i])?;
    }
    if b.program.options.input_gradient {
        let input = b.program.input;
        b.program.dinput = Some(b.gather(Key::Tensor(input))?);
    }
    b.program.backward = b.steps;
    Ok(b.program)
}

impl Builder {
    /// Finds out which gradients anything trained needs: those of whatever it stands before.
    fn find_needed(&mut self) {
        self.needed = vec![false; self.program.tensors.len()];
        self.needed[self.program.input.0] = self.program.options.input_gradient;
        for (step, read) in self.program.forward.iter().zip(&self.step_reads) {
            let Some(read) = *read else { continue };
            let behind = self.is_wanted(read);
            match *step {
                Step::Conv { w, bias, y, .. } => self.needed[y.0] = behind || self.trains(w, bias),
                Step::MaxPool { y, .. } | Step::AvgPool { y, .. } => self.needed[y.0] = behind,
                Step::Combine { z, .. } => self.needed[z.0] = behind,
                _ => {}
            }
        }
    }

    fn trains(&self, w: ParamId, bias: Option<ParamId>) -> bool {
        self.trained[w.0] || bias.is_some_and(|b| self.trained[b.0])
    }

    /// Whether the gradient of a value leads to anything trained.
    fn is_wanted(&self, read: ExprId) -> bool {
        let e = self.exprs[read.0];
        e.tensors().any(|t| self.needed[t.0])
            || e.norms().into_iter().flatten().any(|n| self.norms[n.0].trained)
    }

    /// Whether a normalisation takes part in the backward pass.
    fn goes_through(&self, n: NormIdx) -> bool {
        let norm = self.norms[n.0];
        norm.trained || self.needed[norm.y.0]
    }

    /// Counts, before anything is emitted, who will contribute to each gradient.
    fn count_contributions(&mut self) {
        let mut contained = vec![];
        for (step, read) in self.program.forward.iter().zip(&self.step_reads) {
            let Some(read) = read.filter(|read| self.is_wanted(*read)) else { continue };
            if let Step::Combine { z, .. } = step {
                self.origin.insert(*z, read);
                contained.push(read);
            } else {
                let key = self.key(read);
                let first = !self.collected.contains_key(&key);
                self.collected.entry(key).or_default().writers += 1;
                if first && matches!(key, Key::Expr(_)) {
                    contained.push(read);
                }
            }
        }
        for id in contained {
            for t in self.exprs[id.0].tensors().filter(|t| self.needed[t.0]) {
                self.collected.entry(Key::Tensor(t)).or_default().parts_due += 1;
            }
        }
    }

    /// The loss writes the gradient of the logits.
    fn start_at_logits(&mut self) {
        let logits = self.program.logits;
        let dlogits = self.gradient_buffer(Key::Tensor(logits));
        self.program.dlogits = Some(dlogits);
        let c = self.collected.entry(Key::Tensor(logits)).or_default();
        c.buffer = Some(dlogits);
        // A result that is itself a block's output would need its mask: then it goes through a combine.
        let due = self.epilogue(Key::Tensor(logits));
        if due.0.is_some() || due.1.iter().any(Option::is_some) {
            let c = self.collected.entry(Key::Tensor(logits)).or_default();
            c.buffer = None;
            c.parts.push(GradRead { dz: dlogits, norm: None });
        }
    }

    /// Emits the backward pass of one forward step.
    fn step(&mut self, step: Step, read: Option<ExprId>) -> Result<()> {
        match (step, read) {
            (Step::Conv { op, x, w, bias, y, .. }, Some(read)) if self.needed[y.0] => {
                let dy = self.gradient_of(y)?;
                match (self.trains(w, bias), self.is_wanted(read)) {
                    (true, true) => self.contribute(read, |dx| Step::ConvBackward { op, x, dy, w, bias, dx }),
                    (true, false) => self.steps.push(Step::ConvBackwardWeight { op, x, dy, w, bias }),
                    (false, _) => self.contribute(read, |dx| Step::ConvBackwardData { op, dy, w, dx }),
                }
            }
            (Step::MaxPool { op, y, index: Some(index), .. }, Some(read)) if self.needed[y.0] => {
                let dy = self.gradient_of(y)?;
                self.contribute(read, |dx| Step::MaxPoolBackward { op, dy, index, dx });
            }
            (Step::AvgPool { op, y, .. }, Some(read)) if self.needed[y.0] => {
                let dy = self.gradient_of(y)?;
                self.contribute(read, |dx| Step::AvgPoolBackward { op, dy, dx });
            }
            (Step::Combine { z, .. }, Some(read)) if self.needed[z.0] => {
                let (mask, sums) = self.epilogue(Key::Tensor(z));
                let plain_part = {
                    let c = &self.collected[&Key::Tensor(z)];
                    c.buffer.is_none() && matches!(c.parts[..], [GradRead { norm: None, .. }])
                };
                let dz = if mask.is_none() && sums.iter().all(Option::is_none) && plain_part {
                    self.collected[&Key::Tensor(z)].parts[0].dz
                } else {
                    self.gather(Key::Tensor(z))?
                };
                self.hand_down(read, dz);
            }
            _ => {}
        }
        Ok(())
    }

    /// Has a backward op write the gradient of the value it read, and finishes that gradient if nobody else will.
    fn contribute(&mut self, read: ExprId, step: impl Fn(GradWrite) -> Step) {
        if !self.is_wanted(read) {
            return;
        }
        let key = self.key(read);
        let (mask, sums) = self.epilogue(key);
        let held = self.collected.get(&key).and_then(|c| c.buffer);
        let dx = held.unwrap_or_else(|| self.gradient_buffer(key));
        let c = self.collected.entry(key).or_default();
        c.buffer = Some(dx);
        c.writers = c.writers.saturating_sub(1);
        let mut out = GradWrite {
            dx,
            accumulate: if held.is_some() { Accumulate::Add } else { Accumulate::Set },
            add: None,
            mask: None,
            sums: [None, None],
        };
        let identity = match c.parts[..] {
            [] => Some(None),
            [GradRead { dz, norm: None }] => Some(Some(dz)),
            _ => None,
        };
        if let (0, 0, Some(add)) = (c.writers, c.parts_due, identity) {
            c.parts.clear();
            c.finished = true;
            out = GradWrite { add, mask, sums, ..out };
        }
        self.steps.push(step(out));
        if let Key::Expr(id) = key
            && self.collected[&key].writers == 0
        {
            self.hand_down(id, dx);
        }
    }

    /// The finished gradient of an expression's value becomes a part of the gradients of the tensors in it.
    fn hand_down(&mut self, id: ExprId, g: TensorId) {
        let e = self.exprs[id.0];
        let operands = [Some((e.raw, e.norm)), e.residual];
        for (t, norm) in operands.into_iter().flatten() {
            let norm = norm.filter(|n| self.goes_through(*n));
            let part = GradRead { dz: g, norm: norm.map(|n| (self.norm_backward(n), self.norms[n.0].y)) };
            if !self.needed[t.0] {
                continue;
            }
            let c = self.collected.entry(Key::Tensor(t)).or_default();
            c.parts.push(part);
            c.parts_due = c.parts_due.saturating_sub(1);
        }
    }

    fn norm_backward(&mut self, n: NormIdx) -> TableId {
        let (sums, coeffs) = self.norm_tables(n);
        let norm = self.norms[n.0];
        self.steps.push(match norm.moments {
            Some(moments) => Step::NormBackward { op: norm.op, sums, moments, params: norm.params, coeffs },
            None => Step::NormFrozenBackward { op: norm.op, affine: norm.affine, coeffs },
        });
        coeffs
    }

    /// The gradient of a tensor that a convolution or a pool wrote: as a part where there is just one.
    fn gradient_of(&mut self, y: TensorId) -> Result<GradRead> {
        let c = self.collected.entry(Key::Tensor(y)).or_default();
        if let (None, [part]) = (c.buffer, &c.parts[..]) {
            return Ok(*part);
        }
        Ok(GradRead { dz: self.gather(Key::Tensor(y))?, norm: None })
    }

    /// Brings all parts of a gradient together in one buffer, masked and summed.
    fn gather(&mut self, key: Key) -> Result<TensorId> {
        let (mask, sums) = self.epilogue(key);
        let c = self.collected.entry(key).or_default();
        let mut buffer = c.buffer;
        let mut parts = std::mem::take(&mut c.parts);
        if let (Some(b), true) = (buffer, c.finished) {
            return Ok(b);
        }
        // Parts behind a normalisation are read as sources; plain ones can ride along as the identity branch.
        parts.sort_by_key(|p| p.norm.is_none());
        let mut parts = std::collections::VecDeque::from(parts);
        let desc = self.desc(key);
        while let Some(dz) = parts.pop_front() {
            let add = match parts.back() {
                Some(GradRead { dz, norm: None }) => {
                    let add = *dz;
                    parts.pop_back();
                    Some(add)
                }
                _ => None,
            };
            let accumulate = if buffer.is_some() { Accumulate::Add } else { Accumulate::Set };
            let dx = *buffer.get_or_insert_with(|| self.gradient_buffer(key));
            let (mask, sums) = if parts.is_empty() { (mask, sums) } else { (None, [None, None]) };
            let op = Combine::new(desc.n, desc.h, desc.w, desc.c, desc.dtype)?;
            let dx = GradWrite { dx, accumulate, add, mask, sums };
            self.steps.push(Step::CombineBackward { op, dz, dx });
        }
        let buffer = buffer.unwrap_or_else(|| self.gradient_buffer(key));
        let c = self.collected.entry(key).or_default();
        c.buffer = Some(buffer);
        c.finished = true;
        Ok(buffer)
    }

    /// The mask and the sums that a finished gradient needs: those of the expression behind it.
    fn epilogue(&mut self, key: Key) -> (Option<Read>, [Option<SumsWrite>; 2]) {
        let (id, mask) = match key {
            Key::Expr(id) => (id, self.lowered_reads[id.0]),
            Key::Tensor(t) => match self.origin.get(&t) {
                Some(id) => (*id, Read::plain(t)),
                None => return (None, [None, None]),
            },
        };
        let e = self.exprs[id.0];
        let sums = e.norms().map(|n| {
            let n = n.filter(|n| self.goes_through(*n) && self.norms[n.0].moments.is_some())?;
            let (sums, _) = self.norm_tables(n);
            let norm = self.norms[n.0];
            Some(SumsWrite { y: norm.y, moments: norm.moments?, sums })
        });
        (e.relu.then_some(mask), sums)
    }

    fn norm_tables(&mut self, n: NormIdx) -> (TableId, TableId) {
        let c = self.norms[n.0].op.c();
        let tables = &mut self.program.tables;
        *self.norm_tables.entry(n.0).or_insert_with(|| {
            tables.push(TensorDesc::sums(c));
            tables.push(TensorDesc::coeffs(c));
            (TableId(tables.len() - 2), TableId(tables.len() - 1))
        })
    }

    fn gradient_buffer(&mut self, key: Key) -> TensorId {
        let of = &self.program.tensors[self.holder(key).0];
        let info = TensorInfo { name: format!("d {}", of.name), desc: of.desc, gradient: true };
        self.program.tensors.push(info);
        TensorId(self.program.tensors.len() - 1)
    }

    fn key(&self, read: ExprId) -> Key {
        let e = self.exprs[read.0];
        if e.is_plain() { Key::Tensor(e.raw) } else { Key::Expr(read) }
    }

    fn desc(&self, key: Key) -> TensorDesc {
        self.program.tensors[self.holder(key).0].desc
    }

    /// The tensor whose extents a gradient has.
    fn holder(&self, key: Key) -> TensorId {
        match key {
            Key::Tensor(t) => t,
            Key::Expr(id) => self.exprs[id.0].raw,
        }
    }
}
