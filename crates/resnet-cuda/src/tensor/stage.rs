//! Operands that a product cannot read as they lie: evaluated into scratch memory, channels filled up with zeros.

use super::args::{GradSourceArgs, SourceArgs, StageGradArgs, StageSourceArgs};
use super::kernel::{Prologue, helpers};
use super::{Element, Step};
use crate::args::Packed;
use crate::machine::Launch;

/// Threads of the kernels that take one element each.
pub(super) const THREADS: u32 = 256;

/// The grid for so many elements, one thread each.
pub(super) fn in_rows(elements: usize) -> [u32; 3] {
    [elements.div_ceil(THREADS as usize) as u32, 1, 1]
}

/// What the kernel reads for a source of `pixels × c`, and how it evaluates it; adds a step where the source must be staged first.
pub(super) fn source(
    steps: &mut Vec<Step>,
    element: Element,
    x: SourceArgs,
    staged: u64,
    pixels: usize,
    c: usize,
) -> (SourceArgs, Prologue) {
    let padded = element.padded(c);
    if padded == c && x.residual == 0 {
        let plain = x.affine == 0 && x.relu == 0;
        return (x, if plain { Prologue::Raw } else { Prologue::Affine });
    }
    let args = StageSourceArgs {
        x,
        to: staged,
        pixels: pixels as u32,
        c: c as u32,
        padded: padded as u32,
        unused: 0,
    };
    steps.push(step("stage_source", element, pixels * padded, Packed::of(&args)));
    (SourceArgs::raw(staged), Prologue::Raw)
}

/// The same for a gradient.
pub(super) fn gradient(
    steps: &mut Vec<Step>,
    element: Element,
    dy: GradSourceArgs,
    staged: u64,
    pixels: usize,
    c: usize,
) -> (GradSourceArgs, Prologue) {
    let padded = element.padded(c);
    if padded == c {
        return (dy, if dy.y == 0 { Prologue::Raw } else { Prologue::Grad });
    }
    let args = StageGradArgs {
        dy,
        to: staged,
        pixels: pixels as u32,
        c: c as u32,
        padded: padded as u32,
        unused: 0,
    };
    steps.push(step("stage_grad", element, pixels * padded, Packed::of(&args)));
    (GradSourceArgs::raw(staged), Prologue::Raw)
}

fn step(kernel: &str, element: Element, elements: usize, args: Packed) -> Step {
    Step {
        unit: helpers(),
        launch: Launch {
            kernel: format!("{kernel}_{}", element.memory_name()).into(),
            grid: in_rows(elements),
            block: [THREADS, 1, 1],
            shared_bytes: 0,
            args,
        },
    }
}
