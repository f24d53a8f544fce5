//! Forward and backward-data by tiles: rows of pictures at a pixel times weights, summed over taps and channels.
//!
//! A task writes some pictures at a band of rows, as in [`direct::gather`](crate::direct::gather). It evaluates and splits the
//! input rows it needs, `[channels / 32][piece][pixel][picture][32 channels]`: the rows of a tile follow each other, and
//! whether they are pictures of one pixel or, where there are few pictures, of several, is all the same to it.

use std::ops::Range;

use crate::direct::amx::panels::panel_len;
use crate::direct::blocks::{Cell, Grid};
use crate::direct::geometry::Geometry;
use crate::kernels::Isa;
use crate::kernels::amx::{Amx, BLOCK, Entered, Left, PIECE, product};
use crate::kernels::product::{Tap, Tile, WIDTH};
use crate::load::Rows;
use crate::patch::Patch;
use crate::threads::{Scratch, ScratchLens};

/// Bytes of split input that a task keeps in its cache. Processors with AMX have 2 MiB of it per core.
const INPUT_BUDGET: usize = 768 * 1024;

/// Bytes of weights that are read again and again before the next ones are.
const WEIGHT_BUDGET: usize = 512 * 1024;

/// Rows behind the last one that a tile may read: all but one of a block, two apart.
const SLACK: usize = 2 * BLOCK;

/// Rows that are evaluated before they are split.
const STRIP: usize = 2 * BLOCK;

/// How the output is cut, and what a task needs. Depends on the problem alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) grid: Grid,
    pub(crate) scratch: ScratchLens,
}

impl Cut {
    pub(crate) fn new(amx: Amx, geometry: &Geometry, n: usize, depth: usize) -> Self {
        let (height, columns) = geometry.out;
        let row_bytes = depth.div_ceil(BLOCK) * amx.products().pieces() * BLOCK * size_of::<u16>();
        let bytes = |rows: Range<usize>, block: usize| {
            geometry.rows.reach(rows).len() * geometry.in_columns * block * row_bytes
        };
        // Pictures: whole blocks, as many as fit where pictures are small, since they share the weights.
        let wanted = (INPUT_BUDGET / bytes(0..height, 1).max(1)).min(n.div_ceil(8)) / BLOCK * BLOCK;
        let block = wanted.max(BLOCK).min(n);
        // Rows: as many as fit, but bands enough for several threads where there are few pictures.
        let most = |band: usize| {
            (0..height).step_by(band).map(|o| bytes(o..(o + band).min(height), block)).max().unwrap_or(0)
        };
        let mut band = height;
        while band > 1 && (most(band) > INPUT_BUDGET || n.div_ceil(block) * height.div_ceil(band) < 8) {
            band = band.div_ceil(2);
        }
        let grid = Grid { pixels: height * columns, n, band: band * columns, block };
        let taps = geometry.window.0 * geometry.window.1 * depth.div_ceil(BLOCK);
        let len = most(band) + SLACK * row_bytes;
        let scratch = ScratchLens {
            a: len.div_ceil(size_of::<f32>()),
            b: block.max(STRIP) * BLOCK,
            taps,
            ..ScratchLens::default()
        };
        Self { grid, scratch }
    }
}

/// One direction of a convolution without groups.
pub(crate) struct Gather<'a, R> {
    pub(crate) isa: Isa,
    pub(crate) amx: Amx,
    pub(crate) n: usize,
    /// Channels to sum over.
    pub(crate) depth: usize,
    /// Channels of the output.
    pub(crate) width: usize,
    pub(crate) geometry: &'a Geometry,
    pub(crate) rows: R,
    /// Weights in panels.
    pub(crate) panels: &'a [u16],
    /// Whether what is there is added to.
    pub(crate) add: bool,
}

/// The input of a cell, split.
struct Input<'a> {
    data: &'a [u16],
    /// Numbers from one piece to the next.
    plane: usize,
    /// The first row of pixels that is there.
    first: usize,
}

