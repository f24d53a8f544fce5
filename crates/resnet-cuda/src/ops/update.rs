//! The norm of all gradients, and one step of the optimizer: one launch each over the whole list of parameters.

use std::sync::atomic::{AtomicU64, Ordering};

use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{Error, Param, Result, TensorDesc};

use crate::args::{Pack, Packed};
use crate::buffer::{Buffer, address, optional, written};
use crate::copies::{Copy, Side};
use crate::engine::{Engine, Geometry, u32_of};
use crate::machine::{Machine, Memory};
use crate::tensor::Element;

crate::args! {
    /// One parameter, as the table on the device has it.
    struct Entry {
        value: u64,
        grad: u64,
        state0: u64,
        state1: u64,
        forward: u64,
        backward: u64,
        count: u64,
        lr_scale: f32,
        decay: u32,
        k: u32,
        taps: u32,
        c: u32,
        forward_c: u32,
        backward_k: u32,
        element: u32,
    }

    struct Chunk {
        entry: u32,
        number: u32,
    }

    struct UpdateArgs {
        entries: u64,
        chunks: u64,
        scalars: u64,
        norm: u64,
        rule: u32,
        beta1: f32,
        beta2: f32,
        eps: f32,
        weight_decay: f32,
        unused: u32,
    }

    struct GradNormArgs {
        entries: u64,
        chunks: u64,
        partials: u64,
    }

    struct FinishNormArgs {
        partials: u64,
        norm: u64,
        chunks: u32,
        unused: u32,
    }
}

impl Entry {
    /// A parameter without copies.
    fn plain(value: u64, grad: u64, count: usize) -> Self {
        let count = count as u64;
        let (state0, state1, forward, backward) = (0, 0, 0, 0);
        let (lr_scale, decay, k, taps, c, forward_c, backward_k, element) = (0.0, 0, 0, 0, 0, 0, 0, 0);
        Entry {
            value,
            grad,
            state0,
            state1,
            forward,
            backward,
            count,
            lr_scale,
            decay,
            k,
            taps,
            c,
            forward_c,
            backward_k,
            element,
        }
    }

    /// The same with the copies that the buffer of the value has. All of them have one form: the first that is found.
    fn with_copies(mut self, value: &Buffer) -> Self {
        let [forward, backward] = [Side::Forward, Side::BackwardData].map(|side| value.copies().get(side));
        let Some(form) = forward.as_ref().or(backward.as_ref()).map(|copy| copy.form) else { return self };
        let address = |copy: Option<Copy>| {
            copy.filter(|copy| copy.form == form).map_or(0, |copy| copy.memory.address())
        };
        (self.forward, self.backward) = (address(forward), address(backward));
        (self.k, self.taps, self.c) = (u32_of(form.k), u32_of(form.taps), u32_of(form.c));
        (self.forward_c, self.backward_k) =
            (u32_of(form.padded(Side::Forward)), u32_of(form.padded(Side::BackwardData)));
        // The numbers of `enum Form` in update.cu.
        self.element = match form.element {
            Element::Bf16 => 1,
            Element::F16 => 2,
            Element::Tf32 => 3,
        };
        self
    }

    /// Chunks it is cut into: in a row, or where there are copies squares of one tap.
    fn n_chunks(&self) -> usize {
        if self.element == 0 {
            return (self.count as usize).div_ceil(CHUNK);
        }
        let squares = |extent: u32| (extent as usize).div_ceil(SQUARE);
        self.taps as usize * squares(self.k) * squares(self.c)
    }
}

/// CHUNK, SQUARE and UPDATE_THREADS of update.cu.
const CHUNK: usize = 4096;
const SQUARE: usize = 64;
const THREADS: u32 = 256;

/// Tables of parameters on the device. A training loop has two, one for the norm and one for the step; they are made once.
#[derive(Default)]
pub(crate) struct Lists {
    /// The most recently used last.
    known: Vec<List>,
}

struct List {
    entries: Vec<Entry>,
    memory: Memory,
    /// Where in it the chunks begin.
    chunks_at: usize,
    n_chunks: usize,
}

/// Tables kept at a time.
const MOST_LISTS: usize = 4;

impl Lists {
    /// The addresses of entries and chunks, and how many chunks there are.
    fn table(
        &mut self,
        machine: &mut dyn Machine,
        freed: &AtomicU64,
        entries: Vec<Entry>,
    ) -> Result<(u64, u64, usize)> {
        let at = match self.known.iter().position(|list| list.entries == entries) {
            Some(at) => at,
            None => {
                if self.known.len() == MOST_LISTS {
                    self.known.remove(0);
                    freed.fetch_add(1, Ordering::Relaxed);
                }
                self.known.push(List::new(machine, entries)?);
                self.known.len() - 1
            }
        };
        self.known[at..].rotate_left(1);
        let list = &self.known[self.known.len() - 1];
        let address = list.memory.address();
        Ok((address, address + list.chunks_at as u64, list.n_chunks))
    }
}

