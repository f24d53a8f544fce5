//! Forward by tiles with one picture: tasks share out the output's channels, so that each reads its own filters, once.
//!
//! Transformed filters are up to four times as large as kernels and far larger than one picture's activations. So the input is
//! transformed once for all tasks, in slabs of channels that tasks share out too, and then multiplied with a share of the
//! filters at a time.

use resnet_core::op::Conv2d;

use super::gather::Input;
use super::matrices::MOST;
use super::{Extent, PAD, Tiling, transform_output};
use crate::direct::blocks::{Grid, for_cells};
use crate::direct::geometry::Geometry;
use crate::element::Element;
use crate::epilogue::Forward;
use crate::kernels::Isa;
use crate::kernels::product::{Left, ROWS, Tap, Tile, WIDTH, product};
use crate::load::Rows;
use crate::threads::{ScratchLens, Threads};

/// Tasks that transform the input.
pub(super) const SLABS: usize = 4;

/// How one picture is computed. Depends on the problem alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Single {
    tiling: Tiling,
    /// Tiles: rows and columns of them.
    tiles: (usize, usize),
    /// Input channels of a slab, and output channels of a task.
    slab: usize,
    share: usize,
}

impl Single {
    /// If this way applies: with more tiles, transformed inputs outgrow filters, and rows of tiles are shared out.
    pub(crate) fn plan(op: &Conv2d, tiling: Tiling) -> Option<Self> {
        let (rows, columns) = tiling.tiles((op.p(), op.q()));
        (super::fits_single(op) && rows * columns < super::MIN_ROWS).then(|| Self {
            tiling,
            tiles: tiling.tiles((op.p(), op.q())),
            slab: op.c() / SLABS,
            share: WIDTH,
        })
    }

    fn n_tiles(&self) -> usize {
        self.tiles.0 * self.tiles.1
    }

    /// Floats from one product to the next in a slab.
    fn stride(&self) -> usize {
        self.n_tiles() * self.slab + PAD
    }

    /// Floats of the transformed input.
    pub(crate) fn input_len(&self) -> usize {
        SLABS * self.tiling.products() * self.stride()
    }

    /// What a task needs.
    pub(crate) fn scratch(&self, op: &Conv2d) -> ScratchLens {
        let (products, m) = (self.tiling.products(), self.tiling.m());
        ScratchLens {
            a: (op.h() * op.w() + 1) * (self.slab + PAD),
            b: products * (self.n_tiles() * self.share + PAD) + m * m * (self.share + PAD),
            ..ScratchLens::default()
        }
    }

    /// `y`, from transformed filters in panels.
    pub(crate) fn forward<E: Element>(
        &self,
        (threads, op, geometry): (&Threads, &Conv2d, &Geometry),
        x: &impl Rows,
        filters: &[f32],
        values: &mut [f32],
        epilogue: &Forward<'_, E>,
        partials: &mut [f64],
        y: &mut [E],
    ) {
        let Self { tiling, share, slab, .. } = *self;
        let (isa, m, products, pixels) = (epilogue.isa, tiling.m(), tiling.products(), op.p() * op.q());
        let slabs = values[..self.input_len()].chunks_exact_mut(products * self.stride()).enumerate();
        threads.run(slabs, |(i, values), scratch| {
            let input = Input { isa, n: 1, first: i * slab, depth: slab, geometry, tiling };
            let evaluated = input.eval(x, 0..op.p(), 0..1, &mut scratch.a);
            input.transform(&evaluated, 0..op.p(), slab, values);
        });
        let values = &*values;
        // One picture's channels in shares lie as the channels of so many pictures would.
        let grid = Grid { pixels, n: op.k() / share, band: pixels, block: 1 };
        for_cells(threads, grid, share, y, partials, 1, |cell, _, scratch| {
            let task = cell.pictures.start;
            let stride = self.n_tiles() * share + PAD;
            let scratch = scratch.b.take(products * stride + m * m * (share + PAD));
            let (sums, out) = scratch.split_at_mut(products * stride);
            self.multiply(isa, op.c(), task, values, filters, sums);
            for tile in 0..self.n_tiles() {
                let mut places = [const { None }; MOST * MOST];
                places
                    .iter_mut()
                    .zip(out.chunks_mut(share + PAD))
                    .for_each(|(place, out)| *place = Some(out));
                let (sums, extent) = ((&*sums, tile * share, stride), Extent::line(share));
                transform_output(isa, tiling.n, sums, extent, &mut places, false);
                let (p, q) = (tile / self.tiles.1 * m, tile % self.tiles.1 * m);
                for i in 0..m.min(op.p() - p) {
                    for j in 0..m.min(op.q() - q) {
                        let values = &mut out[(i * m + j) * (share + PAD)..][..share];
                        let pixel = (p + i) * op.q() + q + j;
                        epilogue.store(values, pixel, task * share, cell.at(pixel));
                    }
                }
            }
        });
    }

    /// `sums[xi] = values[xi] · filters[xi]`, for the channels of a task.
    fn multiply(
        &self,
        isa: Isa,
        depth: usize,
        task: usize,
        values: &[f32],
        filters: &[f32],
        sums: &mut [f32],
    ) {
        let (products, n_tiles, slab) = (self.tiling.products(), self.n_tiles(), self.slab);
        let filter = depth * WIDTH + PAD;
        for panel in 0..self.share / WIDTH {
            let filters = &filters[(task * self.share / WIDTH + panel) * products * filter..];
            for xi in 0..products {
                let taps: [Tap; SLABS] = std::array::from_fn(|i| Tap {
                    a: (i * products + xi) * self.stride(),
                    b: i * slab * WIDTH,
                });
                let b = &filters[xi * filter..][..depth * WIDTH];
                for row in (0..n_tiles).step_by(ROWS) {
                    let a = Left { data: &values[row * slab..], row: slab, step: 1 };
                    let at = xi * (n_tiles * self.share + PAD) + row * self.share + panel * WIDTH;
                    let rows = ROWS.min(n_tiles - row);
                    let tile = Tile { data: &mut sums[at..], stride: self.share, rows, width: WIDTH };
                    product(isa, a, b, &taps, slab, tile, false);
                }
            }
        }
    }
}
