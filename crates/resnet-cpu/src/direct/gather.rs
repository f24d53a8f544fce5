//! The driver of forward and backward-data: every output pixel is a sum over the input pixels of its window.
//!
//! A task writes some pictures at a band of rows. It evaluates the input rows it needs (normalisation, residual, ReLU) into
//! scratch that stays in its cache, `rows × columns × pictures × channels`, and then sums tile by tile in registers, over
//! all taps and channels at once. Taps on padding are left out. What is written is finished while it is near.

use std::ops::Range;

use crate::direct::blocks::{Cell, Grid};
use crate::direct::geometry::Geometry;
use crate::direct::groups::Groups;
use crate::kernels::Isa;
use crate::kernels::product::{Left, Operand, ROWS, Tap, Tile, WIDTH};
use crate::kernels::transpose::transpose;
use crate::load::Rows;
use crate::memory::Memory;
use crate::patch::Patch;

/// Most positions of a window.
pub(crate) const MAX_TAPS: usize = 64;

/// Bytes of evaluated input that a task keeps in its cache.
const INPUT_BUDGET: usize = 384 * 1024;

/// Bytes of evaluated input and of output: what is written is read again to be finished.
const BUDGET: usize = 576 * 1024;

/// Bytes of weights that are read again and again before the next ones are.
const WEIGHT_BUDGET: usize = 384 * 1024;

/// One direction of a convolution.
pub(crate) struct Gather<'a, R, O> {
    pub(crate) isa: Isa,
    pub(crate) n: usize,
    /// Channels to sum over.
    pub(crate) groups: Groups,
    /// Channels of the output.
    pub(crate) width: usize,
    pub(crate) geometry: &'a Geometry,
    pub(crate) rows: R,
    /// Weights in panels.
    pub(crate) panels: &'a [O],
    /// Whether what is there is added to.
    pub(crate) add: bool,
}

/// How the output is cut, and what a task needs. Depends on the problem alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) grid: Grid,
    /// Floats of scratch for evaluated input.
    pub(crate) scratch: usize,
}

/// Whether an input has so few channels that a sum over them alone would be too short: pictures.
///
/// Such an input is evaluated with the pictures of a channel side by side, `pixels × channels × pictures`, so that the channels
/// of neighbouring pixels follow each other at one distance, and a row of the window is one sum.
pub(crate) fn is_shallow(groups: &Groups, window: (usize, usize)) -> bool {
    groups.is_whole() && groups.row < 8 && window.1 > 1
}

/// Whether a panel's inputs can be multiplied two by two: a last one without another must have nothing but zeros behind it.
pub(crate) fn pairs(groups: &Groups, window: (usize, usize)) -> bool {
    !is_shallow(groups, window) && (groups.is_whole() || groups.depth.is_multiple_of(2))
}

impl Cut {
    /// For an operand of `O`.
    pub(crate) fn new<O: Operand>(geometry: &Geometry, n: usize, groups: &Groups, width: usize) -> Self {
        let (height, columns) = geometry.out;
        let (depth, budget) = (groups.row.next_multiple_of(O::STEP), INPUT_BUDGET / size_of::<O>());
        // Pictures: enough for a tile, more where pictures are small.
        let picture = geometry.rows.reach(0..height).len() * geometry.in_columns * depth;
        let wanted = (budget / picture.max(1)).min(n.div_ceil(16)) / ROWS * ROWS;
        // A pixel of a shallow input is worth a call only with many pictures.
        let least = if is_shallow(groups, geometry.window) { 8 * ROWS } else { ROWS };
        let block = wanted.max(least).min(n);
        let row = |rows: Range<usize>| geometry.rows.reach(rows).len() * geometry.in_columns * depth * block;
        // Rows: as many as fit, but bands enough for several threads where there are few pictures.
        let mut band = height;
        let most = |band: usize| {
            (0..height).step_by(band).map(|o| row(o..(o + band).min(height))).max().unwrap_or(0)
        };
        let all =
            |band: usize| most(band) * size_of::<O>() + band * columns * width * block * size_of::<f32>();
        while band > 1
            && (most(band) > budget || all(band) > BUDGET || n.div_ceil(block) * height.div_ceil(band) < 8)
        {
            band = band.div_ceil(2);
        }
        let grid = Grid { pixels: height * columns, n, band: band * columns, block };
        // One more pixel, on its way to lie side by side.
        let len = most(band) + block * depth;
        Self { grid, scratch: (len * size_of::<O>()).div_ceil(size_of::<f32>()) }
    }
}

