//! The driver of backward-weight: for every tap, the sum over pictures and pixels of input times gradient.
//!
//! A task takes some blocks of pictures. Band by band of output rows it evaluates input and gradient into scratch, the
//! gradient in panels of 32 channels, and adds every tap's products of 8 input channels × 32 gradient channels, which stay
//! in registers over the whole band. Tasks leave gradients of their own, which are added in order afterwards.

use std::ops::Range;

use resnet_core::op::Conv2d;

use crate::direct::cut::Cut;
use crate::direct::gather::{is_shallow, side_by_side};
use crate::direct::geometry::Geometry;
use crate::direct::groups::Groups;
use crate::element::Element;
use crate::kernels::product::{HALF, Left, Operand, ROWS, Tap, Tile, WIDTH};
use crate::kernels::{Isa, sums};
use crate::load::{GradLoad, Load, Rows};
use crate::patch::Patch;
use crate::threads::{Scratch, ScratchLens};

/// Bytes of evaluated input and gradient that a task keeps in its cache.
const BUDGET: usize = 448 * 1024;

/// Steps of the sum over a panel of the gradient that are multiplied with all channels before the next ones are.
const STRETCH: usize = 128;

/// How the work is cut, for operands of `O`.
pub(crate) fn cut<O: Operand>(op: &Conv2d, geometry: &Geometry) -> Cut {
    let (budget, shallow) = (BUDGET / size_of::<O>(), is_shallow(&Groups::forward(op), geometry.window));
    let (n, depth, width) = (op.n(), op.c(), op.k().next_multiple_of(WIDTH));
    let row = |band: usize| {
        let reach = |o: usize| geometry.rows.reach(o..(o + band).min(op.p())).len();
        let rows = (0..op.p()).step_by(band).map(reach).max().unwrap_or(0);
        let columns = if shallow { padded_columns(op).max(op.w()) } else { op.w() };
        // One more pixel, on its way to lie side by side.
        ((rows * columns + 1) * depth, band * op.q() * width)
    };
    let whole = row(op.p());
    // A pixel of a shallow input is worth a call only with many pictures.
    let least = if shallow { 4 * ROWS } else { ROWS };
    let wanted = (budget / (whole.0 + whole.1)).max(least).min(n.div_ceil(8));
    let block = (wanted / ROWS * ROWS).max(ROWS).min(n);
    let mut band = op.p();
    while band > 1 && (row(band).0 + row(band).1) * block > budget {
        band = band.div_ceil(2);
    }
    let (input, gradient) = row(band);
    let v = block.next_multiple_of(O::STEP);
    let floats = |len: usize| (len * size_of::<O>()).div_ceil(size_of::<f32>());
    let spare = if O::STEP > 1 { floats(v * depth.max(WIDTH)) } else { 0 };
    let (a, b) = (floats(input * v), floats(gradient * v));
    let scratch = ScratchLens { a, b, c: spare, taps: band * op.q(), ..ScratchLens::default() };
    Cut::new(n, block, band, op.w_desc().len(), scratch)
}

/// Input columns that windows reach over, padding included.
fn padded_columns(op: &Conv2d) -> usize {
    (op.q() - 1) * op.stride() + op.s()
}

/// Backward-weight of one op.
pub(crate) struct WeightPass<'a, E> {
    pub(crate) isa: Isa,
    pub(crate) op: &'a Conv2d,
    pub(crate) geometry: &'a Geometry,
    pub(crate) groups: Groups,
    /// Stretches of the kernels that are not on padding everywhere.
    pub(crate) used: &'a [Range<usize>],
    pub(crate) cut: Cut,
    pub(crate) x: Load<'a, E>,
    pub(crate) dy: GradLoad<'a, E>,
    pub(crate) with_bias: bool,
}

