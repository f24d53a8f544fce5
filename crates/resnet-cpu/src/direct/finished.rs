//! Forward of 1×1 kernels whose results are finished as they are stored: one matrix product after another, for inference.
//!
//! Rows of input and output follow each other, so a task takes a stretch of rows. It reads its input where it lies, if that is
//! what it is worth, sums a few rows for as many panels as stay in its cache, and ends them while they are in the innermost.

use std::ops::Range;

use resnet_core::op::Conv2d;

use super::blocks::{Cell, Grid};
use crate::element::{Element, work_len};
use crate::epilogue::Forward;
use crate::kernels::load;
use crate::kernels::product::{Left, Operand, ROWS, Tap, Tile, WIDTH};
use crate::load::Rows;
use crate::threads::{Scratch, ScratchLens};

/// Bytes of input that a task reads once for every group of panels.
const INPUT_BUDGET: usize = 384 * 1024;

/// Weights up to which tasks share out the rows of a single picture, and each reads all weights.
///
/// A task then reads what the same thread wrote in the op before; with channels shared out it reads what all have written, and
/// where the caches of two threads lie far apart, that takes longer than reading the weights twice.
const MOST_WEIGHTS: usize = 256 * 1024;

/// Bytes of weights that are read again and again before the next ones are.
const WEIGHT_BUDGET: usize = 384 * 1024;

/// Channels of the input up to which a few rows of it are asked for beforehand: more would drive the present ones out of the
/// innermost cache.
const ASKED_DEPTH: usize = 512;

/// Tasks, where there are rows enough.
const TASKS: usize = 8;

/// Whether an op is computed this way, if its results are finished.
pub(crate) fn serves(op: &Conv2d) -> bool {
    let pad = op.padding();
    let padded = pad.top + pad.left + pad.bottom + pad.right > 0;
    (op.r(), op.s(), op.groups()) == (1, 1, 1) && !padded && op.n() * op.p() * op.q() >= ROWS
}

/// Whether rows are shared out even where channels could be, see [`Single`](super::single::Single).
pub(crate) fn prefers_rows(op: &Conv2d) -> bool {
    op.k() * op.c() <= MOST_WEIGHTS
}

/// How the output is cut: rows alone, whatever pixel and picture they are of. Depends on the problem alone.
pub(crate) fn grid(op: &Conv2d) -> Grid {
    let rows = op.n() * op.p() * op.q();
    let fit = (INPUT_BUDGET / size_of::<f32>() / op.c()).min(rows / TASKS);
    Grid { pixels: rows, n: 1, band: (fit / ROWS * ROWS).max(ROWS), block: 1 }
}

/// What a task needs.
pub(crate) fn scratch(op: &Conv2d) -> ScratchLens {
    let evaluated = ROWS * op.c().next_multiple_of(2);
    ScratchLens { a: evaluated, work: work_len(op.dtype(), ROWS * op.k()), ..ScratchLens::default() }
}

/// The forward pass of one op.
pub(crate) struct Finished<'a, R, O, E> {
    pub(crate) op: &'a Conv2d,
    pub(crate) rows: R,
    /// Weights in panels.
    pub(crate) panels: &'a [O],
    pub(crate) end: &'a Forward<'a, E>,
}

impl<R: Rows, O: Operand, E: Element> Finished<'_, R, O, E> {
    /// Computes the rows of a cell.
    pub(crate) fn cell(&self, cell: &mut Cell<'_, E>, scratch: &mut Scratch) {
        let depth = self.op.c().next_multiple_of(O::STEP);
        let group = (WEIGHT_BUDGET / size_of::<O>() / (depth * WIDTH)).max(1);
        let n_panels = self.op.k().div_ceil(WIDTH);
        for first in (0..n_panels).step_by(group) {
            let panels = first..(first + group).min(n_panels);
            let mut row = cell.pixels.start;
            while row < cell.pixels.end {
                let rows = row..row + self.alike(row).min(cell.pixels.end - row);
                row = rows.end;
                self.rows(rows, panels.clone(), depth, cell, scratch);
            }
        }
    }

    /// Rows of output from one on, no more than a tile, whose inputs follow each other.
    fn alike(&self, row: usize) -> usize {
        let (op, n) = (self.op, self.op.n());
        match op.stride() {
            1 => ROWS,
            _ if n == 1 => ROWS.min(op.q() - row % op.q()),
            _ => ROWS.min(n - row % n),
        }
    }

    /// The row of the input that a row of the output is made of, and how many rows further the next one's lies.
    fn source(&self, row: usize) -> (usize, usize) {
        let (op, n) = (self.op, self.op.n());
        let (pixel, picture) = (row / n, row % n);
        let (p, q) = (pixel / op.q(), pixel % op.q());
        let from = (p * op.stride() * op.w() + q * op.stride()) * n + picture;
        (from, if n == 1 { op.stride() } else { 1 })
    }

    /// A few rows, for some panels.
    fn rows(
        &self,
        rows: Range<usize>,
        panels: Range<usize>,
        depth: usize,
        cell: &mut Cell<'_, E>,
        scratch: &mut Scratch,
    ) {
        let (k, isa, count) = (self.op.k(), self.end.isa, rows.len());
        let channels = panels.start * WIDTH..(panels.end * WIDTH).min(k);
        let (from, step) = self.source(rows.start);
        let read = from..from + (count - 1) * step + 1;
        let (input, row) = match self.rows.stored_as::<O>(read.clone()).filter(|_| depth == self.op.c()) {
            Some(stored) => (stored, step * depth),
            None => {
                let out = scratch.a.take_as::<O>(ROWS * depth);
                out.fill(O::zeroed());
                for (row, out) in read.step_by(step).zip(out.chunks_exact_mut(depth)) {
                    self.rows.eval(isa, row..row + 1, 0..self.op.c(), out, depth);
                }
                (&*out, depth)
            }
        };
        // While these rows are multiplied, memory answers for the next ones, a few rows with every panel.
        let next = rows.end..(rows.end + ROWS).min(cell.pixels.end);
        let (mine, after) = cell.run(rows.start..next.end).split_at_mut(count * k);
        let ask = |i: usize| {
            let part = |i: usize| next.len() * i / panels.len();
            for row in part(i)..part(i + 1) {
                if panels.start == 0 && depth <= ASKED_DEPTH {
                    let from = self.source(next.start + row).0;
                    self.rows.prefetch(isa, from..from + 1);
                }
                self.end.prefetch(next.start + row, channels.clone());
                load::prefetch(isa, &after[row * k..][channels.clone()]);
            }
        };
        let sum = |out: &mut [f32], stride: usize| {
            for panel in panels.clone() {
                ask(panel - panels.start);
                let b = &self.panels[panel * depth * WIDTH..][..depth * WIDTH];
                let at = panel * WIDTH - channels.start;
                let width = WIDTH.min(k - panel * WIDTH);
                let a = Left { data: input, row, step: O::STEP };
                let tile = Tile { data: &mut out[at..], stride, rows: count, width };
                O::product(isa, a, b, &[Tap::default()], depth / O::STEP, tile, false);
            }
        };
        let out = &mut mine[channels.start..];
        if let Some(out) = E::as_f32_mut(out) {
            sum(out, k);
            return self.end.finish(out, k, rows.start, channels);
        }
        let width = channels.len();
        let values = scratch.work.take(count * width);
        sum(values, width);
        self.end.finish(values, width, rows.start, channels);
        load::plain::<_, _, false>(isa, values, width, width, out, k);
    }
}