impl<R: Rows, O: Operand> Gather<'_, R, O> {
    /// Inputs that a panel sums over, zeros included.
    fn depth(&self) -> usize {
        self.groups.depth.next_multiple_of(O::STEP)
    }

    /// Numbers from one picture of the evaluated input to the next.
    fn row_len(&self) -> usize {
        self.groups.row.next_multiple_of(O::STEP)
    }

    /// Computes the rows of a cell.
    pub(crate) fn cell(&self, cell: &mut Cell<'_, f32>, scratch: &mut Memory) {
        let (columns, v) = (self.geometry.out.1, cell.pictures.len());
        let rows = cell.pixels.start / columns..cell.pixels.end / columns;
        let reach = self.geometry.rows.reach(rows.clone());
        let (isa, depth) = (self.isa, self.row_len());
        let pixel = v * depth;
        let input = scratch.take_as::<O>((reach.len() * self.geometry.in_columns + 1) * pixel);
        let (input, spare) = input.split_at_mut(reach.len() * self.geometry.in_columns * pixel);
        let pixels = reach.start * self.geometry.in_columns..reach.end * self.geometry.in_columns;
        let shallow = is_shallow(&self.groups, self.geometry.window);
        if shallow && let (Some(input), Some(spare)) = (O::as_f32_mut(input), O::as_f32_mut(spare)) {
            for (at, out) in pixels.zip(input.chunks_exact_mut(pixel)) {
                let from = at * self.n + cell.pictures.start..at * self.n + cell.pictures.end;
                side_by_side(isa, &self.rows, from, depth, spare, out);
            }
        } else {
            let patch =
                Patch { n: self.n, pixels, pictures: cell.pictures.clone(), channels: 0..self.groups.row };
            patch.eval(isa, &self.rows, input, depth, pixel);
        }
        // All panels that fit the budget are used for one tile after the other, then the next ones for the whole cell.
        let panel = self.geometry.window.0 * self.geometry.window.1 * self.depth() * WIDTH;
        let group = (WEIGHT_BUDGET / size_of::<O>() / panel).max(1);
        let n_panels = self.width.div_ceil(WIDTH);
        for first in (0..n_panels).step_by(group) {
            for row in rows.clone() {
                self.row(row, reach.start, first..(first + group).min(n_panels), panel, cell, input);
            }
        }
    }

    /// One row of output pixels, for some panels.
    fn row(
        &self,
        row: usize,
        first_in: usize,
        panels: Range<usize>,
        panel_len: usize,
        cell: &mut Cell<'_, f32>,
        input: &[O],
    ) {
        let (g, v) = (self.geometry, cell.pictures.len());
        let columns = g.out.1;
        let (depth, row_len) = (self.depth(), self.row_len());
        let shallow = is_shallow(&self.groups, g.window);
        let mut column = 0;
        while column < columns {
            // Pixels whose windows look alike make one tile, if their rows follow each other on both sides.
            let run = match g.step {
                Some(step) if v == self.n && (v == 1 || step == 1 && !shallow) => {
                    g.columns.run(column, columns, step)
                }
                _ => 1,
            };
            let mut taps = [Tap::default(); MAX_TAPS];
            let mut n_taps = 0;
            // A shallow input's row of the window is one sum, where its pixels follow each other.
            let across = g.columns.at(column);
            let whole = shallow && across.windows(2).all(|p| (p[0].0 + 1, p[0].1 + 1) == p[1]);
            let (across, depth) = match whole {
                true => (&across[..across.len().min(1)], depth * across.len()),
                false => (across, depth),
            };
            for &(y, r) in g.rows.at(row) {
                for &(x, s) in across {
                    let a = ((y - first_in) * g.in_columns + x) * v * row_len;
                    taps[n_taps] = Tap { a, b: (r * g.window.1 + s) * self.depth() * WIDTH };
                    n_taps += 1;
                }
            }
            let a = match v {
                1 => Left { data: input, row: row_len * g.step.unwrap_or(1), step: O::STEP },
                _ if shallow => Left { data: input, row: 1, step: v },
                _ => Left { data: input, row: row_len, step: O::STEP },
            };
            let pixel = row * columns + column;
            let out = cell.run(pixel..pixel + run);
            column += run;
            if n_taps == 0 {
                // No window reaches this pixel: a stride larger than the kernel.
                if !self.add {
                    out.fill(0.0);
                }
                continue;
            }
            self.tiles(a, &taps[..n_taps], depth / O::STEP, panels.clone(), panel_len, out);
        }
    }

    /// Rows that follow each other, tile by tile.
    fn tiles(
        &self,
        a: Left<'_, O>,
        taps: &[Tap],
        depth: usize,
        panels: Range<usize>,
        panel_len: usize,
        out: &mut [f32],
    ) {
        let n_rows = out.len() / self.width;
        for panel in panels {
            let b = &self.panels[panel * panel_len..][..panel_len];
            let first = panel * WIDTH;
            let width = WIDTH.min(self.width - first);
            for row in (0..n_rows).step_by(ROWS) {
                let rows = ROWS.min(n_rows - row);
                let out = &mut out[row * self.width + first..];
                let a = Left { data: &a.data[row * a.row + self.groups.first(panel)..], ..a };
                let tile = Tile { data: out, stride: self.width, rows, width };
                O::product(self.isa, a, b, taps, depth, tile, self.add);
            }
        }
    }
}

/// Evaluates one pixel of a shallow input: `channels × pictures`.
pub(crate) fn side_by_side(
    isa: Isa,
    rows: &impl Rows,
    pictures: Range<usize>,
    depth: usize,
    spare: &mut [f32],
    out: &mut [f32],
) {
    let v = pictures.len();
    let values = match rows.stored(pictures.clone()) {
        Some(values) => values,
        None => {
            rows.eval(isa, pictures, 0..depth, spare, depth);
            spare
        }
    };
    match depth {
        1 => out.copy_from_slice(values),
        _ => transpose(isa, values, depth, (v, depth), out, v),
    }
}
