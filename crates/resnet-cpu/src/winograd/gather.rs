//! Forward and backward-data by tiles.
//!
//! A task writes some pictures at a band of tile rows. It evaluates the input it needs into scratch, as the direct driver does,
//! transforms it tile by tile, multiplies, for each of the `n · n` positions, one matrix of (tiles × pictures) rows with the
//! filters, some panels of channels at a time, and transforms the products back into the output.

use std::ops::Range;

use super::matrices::MOST;
use super::{INPUT, OUTPUT, PAD, Tiling, transform};
use crate::direct::blocks::{Cell, Grid};
use crate::direct::geometry::Geometry;
use crate::kernels::product::{Left, ROWS, Tap, Tile, WIDTH, product};
use crate::kernels::{Isa, load};
use crate::load::Rows;
use crate::memory::Memory;
use crate::patch::Patch;
use crate::threads::{Scratch, ScratchLens};

/// Floats of transformed input that a task keeps in its cache, and of products.
const VALUES: usize = 112 * 1024;
const PRODUCTS: usize = 64 * 1024;

/// Rows of a product: enough to pay for reading the filters, which do not stay in a core's own cache.
const MIN_ROWS: usize = 64;

/// One direction of a convolution.
pub(crate) struct Tiles<'a, R> {
    pub(crate) isa: Isa,
    pub(crate) n: usize,
    /// Channels to sum over.
    pub(crate) depth: usize,
    /// Channels of the output.
    pub(crate) width: usize,
    pub(crate) geometry: &'a Geometry,
    pub(crate) tiling: Tiling,
    pub(crate) rows: R,
    /// Transformed filters in panels.
    pub(crate) filters: &'a [f32],
    /// Whether what is there is added to.
    pub(crate) add: bool,
}

/// How the output is cut, and what a task needs. Depends on the problem alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) grid: Grid,
    /// Floats of scratch.
    pub(crate) scratch: ScratchLens,
}

impl Cut {
    pub(crate) fn new(geometry: &Geometry, tiling: Tiling, n: usize, depth: usize, width: usize) -> Self {
        let (height, columns) = geometry.out;
        let (m, products) = (tiling.m(), tiling.products());
        let (tile_rows, tile_columns) = tiling.tiles(geometry.out);
        let wanted = (VALUES / (products * depth)).max(MIN_ROWS);
        // All of the map and some pictures where it is small, else one row of tiles.
        let fits = |tiles: usize| (wanted / tiles).max(1);
        let whole = fits(tile_rows * tile_columns);
        let (rows, block) = if whole >= ROWS {
            (tile_rows, whole / ROWS * ROWS)
        } else {
            let row = fits(tile_columns).next_multiple_of(4);
            (1, row)
        };
        let block = block.min(n);
        let mut rows = rows;
        while rows > 1 && n.div_ceil(block) * tile_rows.div_ceil(rows) < 8 {
            rows = rows.div_ceil(2);
        }
        let band = (rows * m).min(height);
        let grid = Grid { pixels: height * columns, n, band: band * columns, block };
        let reach = |o: usize| geometry.rows.reach(o..(o + band).min(height)).len();
        let input = (0..height).step_by(band).map(reach).max().unwrap_or(0) * geometry.in_columns + 1;
        let n_rows = rows * tile_columns * block;
        let chunk = chunk(n_rows, products, width);
        let scratch = ScratchLens {
            a: input * (block * depth + PAD),
            b: products * (n_rows * chunk + PAD) + m * m * (block * chunk + PAD),
            c: products * (n_rows * depth + PAD),
            ..ScratchLens::default()
        };
        Self { grid, scratch }
    }
}

/// Channels whose products are in scratch together.
fn chunk(n_rows: usize, products: usize, width: usize) -> usize {
    (PRODUCTS / (n_rows * products) / WIDTH).max(1).saturating_mul(WIDTH).min(width)
}

