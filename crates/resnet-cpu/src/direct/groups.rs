//! Groups of channels: which inputs a panel of outputs sums over.
//!
//! A panel of 32 outputs reads the inputs of all groups that it covers, with zeros where input and output are of different
//! groups. So small groups cost as much as groups of 32, but they are computed by the same kernel as everything else.

use resnet_core::op::Conv2d;

use crate::kernels::product::WIDTH;

/// How channels are grouped in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// Inputs and outputs of a group.
    inputs: usize,
    outputs: usize,
    /// Inputs that a panel sums over.
    pub(crate) depth: usize,
    /// All inputs: numbers from one picture to the next.
    pub(crate) row: usize,
}

impl Groups {
    /// Of `y` from `x`.
    pub(crate) fn forward(op: &Conv2d) -> Self {
        Self::new(op.groups(), op.c(), op.k())
    }

    /// Of `dx` from `dy`.
    pub(crate) fn backward(op: &Conv2d) -> Self {
        Self::new(op.groups(), op.k(), op.c())
    }

    fn new(groups: usize, all_inputs: usize, all_outputs: usize) -> Self {
        let (inputs, outputs) = (all_inputs / groups, all_outputs / groups);
        let depth = (inputs * (WIDTH / outputs).max(1)).min(all_inputs);
        Self { inputs, outputs, depth, row: all_inputs }
    }

    /// Whether no panel ends inside a group that goes on in the next one with others beside it, in either direction.
    pub(crate) fn fit(op: &Conv2d) -> bool {
        let fits = |outputs: usize| outputs.is_multiple_of(WIDTH) || WIDTH.is_multiple_of(outputs);
        op.groups() == 1 || fits(op.k() / op.groups()) && fits(op.c() / op.groups())
    }

    /// Whether every panel reads all inputs.
    pub(crate) fn is_whole(&self) -> bool {
        self.depth == self.row
    }

    /// The first input that a panel reads.
    pub(crate) fn first(&self, panel: usize) -> usize {
        // Where the last panel covers fewer groups it reads as many inputs, from further back.
        (panel * WIDTH / self.outputs * self.inputs).min(self.row - self.depth)
    }

    /// The inputs that an output sums over.
    pub(crate) fn inputs(&self, output: usize) -> std::ops::Range<usize> {
        let group = output / self.outputs;
        group * self.inputs..(group + 1) * self.inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_reads_the_inputs_of_all_its_outputs() {
        for (groups, inputs, outputs) in
            [(1, 5, 70), (32, 4, 4), (32, 8, 8), (3, 16, 16), (5, 2, 1), (2, 40, 64), (33, 1, 2)]
        {
            let g = Groups::new(groups, groups * inputs, groups * outputs);
            for output in 0..groups * outputs {
                let panel = g.first(output / WIDTH)..g.first(output / WIDTH) + g.depth;
                let read = g.inputs(output);
                assert!(
                    panel.start <= read.start && read.end <= panel.end,
                    "{groups} × {inputs} → {outputs}, {output}"
                );
                assert!(panel.end <= groups * inputs);
            }
        }
    }
}
