//! Memory before the first step: which tensors share a slot, and how large everything is.

use crate::lower::{Program, Step, TensorId};
use crate::{Graph, TensorDesc};

/// Slots for the tensors of a program, and the sizes people ask for before they start a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The slot of each tensor.
    pub slot_of: Vec<usize>,
    /// Bytes of each slot.
    pub slot_bytes: Vec<usize>,
    /// Bytes of all tensors if none shared a slot.
    pub unshared_bytes: usize,
    /// Bytes of per-channel buffers.
    pub table_bytes: usize,
    /// Bytes of parameters, gradients and optimizer state.
    pub parameter_bytes: usize,
    /// Bytes of the backend's scratch, as it answered to `prepare`.
    pub scratch_bytes: usize,
    /// Elements of trained parameters.
    pub n_params: usize,
    /// Floating-point operations of one step, convolutions and fully connected layers only, padded taps counted.
    pub flops: u64,
    /// Pictures per step.
    pub batch: usize,
    /// Backend calls of one step.
    pub n_calls: usize,
}

/// First and last moment at which each tensor must keep its content.
///
/// Moments are the forward steps, then the loss, then the backward steps.
fn lifetimes(program: &Program) -> Vec<(usize, usize)> {
    let mut life = vec![(usize::MAX, 0); program.tensors.len()];
    let mut touch = |t: TensorId, at: usize| {
        let (first, last) = &mut life[t.0];
        *first = (*first).min(at);
        *last = (*last).max(at);
    };
    let end = program.forward.len() + 1 + program.backward.len();
    touch(program.input, 0);
    // Logits are read after the step by whoever asks.
    touch(program.logits, end);
    if let Some(d) = program.dlogits {
        touch(d, program.forward.len());
    }
    if let Some(d) = program.dinput {
        touch(d, end);
    }
    let moments = (0..program.forward.len()).chain(program.forward.len() + 1..end);
    for (step, at) in program.forward.iter().chain(&program.backward).zip(moments) {
        for t in step.tensors() {
            touch(t, at);
        }
    }
    life
}

fn trained_elements(graph: &Graph, program: &Program) -> usize {
    let trained = program.options.freeze.trained(graph);
    graph.params().iter().zip(trained).filter(|(_, trained)| *trained).map(|(p, _)| p.len()).sum()
}

impl Plan {
    /// Plans a program. `bytes` is the backend's answer to how large a tensor is.
    ///
    /// Tensors are placed from the largest to the smallest, each in the smallest slot that is free for its lifetime
    /// (greedy by size: Pisarchyk & Lee, *Efficient Memory Management for Deep Neural Net Inference*, 2020).
    pub fn new(graph: &Graph, program: &Program, bytes: impl Fn(&TensorDesc) -> usize) -> Self {
        let life = lifetimes(program);
        // What no step touches any more has no place either.
        let size: Vec<usize> = std::iter::zip(&program.tensors, &life)
            .map(|(t, life)| if life.0 == usize::MAX { 0 } else { bytes(&t.desc) })
            .collect();
        let mut order: Vec<usize> = (0..size.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(size[i]), life[i].0));
        let mut slots: Vec<(usize, Vec<(usize, usize)>)> = vec![];
        let mut slot_of = vec![0; size.len()];
        for i in order {
            let free = |busy: &[(usize, usize)]| busy.iter().all(|b| b.1 < life[i].0 || life[i].1 < b.0);
            let found = slots.iter().enumerate().filter(|(_, s)| free(&s.1)).min_by_key(|(_, s)| s.0);
            let slot = match found {
                Some((slot, _)) => slot,
                None => {
                    slots.push((size[i], vec![]));
                    slots.len() - 1
                }
            };
            slots[slot].1.push(life[i]);
            slot_of[i] = slot;
        }
        let macs = |s: &Step| match s {
            Step::Conv { op, .. }
            | Step::ConvFinished { op, .. }
            | Step::ConvBackwardData { op, .. }
            | Step::ConvBackwardWeight { op, .. } => op.macs(),
            Step::ConvBackward { op, .. } => 2 * op.macs(),
            _ => 0,
        };
        Self {
            slot_of,
            slot_bytes: slots.into_iter().map(|s| s.0).collect(),
            unshared_bytes: size.iter().sum(),
            table_bytes: program.tables.iter().map(bytes).sum(),
            parameter_bytes: 0,
            scratch_bytes: 0,
            n_params: trained_elements(graph, program),
            flops: 2 * program.forward.iter().chain(&program.backward).map(macs).sum::<u64>(),
            batch: program.options.batch,
            n_calls: program.forward.len() + program.backward.len(),
        }
    }

    /// Bytes of activations and their gradients.
    pub fn activation_bytes(&self) -> usize {
        self.slot_bytes.iter().sum()
    }

    /// Bytes of everything.
    pub fn total_bytes(&self) -> usize {
        self.activation_bytes() + self.table_bytes + self.parameter_bytes + self.scratch_bytes
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        writeln!(
            f,
            "parameters   {:>12} trained, {:.1} MiB with gradients and optimizer state",
            self.n_params,
            mib(self.parameter_bytes)
        )?;
        writeln!(
            f,
            "activations  {:>8.1} MiB in {} slots ({:.1} MiB unshared)",
            mib(self.activation_bytes()),
            self.slot_bytes.len(),
            mib(self.unshared_bytes)
        )?;
        writeln!(f, "scratch      {:>8.1} MiB", mib(self.scratch_bytes + self.table_bytes))?;
        write!(
            f,
            "work         {:>8.1} GFLOP per step of {} pictures, {} backend calls",
            self.flops as f64 / 1e9,
            self.batch,
            self.n_calls
        )
    }
}