impl<R: Rows> Gather<'_, R> {
    /// Blocks of channels to sum over.
    fn blocks(&self) -> usize {
        self.depth.div_ceil(BLOCK)
    }

    /// Computes the rows of a cell.
    pub(crate) fn cell(&self, cell: &mut Cell<'_, f32>, scratch: &mut Scratch) {
        let g = self.geometry;
        let rows = cell.pixels.start / g.out.1..cell.pixels.end / g.out.1;
        let reach = g.rows.reach(rows.clone());
        let pixels = reach.start * g.in_columns..reach.end * g.in_columns;
        let plane = (pixels.len() * cell.pictures.len() + SLACK) * BLOCK;
        let data = scratch.a.take_as::<u16>(self.blocks() * self.amx.products().pieces() * plane);
        let strip = scratch.b.take(cell.pictures.len().max(STRIP) * BLOCK);
        self.evaluate(pixels, cell.pictures.clone(), plane, strip, data);

        let input = Input { data, plane, first: reach.start };
        let panel = panel_len(self.amx, g.window.0 * g.window.1, self.depth);
        let group = (WEIGHT_BUDGET / size_of::<u16>() / panel).max(1);
        let n_panels = self.width.div_ceil(WIDTH);
        let entered = self.amx.enter();
        // All panels that fit the budget are used for one block of rows after the other, then the next ones for the whole cell.
        for first in (0..n_panels).step_by(group) {
            let panels = first..(first + group).min(n_panels);
            for row in rows.clone() {
                self.row(&entered, row, panels.clone(), panel, &input, cell, &mut scratch.taps);
            }
        }
    }

    /// Evaluates and splits the input of a cell.
    fn evaluate(
        &self,
        pixels: Range<usize>,
        pictures: Range<usize>,
        plane: usize,
        strip: &mut [f32],
        out: &mut [u16],
    ) {
        let v = pictures.len();
        // Where all pictures are read, the rows of several pixels follow each other.
        let step = if v == self.n { (STRIP / v).max(1) } else { 1 };
        for block in 0..self.blocks() {
            let channels = block * BLOCK..((block + 1) * BLOCK).min(self.depth);
            let out = &mut out[block * self.amx.products().pieces() * plane..];
            for first in pixels.clone().step_by(step) {
                let some = first..(first + step).min(pixels.end);
                let len = some.len() * v * BLOCK;
                let patch =
                    Patch { n: self.n, pixels: some, pictures: pictures.clone(), channels: channels.clone() };
                patch.eval(self.isa, &self.rows, &mut strip[..len], BLOCK, v * BLOCK);
                self.amx.split(&strip[..len], &mut out[(first - pixels.start) * v * BLOCK..], plane);
            }
        }
    }

    /// One row of output pixels, for some panels.
    fn row(
        &self,
        entered: &Entered,
        row: usize,
        panels: Range<usize>,
        panel_len: usize,
        input: &Input<'_>,
        cell: &mut Cell<'_, f32>,
        taps: &mut Vec<Tap>,
    ) {
        let (g, v, pieces) = (self.geometry, cell.pictures.len(), self.amx.products().pieces());
        let columns = g.out.1;
        let mut column = 0;
        while column < columns {
            // Pixels whose windows look alike make one tile, if their rows follow each other on both sides.
            let run = match g.step {
                Some(step) if v == self.n && (v == 1 && step <= 2 || step == 1) => {
                    g.columns.run(column, columns, step)
                }
                _ => 1,
            };
            taps.clear();
            for &(y, r) in g.rows.at(row) {
                for &(x, s) in g.columns.at(column) {
                    let first = ((y - input.first) * g.in_columns + x) * v * BLOCK;
                    taps.extend((0..self.blocks()).map(|block| Tap {
                        a: block * pieces * input.plane + first,
                        b: ((r * g.window.1 + s) * self.blocks() + block) * pieces * PIECE,
                    }));
                }
            }
            let apart = if v == 1 && run > 1 { g.step.unwrap_or(1) } else { 1 } * BLOCK;
            let pixel = row * columns + column;
            let out = cell.run(pixel..pixel + run);
            column += run;
            if taps.is_empty() {
                // No window reaches this pixel: a stride larger than the kernel.
                if !self.add {
                    out.fill(0.0);
                }
                continue;
            }
            let n_rows = out.len() / self.width;
            for panel in panels.clone() {
                let b = &self.panels[panel * panel_len..][..panel_len];
                let first = panel * WIDTH;
                let width = WIDTH.min(self.width - first);
                for row in (0..n_rows).step_by(BLOCK) {
                    let rows = BLOCK.min(n_rows - row);
                    let a = Left { data: &input.data[row * apart..], row: apart, piece: input.plane };
                    let data = &mut out[row * self.width + first..];
                    let tile = Tile { data, stride: self.width, rows, width };
                    product(entered, a, b, taps, tile, self.add);
                }
            }
        }
    }
}