impl List {
    fn new(machine: &mut dyn Machine, entries: Vec<Entry>) -> Result<Self> {
        let mut packed = Packed::default();
        entries.iter().for_each(|entry| entry.pack(&mut packed));
        let chunks_at = packed.bytes();
        let mut n_chunks = 0;
        for (i, entry) in entries.iter().enumerate() {
            for number in 0..entry.n_chunks() {
                Chunk { entry: u32_of(i), number: u32_of(number) }.pack(&mut packed);
                n_chunks += 1;
            }
        }
        let bytes: &[u8] = bytemuck::cast_slice(packed.words());
        let memory = machine.alloc(bytes.len())?;
        machine.upload(&memory, 0, bytes)?;
        Ok(List { entries, memory, chunks_at, n_chunks })
    }
}

fn blocks(n: usize) -> Geometry {
    Geometry { grid: [u32_of(n), 1, 1], block: [THREADS, 1, 1], shared_bytes: 0 }
}

/// `sqrt(Σ g²)` over all gradients.
pub(crate) fn grad_norm(engine: &mut Engine, params: &[Param<Buffer>], norm: &mut Buffer) -> Result<()> {
    const OP: &str = "grad_norm";
    let norm = written(OP, "norm", norm, &TensorDesc::table(1, 1))?;
    let mut entries = Vec::new();
    for param in params {
        if let Some(grad) = &param.grad {
            let grad = address(OP, "params.grad", grad, &param.desc)?;
            entries.push(Entry::plain(0, grad, param.desc.len()));
        }
    }
    let mut finish = FinishNormArgs { partials: 0, norm, chunks: 0, unused: 0 };
    if !entries.is_empty() {
        let (entries, chunks, n_chunks) =
            engine.lists.table(engine.machine.as_mut(), &engine.freed, entries)?;
        finish.partials = engine.scratch(8 * n_chunks)?;
        finish.chunks = u32_of(n_chunks);
        let args = GradNormArgs { entries, chunks, partials: finish.partials };
        engine.launch("grad_norm", blocks(n_chunks), &args)?;
    }
    engine.launch("finish_grad_norm", blocks(1), &finish)
}

/// One step.
pub(crate) fn update(
    engine: &mut Engine,
    rule: &Optimizer,
    scalars: &Buffer,
    norm: Option<&Buffer>,
    params: &mut [Param<Buffer>],
) -> Result<()> {
    const OP: &str = "update";
    let scalars = address(OP, "scalars", scalars, &StepScalars::desc())?;
    let norm = optional(OP, "norm", norm, &TensorDesc::table(1, 1))?;
    let mut entries = Vec::new();
    for param in params.iter() {
        let Some(grad) = param.grad.as_ref().filter(|_| param.lr_scale != 0.0) else { continue };
        let state = |i: usize| -> Result<u64> {
            if i >= rule.n_states() {
                return Ok(0);
            }
            match &param.states[i] {
                Some(state) => written(OP, "params.states", state, &param.desc),
                None => Err(Error::invalid(
                    OP,
                    format!(
                        "{rule:?} needs {} states, a parameter of {} has fewer",
                        rule.n_states(),
                        param.desc
                    ),
                )),
            }
        };
        let value = address(OP, "params.value", &param.value, &param.desc)?;
        let grad = address(OP, "params.grad", grad, &param.desc)?;
        let entry = Entry {
            state0: state(0)?,
            state1: state(1)?,
            lr_scale: param.lr_scale,
            decay: u32::from(param.decay),
            ..Entry::plain(value, grad, param.desc.len())
        };
        entries.push(entry.with_copies(&param.value));
    }
    if entries.is_empty() {
        return Ok(());
    }
    let (entries, chunks, n_chunks) = engine.lists.table(engine.machine.as_mut(), &engine.freed, entries)?;
    // The numbers of `enum Rule` in update.cu.
    let (rule, beta1, beta2, eps, weight_decay) = match *rule {
        Optimizer::Sgd { momentum, nesterov, weight_decay } => {
            let rule = match (momentum != 0.0, nesterov) {
                (false, _) => 0,
                (true, false) => 1,
                (true, true) => 2,
            };
            (rule, momentum, 0.0, 0.0, weight_decay)
        }
        Optimizer::Adam { beta1, beta2, eps, weight_decay } => (3, beta1, beta2, eps, weight_decay),
        Optimizer::AdamW { beta1, beta2, eps, weight_decay } => (4, beta1, beta2, eps, weight_decay),
    };
    let args =
        UpdateArgs { entries, chunks, scalars, norm, rule, beta1, beta2, eps, weight_decay, unused: 0 };
    engine.launch("update", blocks(n_chunks), &args)
}
