//! The driver of forward and backward-data: `out[rows] = Σ_taps in[rows under the tap] · W[tap]`.
//!
//! The input rows of a tap are evaluated (normalisation, residual, ReLU) into a panel in cache, then multiplied.
//! Where they are plain numbers in memory they are multiplied where they lie.
//! Taps with few channels share a panel, so that the product has some depth: that is im2col for the stem and for groups.

use std::ops::Range;

use crate::kernels::Isa;
use crate::kernels::gemm::{Mat, gemm};
use crate::load::Rows;
use crate::threads::Panel;
use crate::window::{Segment, segments};

/// Weights as the driver multiplies them: element `(tap, i, j)` of group `g` is at `g·group + tap·tap_stride + i·rs + j·cs`,
/// with `i` along the sum and `j` along the output.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) group: usize,
    pub(crate) tap_stride: usize,
    pub(crate) rs: usize,
    pub(crate) cs: usize,
}

/// One direction of a convolution.
pub(crate) struct Gather<'a, R, L> {
    pub(crate) isa: Isa,
    /// Pictures.
    pub(crate) n: usize,
    pub(crate) groups: usize,
    pub(crate) n_taps: usize,
    /// Channels to sum over, per group.
    pub(crate) depth: usize,
    /// Channels of the output, per group.
    pub(crate) width: usize,
    /// What is read.
    pub(crate) rows: R,
    /// The pixel to read for an output pixel and a tap.
    pub(crate) locate: L,
    pub(crate) weights: Weights<'a>,
}

/// Taps that share a panel: enough for a sum over 64 numbers, if the weights of consecutive taps follow each other.
pub(crate) fn taps_per_panel(n_taps: usize, depth: usize, weights: &Weights<'_>) -> usize {
    const DEPTH: usize = 64;
    if weights.tap_stride == depth * weights.rs { DEPTH.div_ceil(depth).min(n_taps) } else { 1 }
}

/// Floats that [`Gather::tile`] needs for tiles of `rows` rows.
pub(crate) fn panel_len(rows: usize, n_taps: usize, depth: usize) -> usize {
    rows * depth * 64usize.div_ceil(depth).min(n_taps)
}

impl<R: Rows, L: Fn(usize, usize) -> Option<usize>> Gather<'_, R, L> {
    /// Computes whole output rows from `first_row` on, or adds to them.
    pub(crate) fn tile(&self, first_row: usize, out: &mut [f32], add: bool, panel: &mut Panel) {
        let c_out = self.groups * self.width;
        let n_rows = out.len() / c_out;
        let cut = segments(first_row..first_row + n_rows, self.n);
        let step = taps_per_panel(self.n_taps, self.depth, &self.weights);
        let mut written = add;
        for tap in (0..self.n_taps).step_by(step) {
            let taps = tap..(tap + step).min(self.n_taps);
            let reads = |s: &Segment, tap: usize| (self.locate)(s.pixel, tap).is_some();
            if !cut.clone().any(|s| taps.clone().any(|tap| reads(&s, tap))) {
                continue; // all of it is padding
            }
            for group in 0..self.groups {
                let k = taps.len() * self.depth;
                let w = &self.weights;
                let b = Mat { data: &w.data[group * w.group + tap * w.tap_stride..], rs: w.rs, cs: w.cs };
                let a = match self.in_place(cut.clone(), &taps) {
                    Some(stored) => Mat::rows(stored, self.depth),
                    None => {
                        let panel = panel.take(n_rows * k);
                        let channels = group * self.depth..(group + 1) * self.depth;
                        fill_panel(
                            self.isa,
                            &self.rows,
                            cut.clone(),
                            taps.clone(),
                            channels,
                            self.n,
                            &self.locate,
                            panel,
                        );
                        Mat::rows(panel, k)
                    }
                };
                let beta = if written { 1.0 } else { 0.0 };
                gemm((n_rows, k, self.width), a, b, beta, &mut out[group * self.width..], c_out);
            }
            written = true;
        }
        if !written {
            out.fill(0.0);
        }
    }

    /// The input rows in memory, if a single tap reads consecutive ones as they are.
    fn in_place(&self, mut cut: impl Iterator<Item = Segment>, taps: &Range<usize>) -> Option<&[f32]> {
        if self.groups > 1 || taps.len() > 1 {
            return None;
        }
        let (first, rest) = (cut.next()?, cut.next());
        if rest.is_some() && self.n_taps > 1 {
            return None;
        }
        let start = (self.locate)(first.pixel, taps.start)? * self.n + first.pictures.start;
        let mut end = start + first.pictures.len();
        for s in rest.into_iter().chain(cut) {
            let row = (self.locate)(s.pixel, taps.start)? * self.n + s.pictures.start;
            if row != end {
                return None;
            }
            end += s.pictures.len();
        }
        self.rows.stored(start..end)
    }
}

/// Evaluates the input rows of some taps into a panel, taps side by side; padding is zero.
pub(super) fn fill_panel<R: Rows>(
    isa: Isa,
    rows: &R,
    cut: impl Iterator<Item = Segment>,
    taps: Range<usize>,
    channels: Range<usize>,
    n: usize,
    locate: impl Fn(usize, usize) -> Option<usize>,
    panel: &mut [f32],
) {
    let depth = channels.len();
    let stride = taps.len() * depth;
    for s in cut {
        for (i, tap) in taps.clone().enumerate() {
            let out = &mut panel[s.at.start * stride + i * depth..s.at.end * stride];
            match locate(s.pixel, tap) {
                Some(pixel) => {
                    let from = pixel * n + s.pictures.start..pixel * n + s.pictures.end;
                    rows.eval(isa, from, channels.clone(), out, stride);
                }
                None => out.chunks_mut(stride).for_each(|row| row[..depth].fill(0.0)),
            }
        }
    }
}