impl<R: Rows> Tiles<'_, R> {
    /// Computes the rows of a cell.
    pub(crate) fn cell(&self, cell: &mut Cell<'_, f32>, scratch: &mut Scratch) {
        let (m, products) = (self.tiling.m(), self.tiling.products());
        let (columns, v) = (self.geometry.out.1, cell.pictures.len());
        let rows = cell.pixels.start / columns..cell.pixels.end / columns;
        let (tile_rows, tile_columns) = self.tiling.tiles((rows.len(), columns));
        let n_rows = tile_rows * tile_columns * v;
        let Scratch { a, b, c, .. } = scratch;
        let values = c.take(products * (n_rows * self.depth + PAD));
        let input = Input {
            isa: self.isa,
            n: self.n,
            first: 0,
            depth: self.depth,
            geometry: self.geometry,
            tiling: self.tiling,
        };
        input.transform(&self.rows, rows.clone(), cell.pictures.clone(), a, values);

        let chunk = chunk(n_rows, products, self.width);
        for first in (0..self.width).step_by(chunk) {
            let width = chunk.min(self.width - first);
            let (stride, len) = (n_rows * width + PAD, v * width);
            let scratch = b.take(products * stride + m * m * (len + PAD));
            let (sums, out) = scratch.split_at_mut(products * stride);
            self.multiply(first, width, n_rows, values, sums);
            for tile in 0..tile_rows * tile_columns {
                let mut from = [0; MOST * MOST];
                from.iter_mut().enumerate().for_each(|(i, at)| *at = i * stride + tile * len);
                transform::<OUTPUT>(self.isa, self.tiling.n, sums, &from[..products], len, out, len + PAD);
                let at = (rows.start + tile / tile_columns * m, tile % tile_columns * m);
                self.write(at, rows.end, first, width, out, cell);
            }
        }
    }

    /// `sums[xi] = values[xi] · filters[xi]`, for some channels.
    fn multiply(&self, first: usize, width: usize, n_rows: usize, values: &[f32], sums: &mut [f32]) {
        let (products, depth) = (self.tiling.products(), self.depth);
        for panel in (first..first + width).step_by(WIDTH) {
            let filters = &self.filters[panel / WIDTH * products * (depth * WIDTH + PAD)..];
            let here = WIDTH.min(first + width - panel);
            for xi in 0..products {
                let b = &filters[xi * (depth * WIDTH + PAD)..][..depth * WIDTH];
                for row in (0..n_rows).step_by(ROWS) {
                    let rows = ROWS.min(n_rows - row);
                    let a = Left {
                        data: &values[xi * (n_rows * depth + PAD) + row * depth..],
                        row: depth,
                        step: 1,
                    };
                    let at = xi * (n_rows * width + PAD) + row * width + panel - first;
                    let data = &mut sums[at..];
                    let tile = Tile { data, stride: width, rows, width: here };
                    product(self.isa, a, b, &[Tap::default()], depth, tile, false);
                }
            }
        }
    }

    /// Writes, or adds, the pixels of a tile that are in the map.
    fn write(
        &self,
        (p, q): (usize, usize),
        end: usize,
        first: usize,
        width: usize,
        tile: &[f32],
        cell: &mut Cell<'_, f32>,
    ) {
        let (m, columns) = (self.tiling.m(), self.geometry.out.1);
        let len = cell.pictures.len() * width;
        for i in 0..m.min(end - p) {
            for j in 0..m.min(columns - q) {
                let values = &tile[(i * m + j) * (len + PAD)..][..len];
                let out = cell.at((p + i) * columns + q + j);
                // All channels at once: one stretch of memory.
                let (step, first) = if width == self.width { (len, 0) } else { (self.width, first) };
                let width = if width == self.width { len } else { width };
                for (out, values) in out.chunks_exact_mut(step).zip(values.chunks_exact(width)) {
                    let out = &mut out[first..first + width];
                    if self.add {
                        load::add(self.isa, out, values);
                    } else {
                        out.copy_from_slice(values);
                    }
                }
            }
        }
    }
}

/// What is read by tiles.
pub(super) struct Input<'a> {
    pub(super) isa: Isa,
    /// Pictures of the tensor.
    pub(super) n: usize,
    /// Channels: the first one, and how many.
    pub(super) first: usize,
    pub(super) depth: usize,
    pub(super) geometry: &'a Geometry,
    pub(super) tiling: Tiling,
}

impl Input<'_> {
    /// Evaluates and transforms what some rows of output read: `n · n × tiles × pictures × depth`.
    pub(super) fn transform(
        &self,
        source: &impl Rows,
        rows: Range<usize>,
        pictures: Range<usize>,
        scratch: &mut Memory,
        values: &mut [f32],
    ) {
        let (g, n, m) = (self.geometry, self.tiling.n, self.tiling.m());
        let len = pictures.len() * self.depth;
        let reach = g.rows.reach(rows.clone());
        let step = len + PAD;
        let input = scratch.take((reach.len() * g.in_columns + 1) * step);
        let zero = input.len() - step;
        let pixels = reach.start * g.in_columns..reach.end * g.in_columns;
        let patch = Patch { n: self.n, pixels, pictures, channels: self.first..self.first + self.depth };
        patch.eval(self.isa, source, input, self.depth, step);
        input[zero..].fill(0.0);
        let (tile_rows, tile_columns) = self.tiling.tiles((rows.len(), g.out.1));
        let stride = tile_rows * tile_columns * len + PAD;
        for tile in 0..tile_rows * tile_columns {
            let (p, q) = (rows.start + tile / tile_columns * m, tile % tile_columns * m);
            let mut from = [zero; MOST * MOST];
            for i in 0..n {
                let y = (p + i).checked_sub(self.tiling.before.0).filter(|y| reach.contains(y));
                let Some(y) = y else { continue };
                for j in 0..n {
                    let x = (q + j).checked_sub(self.tiling.before.1).filter(|&x| x < g.in_columns);
                    if let Some(x) = x {
                        from[i * n + j] = ((y - reach.start) * g.in_columns + x) * step;
                    }
                }
            }
            transform::<INPUT>(self.isa, n, input, &from, len, &mut values[tile * len..], stride);
        }
    }
}
