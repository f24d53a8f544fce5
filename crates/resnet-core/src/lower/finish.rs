//! Inference: what is applied when a convolution's result is read moves to where it is written.
//!
//! Training needs raw results, for their batch statistics and for the backward pass. Without it a normalisation is a fixed scale
//! and shift, and a block's addition and ReLU can be applied while the result is still in registers or in a cache. So no step
//! remains that only adds, and the next convolution reads its input as it lies in memory.

use super::{FinishWrite, Mode, Program, Read, Step, TensorId};
use crate::op::Conv2d;

/// A convolution that can finish its result: its step, what is applied, and the steps that read the result.
struct Found {
    conv: usize,
    finish: FinishWrite,
    readers: Vec<usize>,
}

impl Program {
    /// Has convolutions of inference finish their results, where `finishes` says that the backend can and all readers apply the same.
    ///
    /// The values are the same: what was applied on every read is applied once. Where elements are narrower than f32, a result
    /// is rounded after it was finished and not before.
    /// A program for training, or one lowered without fusion, stays as it is.
    pub fn finish_convolutions(&mut self, finishes: &dyn Fn(&Conv2d) -> bool) {
        if self.options.mode != Mode::Infer || self.options.fusion != super::Fusion::Full {
            return;
        }
        // A table of a normalisation must be there when the convolution before it runs.
        self.forward.sort_by_key(|step| !matches!(step, Step::NormFrozen { .. }));
        // From the end: a step that is taken out stands behind those still to come.
        for i in (0..self.forward.len()).rev() {
            if let Some(found) = self.find(i, finishes) {
                self.apply(found);
            }
        }
    }

    /// Whether a step is a convolution that can finish its result, and with what.
    fn find(&self, i: usize, finishes: &dyn Fn(&Conv2d) -> bool) -> Option<Found> {
        let Some(&Step::Conv { op, y, sums: None, .. }) = self.forward.get(i) else { return None };
        if y == self.logits || !finishes(&op) {
            return None;
        }
        let readers: Vec<usize> = (i + 1..self.forward.len())
            .filter(|&j| self.forward[j].read().is_some_and(|read| read.mentions(y)))
            .collect();
        let first = *self.forward[*readers.first()?].read()?;
        let same = readers.iter().all(|&j| self.forward[j].read() == Some(&first));
        // A convolution that adds it as it was written is no reader in the sense above.
        let added = self.forward[i + 1..].iter().any(|step| match step {
            Step::ConvFinished { finish, .. } => finish.residual.is_some_and(|(t, _)| t == y),
            _ => false,
        });
        if !same || added || first.is_plain() {
            return None;
        }
        let finish = first.seen_from(y)?;
        match finish.residual {
            None => {}
            // One reader, and what is added must lie there before.
            Some((t, _)) if readers.len() == 1 && t != y && self.is_written_before(t, i) => {}
            Some(_) => return None,
        }
        Some(Found { conv: i, finish, readers })
    }

    fn is_written_before(&self, t: TensorId, i: usize) -> bool {
        t == self.input || self.forward[..i].iter().any(|step| step.writes() == Some(t))
    }

    fn apply(&mut self, Found { conv, finish, readers }: Found) {
        let Step::Conv { op, x, w, bias, y, .. } = self.forward[conv] else { return };
        let mut to = y;
        if let [reader] = readers[..]
            && let Step::Combine { z, sums: None, .. } = self.forward[reader]
        {
            to = z;
            self.forward.remove(reader);
        } else {
            for reader in readers {
                if let Some(read) = self.forward[reader].read_mut() {
                    *read = Read::plain(y);
                }
            }
        }
        self.forward[conv] = Step::ConvFinished { op, x, w, bias, finish, y: to };
        // The layer's own value is not what lies there.
        self.stored.iter_mut().filter(|stored| **stored == Some(y)).for_each(|stored| *stored = None);
    }
}

impl Read {
    fn mentions(&self, t: TensorId) -> bool {
        self.raw == t || self.residual.is_some_and(|(r, _)| r == t)
    }

    /// The same value as an end of the step that writes `y`, one of its tensors. A sum may be taken in either order.
    fn seen_from(&self, y: TensorId) -> Option<FinishWrite> {
        let Read { raw, affine, residual, relu } = *self;
        if raw == y {
            return Some(FinishWrite { affine, residual, relu });
        }
        let (_, own) = residual.filter(|(t, _)| *t == y)?;
        Some(FinishWrite { affine: own, residual: Some((raw, affine)), relu })
    }
}

impl Step {
    /// How a step of the forward pass reads its input.
    fn read(&self) -> Option<&Read> {
        match self {
            Step::Conv { x, .. }
            | Step::ConvFinished { x, .. }
            | Step::Combine { x, .. }
            | Step::MaxPool { x, .. }
            | Step::AvgPool { x, .. } => Some(x),
            _ => None,
        }
    }

