//! The driver of forward and backward-data: `out[rows] = Σ_taps in[rows under the tap] · W[tap]`.
//!
//! Input rows are evaluated (normalisation, residual, ReLU) into panels in cache, which are multiplied tap by tap.
//! There are two ways to cut the work:
//! - **by pixel**, where a pixel has many pictures and many channels. Each input pixel that a tile reads is evaluated once,
//!   and serves every window that it is in. Taps on padding cost nothing.
//! - **im2col**, where there are few of either. A panel holds the rows of a tile under several taps, side by side.
//!
//! Panels are transposed: the product packs its left operand fast where rows are contiguous.

use super::im2col;
use super::weights::Weights;
use crate::kernels::Isa;
use crate::kernels::gemm::{Mat, gemm};
use crate::kernels::transpose::transpose;
use crate::load::Rows;
use crate::threads::{Scratch, ScratchLens};
use crate::window::segments;

/// How a direction of a convolution is cut. Depends on the problem alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Tiles of whole pixels or parts of one, evaluated in blocks of pictures.
    ByPixel {
        /// Rows per tile.
        tile_rows: usize,
        /// Pictures per block.
        block: usize,
        /// Most input pixels that a tile reads.
        n_slots: usize,
    },
    /// Tiles of rows, evaluated per tap or group of taps.
    Im2col {
        /// Rows per tile.
        tile_rows: usize,
    },
}

/// What a cut is made of: extents of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    /// Pictures.
    pub(crate) n: usize,
    /// Output pixels.
    pub(crate) pixels: usize,
    /// Input pixels.
    pub(crate) in_pixels: usize,
    pub(crate) groups: usize,
    /// Rows and columns of the window.
    pub(crate) window: (usize, usize),
    /// Channels to sum over, per group.
    pub(crate) depth: usize,
}

impl Cut {
    /// Chooses a cut.
    pub(crate) fn new(e: &Extents) -> Self {
        /// Pictures and channels from which on a product per pixel is worth its overhead.
        const MIN_PICTURES: usize = 48;
        const MIN_DEPTH: usize = 16;
        /// Pictures per block: enough rows for a product, few enough for the pixels of a tile to stay in cache.
        const BLOCK: usize = 128;
        /// Most output pixels per tile, fewest tiles, and most floats in the input pixels of a tile.
        const PIXELS: usize = 8;
        const TILES: usize = 16;
        const BUDGET: usize = 640 << 10;

        let (r, s) = e.window;
        if e.n < MIN_PICTURES || e.depth < MIN_DEPTH || e.groups > 1 || r * s == 1 {
            return Cut::Im2col { tile_rows: im2col::tile_rows(e.pixels, e.n) };
        }
        let target = BLOCK.min((e.pixels * e.n).div_ceil(4)).max(16);
        let block = e.n.div_ceil(e.n.div_ceil(target));
        let most = |pixels: usize| (pixels * r * s).min(e.in_pixels);
        if e.pixels < TILES {
            return Cut::ByPixel { tile_rows: block, block, n_slots: most(2) };
        }
        let fits = |pixels: usize| {
            // Pixels of one row share most of what they read.
            let reads = (r * (pixels + s - 1)).min(e.in_pixels);
            pixels * TILES <= e.pixels && reads * e.depth * leading(block) <= BUDGET
        };
        let pixels = (2..=PIXELS).rev().find(|&pixels| fits(pixels)).unwrap_or(1);
        Cut::ByPixel { tile_rows: pixels * e.n, block, n_slots: most(pixels) }
    }

    /// Rows per tile.
    pub(crate) fn tile_rows(&self) -> usize {
        match *self {
            Cut::ByPixel { tile_rows, .. } | Cut::Im2col { tile_rows } => tile_rows,
        }
    }

    /// Scratch per task.
    pub(crate) fn scratch(&self, e: &Extents) -> ScratchLens {
        match *self {
            Cut::ByPixel { block, n_slots, .. } => {
                let a = n_slots * e.depth * leading(block);
                ScratchLens { a, b: STRIP * e.depth, halo: e.in_pixels, ..Default::default() }
            }
            Cut::Im2col { tile_rows } => {
                let len = im2col::panel_len(tile_rows, e.window.0 * e.window.1, e.depth);
                ScratchLens { a: len, b: len, ..Default::default() }
            }
        }
    }
}

/// Rows that are evaluated before they are transposed.
const STRIP: usize = 16;

/// Distance of columns in a panel of `rows` rows: an odd number of cache lines, so that columns spread over all sets.
fn leading(rows: usize) -> usize {
    (rows.div_ceil(16) | 1) * 16
}

