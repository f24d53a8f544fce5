//! Weights arranged for the driver: per group and tap one matrix whose output direction is contiguous.
//!
//! In memory kernels are `k × r × s × c`, which suits neither the packing of the forward product (its output direction, `k`,
//! has the largest stride) nor that of backward-data (rows as far apart as whole kernels). One pass over the weights per op
//! pays for itself as soon as a few tiles read them; with fewer rows than that they are read where they lie.

use std::ops::Range;

use resnet_core::op::Conv2d;

use crate::kernels::Isa;
use crate::kernels::gemm::Mat;
use crate::kernels::transpose::transpose;
use crate::memory::Memory;
use crate::threads::Threads;
use crate::window::Window;

/// Rows of output from which on it pays to arrange the weights.
const MIN_ROWS: usize = 128;

/// Which way the product goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Sums over `c` and makes `k`.
    Forward,
    /// Sums over `k` and makes `c`.
    BackwardData,
}

/// The weights of one direction: element `(tap, i, j)` of a group is at `group·group_stride + tap·tap_stride + i·rs + j·cs`, with
/// `i` below `depth`, along the sum, and `j` below `width`, along the output.
///
/// Backward-data counts taps from the last to the first, so that in both directions consecutive taps read pixels from left
/// to right: it is a convolution with the window turned by half a turn.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    data: &'a [f32],
    pub(crate) n_taps: usize,
    pub(crate) depth: usize,
    pub(crate) width: usize,
    group_stride: usize,
    tap_stride: usize,
    rs: usize,
    cs: usize,
    /// Whether memory has the taps the other way round.
    turned: bool,
}

/// Floats of memory for arranged weights that an op needs.
pub(crate) fn arranged_len(op: &Conv2d, rows: usize) -> usize {
    if rows < MIN_ROWS { 0 } else { op.w_desc().len() }
}

impl<'a> Weights<'a> {
    /// The weights for `rows` rows of output, arranged in `memory` if that pays.
    pub(crate) fn new(
        threads: &Threads,
        isa: Isa,
        op: &Conv2d,
        direction: Direction,
        w: &'a [f32],
        rows: usize,
        memory: &'a mut Memory,
    ) -> Self {
        let n_taps = op.r() * op.s();
        let (c, k) = (op.c() / op.groups(), op.k() / op.groups());
        let (depth, width, rs, cs) = match direction {
            Direction::Forward => (c, k, 1, n_taps * c),
            Direction::BackwardData => (k, c, n_taps * c, 1),
        };
        let group_stride = n_taps * depth * width;
        let len = arranged_len(op, rows);
        if len == 0 {
            let turned = direction == Direction::BackwardData;
            return Self { data: w, n_taps, depth, width, group_stride, tap_stride: c, rs, cs, turned };
        }
        let window = Window::from(op);
        let arranged = memory.take(len);
        threads.run(arranged.chunks_mut(c * k).enumerate(), |(i, matrix), _| {
            let group = i / n_taps;
            let tap = match direction {
                Direction::Forward => i % n_taps,
                Direction::BackwardData => n_taps - 1 - i % n_taps,
            };
            if !window.uses(tap) {
                return;
            }
            let kernels = &w[(group * k * n_taps + tap) * c..];
            match direction {
                Direction::Forward => transpose(isa, kernels, n_taps * c, (k, c), matrix, k),
                Direction::BackwardData => {
                    for (row, kernel) in matrix.chunks_exact_mut(c).zip(kernels.chunks(n_taps * c)) {
                        row.copy_from_slice(&kernel[..c]);
                    }
                }
            }
        });
        Self {
            data: arranged,
            n_taps,
            depth,
            width,
            group_stride,
            tap_stride: depth * width,
            turned: false, // already
            rs: width,
            cs: 1,
        }
    }

    /// How many consecutive taps [`Weights::matrix`] can put below each other, to a depth of `wanted` or little more.
    pub(crate) fn taps_for(&self, wanted: usize) -> usize {
        if self.stackable() { wanted.div_ceil(self.depth).min(self.n_taps) } else { 1 }
    }

    /// Cuts consecutive taps into what [`Weights::matrix`] can put below each other.
    pub(crate) fn stacks(&self, taps: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let step = if self.stackable() { taps.len().max(1) } else { 1 };
        let end = taps.end;
        taps.step_by(step).map(move |tap| tap..(tap + step).min(end))
    }

    fn stackable(&self) -> bool {
        self.tap_stride == self.depth * self.rs && !self.turned
    }

    /// The weights from a tap of a group on, as many taps below each other as [`Weights::stacks`] allows.
    pub(crate) fn matrix(&self, group: usize, tap: usize) -> Mat<'a> {
        let tap = if self.turned { self.n_taps - 1 - tap } else { tap };
        let data = &self.data[group * self.group_stride + tap * self.tap_stride..];
        Mat { data, rs: self.rs, cs: self.cs }
    }
}