    fn read_mut(&mut self) -> Option<&mut Read> {
        match self {
            Step::Conv { x, .. }
            | Step::ConvFinished { x, .. }
            | Step::Combine { x, .. }
            | Step::MaxPool { x, .. }
            | Step::AvgPool { x, .. } => Some(x),
            _ => None,
        }
    }

    /// The tensor that a step of the forward pass writes.
    fn writes(&self) -> Option<TensorId> {
        match self {
            Step::Conv { y, .. }
            | Step::ConvFinished { y, .. }
            | Step::MaxPool { y, .. }
            | Step::AvgPool { y, .. } => Some(*y),
            Step::Combine { z, .. } => Some(*z),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo::arch;
    use crate::{Fusion, LowerOptions, lower};

    fn program(name: &str, options: LowerOptions) -> Program {
        let graph = arch(name).unwrap().classes(10).build().unwrap();
        lower(&graph, options, &|_| false).unwrap()
    }

    fn count(program: &Program, of: impl Fn(&Step) -> bool) -> usize {
        program.forward.iter().filter(|step| of(step)).count()
    }

    #[test]
    fn no_step_of_inference_only_adds() {
        for (name, n_convs) in [("resnet18", 20), ("resnet50", 53)] {
            let mut program = program(name, LowerOptions::infer(2));
            assert!(count(&program, |step| matches!(step, Step::Combine { .. })) > 0);
            program.finish_convolutions(&|_| true);
            assert_eq!(count(&program, |step| matches!(step, Step::Combine { .. })), 0, "{name}");
            // A projection's block has two convolutions whose results meet: the later one adds, the other one stays raw.
            let added =
                |step: &Step| matches!(step, Step::ConvFinished { finish, .. } if finish.residual.is_some());
            let raw = count(&program, |step| matches!(step, Step::Conv { .. }));
            let finished = count(&program, |step| matches!(step, Step::ConvFinished { .. }));
            assert_eq!(raw + finished, n_convs + 1, "{name}: and the classifier");
            assert!(count(&program, added) == if name == "resnet18" { 8 } else { 16 }, "{name}");
        }
    }

    #[test]
    fn a_tensor_is_written_before_it_is_read() {
        for name in ["resnet18", "resnet50", "resnet50d", "resnet50v2", "resnet20-cifar"] {
            let graph = arch(name).unwrap().classes(10).build().unwrap();
            let mut program = lower(&graph, LowerOptions::infer(1), &|_| false).unwrap();
            program.finish_convolutions(&|_| true);
            let mut written = vec![program.input];
            for step in &program.forward {
                let Some(y) = step.writes() else { continue };
                for t in step.tensors().into_iter().filter(|t| *t != y) {
                    assert!(written.contains(&t), "{name}: {step:?} reads what nobody has written");
                }
                assert!(!written.contains(&y), "{name}: {step:?} writes for a second time");
                written.push(y);
            }
            assert!(written.contains(&program.logits));
            let stored = program.stored.iter().flatten();
            assert!(stored.clone().count() > 0 && stored.clone().all(|t| written.contains(t)), "{name}");
        }
    }

    /// In a pre-activation network the stem's result is both normalised for the first block and added as it is.
    #[test]
    fn what_is_added_raw_stays_raw() {
        for name in ["resnet18v2", "resnet50v2", "resnet20v2-cifar"] {
            let before = program(name, LowerOptions::infer(1));
            let mut after = before.clone();
            after.finish_convolutions(&|_| true);
            for (i, step) in after.forward.iter().enumerate() {
                let Step::ConvFinished { finish: FinishWrite { residual: Some((t, None)), .. }, .. } = step
                else {
                    continue;
                };
                let made = after.forward[..i].iter().find(|step| step.writes() == Some(*t));
                if let Some(Step::ConvFinished { finish, .. }) = made {
                    assert!(finish.affine.is_none() && !finish.relu, "{name}: {step:?} adds {made:?}");
                }
            }
        }
    }

    #[test]
    fn training_and_unfused_programs_stay_as_they_are() {
        for options in
            [LowerOptions::train(2), LowerOptions { fusion: Fusion::None, ..LowerOptions::infer(2) }]
        {
            let before = program("resnet18", options);
            let mut after = before.clone();
            after.finish_convolutions(&|_| true);
            assert_eq!(before, after);
        }
        let before = program("resnet18", LowerOptions::infer(2));
        let mut after = before.clone();
        after.finish_convolutions(&|_| false);
        assert_eq!(count(&after, |step| matches!(step, Step::ConvFinished { .. })), 0);
        assert_eq!(before.forward.len(), after.forward.len());
    }
}