impl<E: Element> WeightPass<'_, E> {
    /// Sets `dw`, in panels, and `dbias` to the sums over one chunk of the batch, with operands of `O`.
    pub(crate) fn chunk<O: Operand>(
        &self,
        chunk: usize,
        dw: &mut [f32],
        dbias: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let kernel = self.op.r() * self.op.s() * self.groups.depth;
        let all = 0..kernel;
        let used = if self.op.groups() == 1 { self.used } else { std::slice::from_ref(&all) };
        for panel in dw.chunks_exact_mut(kernel * WIDTH) {
            used.iter().for_each(|u| panel[u.start * WIDTH..u.end * WIDTH].fill(0.0));
        }
        dbias.fill(0.0);
        for (rows, pictures) in self.cut.bands(self.op, chunk) {
            self.band::<O>(rows, pictures, dw, dbias, scratch);
        }
    }

    fn band<O: Operand>(
        &self,
        rows: Range<usize>,
        pictures: Range<usize>,
        dw: &mut [f32],
        dbias: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let op = self.op;
        let (n_pictures, v) = (pictures.len(), pictures.len().next_multiple_of(O::STEP));
        let spare = if O::STEP > 1 { v * op.c().max(WIDTH) } else { 0 };
        let spare = scratch.c.take_as::<O>(spare);
        let pixels = rows.start * op.q()..rows.end * op.q();
        let dy = scratch.b.take_as::<O>(pixels.len() * v * op.k().next_multiple_of(WIDTH));
        let panel_len = pixels.len() * v * WIDTH;
        // Pixel by pixel, so that memory is read in the order in which it lies, not one panel after the other.
        for (at, pixel) in pixels.clone().enumerate() {
            if pixel + 1 < pixels.end {
                let next = (pixel + 1) * op.n();
                self.dy.prefetch(self.isa, next + pictures.start..next + pictures.end);
            }
            for (i, panel) in dy.chunks_exact_mut(panel_len).enumerate() {
                let channels = i * WIDTH..((i + 1) * WIDTH).min(op.k());
                let patch =
                    Patch { n: op.n(), pixels: pixel..pixel + 1, pictures: pictures.clone(), channels };
                let out = &mut panel[at * v * WIDTH..(at + 1) * v * WIDTH];
                patch.eval_steps(self.isa, &self.dy, out, WIDTH, spare);
            }
        }
        if self.with_bias {
            let add = if O::STEP == 1 { sums::columns } else { sums::paired_columns };
            for (panel, dbias) in dy.chunks_exact(panel_len).zip(dbias.chunks_mut(WIDTH)) {
                add(self.isa, panel, WIDTH, dbias);
            }
        }

        let reach = self.geometry.rows.reach(rows.clone());
        if is_shallow(&self.groups, self.geometry.window)
            && let Some(dy) = O::as_f32(dy)
        {
            let x = scratch.a.take((reach.len() * padded_columns(op) + 1) * n_pictures * op.c());
            self.shallow(rows, reach, pictures, x, dy, &mut scratch.taps, dw);
            return;
        }
        let pixels = reach.start * op.w()..reach.end * op.w();
        let x = scratch.a.take_as::<O>(pixels.len() * v * op.c());
        let patch = Patch { n: op.n(), pixels, pictures, channels: 0..op.c() };
        patch.eval_steps(self.isa, &self.x, x, op.c(), spare);

        for tap in 0..op.r() * op.s() {
            let mut runs = std::mem::take(&mut scratch.taps);
            let depth = self.runs(tap, rows.clone(), reach.start, v, &mut runs);
            for (i, dy) in dy.chunks_exact(panel_len).enumerate() {
                let at = (i * op.r() * op.s() + tap) * self.groups.depth * WIDTH;
                self.tap(i, x, dy, &runs, depth / O::STEP, &mut dw[at..][..self.groups.depth * WIDTH]);
            }
            scratch.taps = runs;
        }
    }

    /// Adds one tap's products for one panel of the gradient.
    fn tap<O: Operand>(&self, panel: usize, x: &[O], dy: &[O], runs: &[Tap], steps: usize, dw: &mut [f32]) {
        if runs.is_empty() {
            return; // the whole tap is padding
        }
        let (channels, skipped) = (self.groups.depth, self.groups.first(panel));
        let width = if self.op.k() - panel * WIDTH <= HALF { HALF } else { WIDTH };
        // Some stretches at a time, so that their part of the panel stays in the innermost cache for all channels.
        for runs in runs.chunks((STRETCH / steps).max(1)) {
            for done in (0..steps).step_by(STRETCH) {
                let mut from = [Tap::default(); STRETCH];
                let from = &mut from[..runs.len()];
                for (from, run) in from.iter_mut().zip(runs) {
                    *from = Tap {
                        a: run.a + done * O::STEP * self.groups.row,
                        b: run.b + done * O::STEP * WIDTH,
                    };
                }
                for first in (0..channels).step_by(ROWS) {
                    let rows = ROWS.min(channels - first);
                    let data = &x[(skipped + first) * O::STEP..];
                    let a = Left { data, row: O::STEP, step: O::STEP * self.groups.row };
                    let tile = Tile { data: &mut dw[first * WIDTH..], stride: WIDTH, rows, width };
                    O::product(self.isa, a, dy, from, STRETCH.min(steps - done), tile, true);
                }
            }
        }
    }

    /// The same for an input of few channels: a row of the window is one matrix of (columns · channels) × pictures at every
    /// output pixel, the input's columns being padded with zeros.
    fn shallow(
        &self,
        rows: Range<usize>,
        reach: Range<usize>,
        pictures: Range<usize>,
        x: &mut [f32],
        dy: &[f32],
        taps: &mut Vec<Tap>,
        dw: &mut [f32],
    ) {
        let (op, v, columns) = (self.op, pictures.len(), padded_columns(self.op));
        let (c, left) = (op.c(), op.padding().left);
        let (x, spare) = x.split_at_mut(reach.len() * columns * v * c);
        for (i, out) in x.chunks_exact_mut(v * c).enumerate() {
            let (y, column) = (reach.start + i / columns, i % columns);
            let Some(at) = column.checked_sub(left).filter(|&at| at < op.w()) else {
                out.fill(0.0);
                continue;
            };
            let first = (y * op.w() + at) * op.n();
            side_by_side(self.isa, &self.x, first + pictures.start..first + pictures.end, c, spare, out);
        }
        let kernel = op.r() * op.s() * c;
        let panel_len = rows.len() * op.q() * v * WIDTH;
        for r in 0..op.r() {
            taps.clear();
            for row in rows.clone() {
                let Some(&(y, _)) = self.geometry.rows.at(row).iter().find(|p| p.1 == r) else { continue };
                taps.extend((0..op.q()).map(|q| Tap {
                    a: ((y - reach.start) * columns + q * op.stride()) * v * c,
                    b: ((row - rows.start) * op.q() + q) * v * WIDTH,
                }));
            }
            if taps.is_empty() {
                continue; // the whole row is padding
            }
            let across = op.s() * c;
            for (i, dy) in dy.chunks_exact(panel_len).enumerate() {
                let dw = &mut dw[(i * kernel + r * across) * WIDTH..][..across * WIDTH];
                let width = if op.k() - i * WIDTH <= HALF { HALF } else { WIDTH };
                for first in (0..across).step_by(ROWS) {
                    let a = Left { data: &x[first * v..], row: v, step: 1 };
                    let rows = ROWS.min(across - first);
                    let tile = Tile { data: &mut dw[first * WIDTH..], stride: WIDTH, rows, width };
                    f32::product(self.isa, a, dy, taps, v, tile, true);
                }
            }
        }
    }

    /// Where input and gradient of one tap begin, for stretches of equal length, which is returned.
    fn runs(&self, tap: usize, rows: Range<usize>, first_in: usize, v: usize, runs: &mut Vec<Tap>) -> usize {
        runs.clear();
        let (op, g) = (self.op, self.geometry);
        let (r, s) = (tap / op.s(), tap % op.s());
        // The output columns that read this column of the window follow each other.
        let reads = |column: &usize| g.columns.at(*column).iter().find(|p| p.1 == s).map(|p| p.0);
        let Some(start) = (0..op.q()).find(|c| reads(c).is_some()) else { return 1 };
        let columns = (start..op.q()).take_while(|c| reads(c).is_some()).count();
        // With stride 1 both operands run on from column to column.
        let (n_runs, len) = if op.stride() == 1 { (1, columns * v) } else { (columns, v) };
        for row in rows.clone() {
            let Some(&(y, _)) = g.rows.at(row).iter().find(|p| p.1 == r) else { continue };
            for i in 0..n_runs {
                let Some(x) = reads(&(start + i)) else { continue };
                runs.push(Tap {
                    a: ((y - first_in) * op.w() + x) * v * op.c(),
                    b: ((row - rows.start) * op.q() + start + i) * v * WIDTH,
                });
            }
        }
        len
    }
}