/// One direction of a convolution.
pub(crate) struct Gather<'a, R, L> {
    pub(crate) isa: Isa,
    pub(crate) extents: Extents,
    pub(crate) cut: Cut,
    /// What is read.
    pub(crate) rows: R,
    /// The pixel to read for an output pixel and a tap.
    pub(crate) locate: L,
    pub(crate) weights: Weights<'a>,
}

impl<R: Rows, L: Fn(usize, usize) -> Option<usize>> Gather<'_, R, L> {
    /// Computes whole output rows from `first_row` on, or adds to them.
    pub(crate) fn tile(&self, first_row: usize, out: &mut [f32], add: bool, scratch: &mut Scratch) {
        match self.cut {
            Cut::ByPixel { block, .. } => self.by_pixel(first_row, out, add, block, scratch),
            Cut::Im2col { .. } => self.im2col(first_row, out, add, scratch),
        }
    }

    fn by_pixel(&self, first_row: usize, out: &mut [f32], add: bool, block: usize, scratch: &mut Scratch) {
        let (n, n_taps) = (self.extents.n, self.weights.n_taps);
        let (depth, width) = (self.weights.depth, self.weights.width);
        let ld = leading(block);
        let cut = segments(first_row..first_row + out.len() / width, n);
        let n_slots = scratch.halo.number(self.extents.in_pixels, cut.clone(), n_taps, &self.locate);
        let panels = scratch.a.take(n_slots * depth * ld);
        for start in (0..n).step_by(block) {
            let end = (start + block).min(n);
            if !cut.clone().any(|s| s.within(start..end).is_some()) {
                continue;
            }
            for (panel, pixel) in panels.chunks_exact_mut(depth * ld).zip(scratch.halo.pixels()) {
                self.evaluate(pixel * n + start..pixel * n + end, panel, ld, scratch.b.take(STRIP * depth));
            }
            for s in cut.clone().filter_map(|s| s.within(start..end)) {
                let out = &mut out[s.at.start * width..s.at.end * width];
                let mut written = add;
                for run in scratch.halo.runs(s.pixel, n_taps, &self.locate) {
                    for taps in self.weights.stacks(run.taps.clone()) {
                        let slot = run.slot + taps.start - run.taps.start;
                        let a = &panels[slot * depth * ld + s.pictures.start - start..];
                        let a = Mat { data: a, rs: 1, cs: ld };
                        let b = self.weights.matrix(0, taps.start);
                        let beta = if written { 1.0 } else { 0.0 };
                        gemm((s.pictures.len(), taps.len() * depth, width), a, b, beta, out, width);
                        written = true;
                    }
                }
                if !written {
                    out.fill(0.0);
                }
            }
        }
    }

    /// Evaluates rows into a transposed panel.
    fn evaluate(&self, rows: std::ops::Range<usize>, panel: &mut [f32], ld: usize, strip: &mut [f32]) {
        let depth = self.weights.depth;
        for (i, start) in rows.clone().step_by(STRIP).enumerate() {
            let end = (start + STRIP).min(rows.end);
            let strip = &mut strip[..(end - start) * depth];
            self.rows.eval(self.isa, start..end, 0..depth, strip, depth);
            transpose(self.isa, strip, depth, (end - start, depth), &mut panel[i * STRIP..], ld);
        }
    }

    fn im2col(&self, first_row: usize, out: &mut [f32], add: bool, scratch: &mut Scratch) {
        let (groups, depth, width) = (self.extents.groups, self.weights.depth, self.weights.width);
        let n_rows = out.len() / (groups * width);
        let n_taps = self.weights.n_taps;
        let cut = segments(first_row..first_row + n_rows, self.extents.n);
        let step = self.weights.taps_for(im2col::DEPTH);
        let mut written = add;
        for tap in (0..n_taps).step_by(step) {
            let taps = tap..(tap + step).min(n_taps);
            if !im2col::reads(cut.clone(), taps.clone(), &self.locate) {
                continue; // all of it is padding
            }
            let k = taps.len() * depth;
            for group in 0..groups {
                let view = im2col::View {
                    isa: self.isa,
                    source: &self.rows,
                    n: self.extents.n,
                    channels: group * depth..(group + 1) * depth,
                    locate: &self.locate,
                };
                let panel = scratch.a.take(n_rows * k);
                view.columns(cut.clone(), taps.clone(), panel, &mut scratch.b);
                let a = Mat { data: panel, rs: 1, cs: n_rows };
                let beta = if written { 1.0 } else { 0.0 };
                let out = &mut out[group * width..];
                gemm((n_rows, k, width), a, self.weights.matrix(group, tap), beta, out, groups * width);
            }
            written = true;
        }
        if !written {
            out.fill(0.0);
        }
    }
}
