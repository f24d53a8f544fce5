//! Forward and backward-data by tiles.
//!
//! A task writes some pictures at a band of tile rows. It evaluates the input it needs into scratch, as the direct driver does,
//! transforms it tile by tile, multiplies, for each of the `n · n` positions, one matrix of (tiles × pictures) rows with the
//! filters, some panels of channels at a time, and transforms the products back into the output.

use std::ops::Range;

use super::matrices::MOST;
use super::{Extent, INPUT, PAD, Tiling, transform, transform_output};
use crate::direct::blocks::{Cell, Grid};
use crate::direct::geometry::Geometry;
use crate::kernels::Isa;
use crate::kernels::product::{Left, ROWS, Tile, WIDTH};
use crate::kernels::rows::product_of_rows;
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
            b: products * (n_rows * chunk + PAD),
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
        let columns = self.geometry.out.1;
        let rows = cell.pixels.start / columns..cell.pixels.end / columns;
        let Scratch { a, b, c, .. } = scratch;
        let input = Input {
            isa: self.isa,
            n: self.n,
            first: 0,
            depth: self.depth,
            geometry: self.geometry,
            tiling: self.tiling,
        };
        let evaluated = input.eval(&self.rows, rows.clone(), cell.pictures.clone(), a);
        let (m, products, v) = (self.tiling.m(), self.tiling.products(), cell.pictures.len());
        let (tile_rows, tile_columns) = self.tiling.tiles((rows.len(), columns));
        let n_tiles = tile_rows * tile_columns;
        let n_rows = n_tiles * v;
        let values = c.take(products * (n_rows * self.depth + PAD));
        input.transform(&evaluated, rows.clone(), self.depth, values);

        let chunk = chunk(n_rows, products, self.width);
        for first in (0..self.width).step_by(chunk) {
            let width = chunk.min(self.width - first);
            let stride = n_rows * width + PAD;
            let sums = b.take(products * stride);
            self.multiply(first, width, n_rows, values, sums);
            // All channels at once are one stretch of memory.
            let extent = match width == self.width {
                true => Extent::line(v * width),
                false => Extent { rows: v, width, src: width, dst: self.width },
            };
            for tile in 0..n_tiles {
                let (p, q) = (rows.start + tile / tile_columns * m, tile % tile_columns * m);
                let pixels: [_; MOST * MOST] = std::array::from_fn(|i| {
                    let (p, q) = (p + i / m, q + i % m);
                    (i < m * m && p < rows.end && q < columns).then_some(p * columns + q)
                });
                let mut places = cell.places(pixels).map(|place| place.map(|place| &mut place[first..]));
                let sums = (&*sums, tile * v * width, stride);
                transform_output(self.isa, self.tiling.n, sums, extent, &mut places, self.add);
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
                let a = &values[xi * (n_rows * depth + PAD)..][..n_rows * depth];
                let a = Left { data: a, row: depth, step: 1 };
                let data = &mut sums[xi * (n_rows * width + PAD) + panel - first..];
                let tile = Tile { data, stride: width, rows: n_rows, width: here };
                product_of_rows(self.isa, a, b, depth, tile, false);
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

/// Rows of input, as tiles read them: pixels so far apart, one of zeros behind them.
pub(super) struct Evaluated<'a> {
    pixels: &'a [f32],
    step: usize,
    /// The input rows that are there, and how many pictures.
    rows: Range<usize>,
    n_pictures: usize,
}

impl Input<'_> {
    /// Evaluates what some rows of output read.
    pub(super) fn eval<'s>(
        &self,
        source: &impl Rows,
        rows: Range<usize>,
        pictures: Range<usize>,
        scratch: &'s mut Memory,
    ) -> Evaluated<'s> {
        let (g, n_pictures) = (self.geometry, pictures.len());
        let rows = g.rows.reach(rows);
        let step = n_pictures * self.depth + PAD;
        let out = scratch.take((rows.len() * g.in_columns + 1) * step);
        let (input, zero) = out.split_at_mut(rows.len() * g.in_columns * step);
        let pixels = rows.start * g.in_columns..rows.end * g.in_columns;
        let patch = Patch { n: self.n, pixels, pictures, channels: self.first..self.first + self.depth };
        patch.eval(self.isa, source, input, self.depth, step);
        zero.fill(0.0);
        Evaluated { pixels: out, step, rows, n_pictures }
    }

    /// Transforms what some rows of output read: `n · n × tiles × pictures × depth`, where channels lie in slices of at most
    /// `slice`: `n · n × (depth / slice) × tiles × pictures × slice`.
    pub(super) fn transform(
        &self,
        input: &Evaluated<'_>,
        rows: Range<usize>,
        slice: usize,
        values: &mut [f32],
    ) {
        let (g, n, m, v) = (self.geometry, self.tiling.n, self.tiling.m(), input.n_pictures);
        let zero = input.pixels.len() - input.step;
        let (tile_rows, tile_columns) = self.tiling.tiles((rows.len(), g.out.1));
        let n_tiles = tile_rows * tile_columns;
        let n_rows = n_tiles * v;
        let stride = n_rows * self.depth.next_multiple_of(slice) + PAD;
        for tile in 0..n_tiles {
            let (p, q) = (rows.start + tile / tile_columns * m, tile % tile_columns * m);
            let mut from = [zero; MOST * MOST];
            for i in 0..n {
                let y = (p + i).checked_sub(self.tiling.before.0).filter(|y| input.rows.contains(y));
                let Some(y) = y else { continue };
                for j in 0..n {
                    let x = (q + j).checked_sub(self.tiling.before.1).filter(|&x| x < g.in_columns);
                    if let Some(x) = x {
                        from[i * n + j] = ((y - input.rows.start) * g.in_columns + x) * input.step;
                    }
                }
            }
            for first in (0..self.depth).step_by(slice) {
                let width = slice.min(self.depth - first);
                let extent = match slice == self.depth {
                    true => Extent::line(v * width),
                    false => Extent { rows: v, width, src: self.depth, dst: slice },
                };
                let out = &mut values[first * n_rows + tile * v * slice..];
                transform::<INPUT>(self.isa, n, &input.pixels[first..], &from, extent, out, stride);
            }
        }
    }
}
