//! Windows of one pixel that move by one: the sums are plain matrix products over all rows of a tensor, pixels × pictures.
//!
//! Such layers have few multiplications for what they read, so memory decides as much as the products do.
//! A task takes some rows at a time, evaluates them once into panels of 32 channels that stay in its cache, and uses them for
//! all that is to be computed from them. While it multiplies it asks memory for the [rows that come next](Ahead), and what is
//! written is finished panel by panel on its way out.
//!
//! - [`backward`]: both gradients from one reading of `dy` and `x`.

pub(crate) mod backward;

use std::ops::Range;

use resnet_core::DType;
use resnet_core::op::Conv2d;

use crate::kernels::product::{ROWS, WIDTH};
use crate::kernels::{Isa, load};
use crate::load::Rows;
use crate::threads::ScratchLens;

/// Bytes of evaluated input and gradient that a task keeps in its cache.
const BUDGET: usize = 384 * 1024;

/// Most rows that are evaluated together: a panel of them fits the innermost cache beside another one.
const MOST_ROWS: usize = 64;

/// Most floats of the weights: beyond, they leave the cache between one stretch of rows and the next.
const WEIGHTS: usize = 256 * 1024;

/// Fewest and most chunks of both gradients, and most floats in the sums of all of them together while there are more than the
/// fewest.
const CHUNKS: std::ops::RangeInclusive<usize> = 4..=16;
const SUMS: usize = 512 * 1024;

/// Most tensors that a pass reads and writes.
const MOST_PARTS: usize = 8;

/// How the rows of a tensor are cut. Depends on the problem alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Rows of all.
    rows: usize,
    /// Rows that are evaluated together.
    step: usize,
    /// Rows of a task.
    chunk: usize,
}

impl Cut {
    /// Of both gradients, for the convolutions that are computed this way.
    pub(crate) fn backward(op: &Conv2d) -> Option<Self> {
        let (c, k, rows) = (op.c(), op.k(), op.n() * op.h() * op.w());
        let whole = c.is_multiple_of(WIDTH) && k.is_multiple_of(WIDTH);
        let plain = op.r() * op.s() == 1 && op.stride() == 1 && op.groups() == 1;
        let unpadded = (op.p(), op.q()) == (op.h(), op.w());
        let fits = c * k <= WEIGHTS && rows >= 8 * ROWS * CHUNKS.start();
        if !(whole && plain && unpadded && fits && op.dtype() == DType::F32) {
            return None;
        }
        let step = (BUDGET / size_of::<f32>() / (c + k) / ROWS * ROWS).clamp(2 * ROWS, MOST_ROWS);
        let wanted = (SUMS / (c * k)).clamp(*CHUNKS.start(), *CHUNKS.end());
        Some(Self { rows, step, chunk: rows.div_ceil(step).div_ceil(wanted) * step })
    }

    /// Rows of every chunk but perhaps the last.
    pub(crate) fn chunk_rows(&self) -> usize {
        self.chunk
    }

    pub(crate) fn n_chunks(&self) -> usize {
        self.rows.div_ceil(self.chunk)
    }

    /// The rows of one chunk, as many at a time as are evaluated together.
    fn steps(&self, chunk: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (step, end) = (self.step, ((chunk + 1) * self.chunk).min(self.rows));
        (chunk * self.chunk..end).step_by(step).map(move |start| start..(start + step).min(end))
    }

    /// What a task needs.
    pub(crate) fn scratch(&self, op: &Conv2d) -> ScratchLens {
        let step = self.step;
        let (a, b, c) = (step * op.c(), step * op.k(), step * WIDTH);
        ScratchLens { a, b, c, taps: op.c().max(op.k()) / WIDTH, ..ScratchLens::default() }
    }
}

/// Evaluates rows of `width` channels: `panels[channel / 32][row][channel % 32]`.
fn evaluate(isa: Isa, source: &impl Rows, rows: Range<usize>, width: usize, panels: &mut [f32]) {
    let panels = panels[..width * rows.len()].chunks_exact_mut(rows.len() * WIDTH);
    for (i, panel) in panels.enumerate() {
        source.eval(isa, rows.clone(), i * WIDTH..(i + 1) * WIDTH, panel, WIDTH);
    }
}

/// Memory that is read soon, asked for little by little.
struct Ahead<'a> {
    isa: Isa,
    parts: [&'a [f32]; MOST_PARTS],
    /// Numbers that are asked for at a time.
    share: usize,
}

impl<'a> Ahead<'a> {
    /// In `calls` calls of [`Ahead::ask`].
    fn new(isa: Isa, parts: impl Iterator<Item = &'a [f32]>, calls: usize) -> Self {
        let mut all: [&[f32]; MOST_PARTS] = [&[]; MOST_PARTS];
        all.iter_mut().zip(parts).for_each(|(all, part)| *all = part);
        let numbers: usize = all.iter().map(|part| part.len()).sum();
        Self { isa, parts: all, share: numbers.div_ceil(calls.max(1)).next_multiple_of(load::LINE_FLOATS) }
    }

    fn ask(&mut self) {
        let mut share = self.share;
        for part in &mut self.parts {
            let (now, later) = part.split_at(share.min(part.len()));
            load::prefetch_to_l2(self.isa, now);
            (*part, share) = (later, share - now.len());
            if share == 0 {
                return;
            }
        }
    }
}
