//! What forward and backward-data have in common: an output cut into cells, weights in panels, and one of several ways to sum.

use std::ops::Range;

use half::bf16;
use resnet_core::op::Conv2d;

use super::amx;
use super::blocks::{Cell, Grid};
use super::gather::{self, Gather};
use super::geometry::Geometry;
use super::groups::Groups;
use super::panels;
use crate::kernels::Isa;
use crate::kernels::amx::Amx;
use crate::load::Rows;
use crate::memory::Memory;
use crate::threads::{Scratch, ScratchLens, Threads};
use crate::winograd::gather::Tiles;
use crate::winograd::{self, Tiling};

/// A direction of one convolution.
pub(crate) struct Direction {
    pub(crate) geometry: Geometry,
    /// Stretches of the kernels that are not on padding everywhere.
    pub(crate) used: Vec<Range<usize>>,
    backward: bool,
    /// Pictures, channels to sum over, and channels of the output.
    n: usize,
    groups: Groups,
    width: usize,
    ways: Ways,
}

enum Ways {
    /// Sums over all taps.
    Taps(gather::Cut),
    /// Sums over all taps, of pairs of bf16.
    Pairs(gather::Cut),
    /// Sums over all taps, by tiles of AMX.
    Amx(Amx, amx::gather::Cut),
    /// Tiles between transforms.
    Tiles(Tiling, winograd::gather::Cut),
}

/// What may be used besides plain sums of f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    pub(crate) winograd: bool,
    /// Products of pairs of bf16.
    pub(crate) pairs: bool,
    pub(crate) amx: Option<Amx>,
}

impl Direction {
    /// Of `y` from `x`.
    pub(crate) fn forward(op: &Conv2d, means: Means) -> Self {
        Self::new(op, Geometry::forward(op), false, (Groups::forward(op), op.k()), means)
    }

    /// Of `dx` from `dy`.
    pub(crate) fn backward(op: &Conv2d, means: Means) -> Self {
        Self::new(op, Geometry::backward(op), true, (Groups::backward(op), op.c()), means)
    }

    fn new(
        op: &Conv2d,
        geometry: Geometry,
        backward: bool,
        (groups, width): (Groups, usize),
        means: Means,
    ) -> Self {
        let depth = groups.row;
        let amx = means.amx.filter(|&amx| amx::serves(amx, &groups, &geometry, op.n(), width));
        let tiling = means.winograd.then(|| winograd::tiling(op, &geometry, backward, means.pairs)).flatten();
        let ways = match (amx.and_then(|amx| amx.beside(tiling.is_some())), tiling) {
            (Some(amx), _) => Ways::Amx(amx, amx::gather::Cut::new(amx, &geometry, op.n(), depth)),
            (_, Some(t)) => Ways::Tiles(t, winograd::gather::Cut::new(&geometry, t, op.n(), depth, width)),
            _ if means.pairs && gather::pairs(&groups, geometry.window) => {
                Ways::Pairs(gather::Cut::new::<bf16>(&geometry, op.n(), &groups, width))
            }
            _ => Ways::Taps(gather::Cut::new::<f32>(&geometry, op.n(), &groups, width)),
        };
        Self { used: geometry.used(depth), geometry, backward, n: op.n(), groups, width, ways }
    }

    /// The tiles it goes by, if it does.
    pub(crate) fn tiling(&self) -> Option<Tiling> {
        match self.ways {
            Ways::Tiles(tiling, _) => Some(tiling),
            Ways::Taps(_) | Ways::Pairs(_) | Ways::Amx(..) => None,
        }
    }

    /// Whether it goes by tiles of AMX.
    pub(crate) fn is_by_amx(&self) -> bool {
        matches!(self.ways, Ways::Amx(..))
    }

    /// Whether it sums f32 over all taps, none of which is on padding everywhere.
    pub(crate) fn sums_all_taps(&self) -> bool {
        let taps = self.geometry.window.0 * self.geometry.window.1;
        let used: usize = self.used.iter().map(Range::len).sum();
        matches!(self.ways, Ways::Taps(_)) && used == taps * self.groups.row
    }

    /// Whether it sums over all taps, without tiles of any kind.
    pub(crate) fn sums_taps(&self) -> bool {
        matches!(self.ways, Ways::Taps(_) | Ways::Pairs(_))
    }

    /// Whether it multiplies pairs of bf16.
    pub(crate) fn multiplies_pairs(&self) -> bool {
        matches!(self.ways, Ways::Pairs(_))
    }

    /// How the output is cut.
    pub(crate) fn grid(&self) -> Grid {
        match &self.ways {
            Ways::Taps(cut) | Ways::Pairs(cut) => cut.grid,
            Ways::Amx(_, cut) => cut.grid,
            Ways::Tiles(_, cut) => cut.grid,
        }
    }

    /// What a task needs.
    pub(crate) fn scratch(&self) -> ScratchLens {
        match &self.ways {
            Ways::Taps(cut) => ScratchLens { a: cut.scratch, ..ScratchLens::default() },
            Ways::Pairs(cut) => {
                ScratchLens { a: cut.scratch, c: panels::PAIRED_SCRATCH, ..ScratchLens::default() }
            }
            Ways::Amx(_, cut) => cut.scratch,
            Ways::Tiles(_, cut) => cut.scratch,
        }
    }

    /// Floats of the arranged weights.
    pub(crate) fn weights_len(&self) -> usize {
        match &self.ways {
            Ways::Taps(_) => self.panels_len(),
            Ways::Pairs(_) => panels::paired_len(self.width, self.taps(), self.groups.depth).div_ceil(2),
            Ways::Amx(amx, _) => {
                amx::panels_len(*amx, self.width, self.taps(), self.groups.depth).div_ceil(2)
            }
            Ways::Tiles(t, _) => winograd::filters_len(*t, self.width, self.groups.depth),
        }
    }

    /// Floats of what is on the way to them.
    pub(crate) fn panels_len(&self) -> usize {
        panels::len(self.width, self.taps(), self.groups.depth)
    }

    fn taps(&self) -> usize {
        self.geometry.window.0 * self.geometry.window.1
    }

    /// Numbers of the largest cell of the output.
    pub(crate) fn cell_len(&self) -> usize {
        let grid = self.grid();
        grid.band.min(grid.pixels) * grid.block * self.width
    }

    /// Arranges the weights as [`Direction::cell`] reads them.
    pub(crate) fn arrange(
        &self,
        threads: &Threads,
        isa: Isa,
        op: &Conv2d,
        w: &[f32],
        spare: &mut Memory,
        out: &mut [f32],
    ) {
        let panels = |used, panels: &mut [f32]| {
            let (taps, per_group) = (op.r() * op.s(), op.c() / op.groups());
            let number = |k: usize, tap: usize, c: usize| w[(k * taps + tap) * per_group + c % per_group];
            let extents = (self.width, taps);
            if op.groups() > 1 && self.backward {
                panels::grouped(threads, &self.groups, extents, |c, tap, k| number(k, tap, c), panels);
            } else if op.groups() > 1 {
                panels::grouped(threads, &self.groups, extents, number, panels);
            } else if self.backward {
                panels::backward(threads, op, used, w, panels);
            } else {
                panels::forward(threads, op, used, w, panels);
            }
        };
        match &self.ways {
            Ways::Taps(_) => panels(&self.used, out),
            Ways::Pairs(_) => {
                let pairs = bytemuck::cast_slice_mut(out);
                panels::paired(threads, isa, (&self.groups, &self.used), self.backward, op, w, pairs);
            }
            Ways::Amx(amx, _) => {
                let (taps, depth) = (self.taps(), self.groups.depth);
                let spare = spare.take(self.panels_len());
                let all = 0..taps * depth;
                panels(std::slice::from_ref(&all), spare);
                amx::arrange(threads, *amx, taps, depth, spare, bytemuck::cast_slice_mut(out));
            }
            Ways::Tiles(t, _) => {
                let spare = spare.take(self.panels_len());
                let depth = self.groups.depth;
                let all = 0..op.r() * op.s() * depth;
                panels(std::slice::from_ref(&all), spare);
                winograd::filters(threads, isa, t.n, self.backward, depth, spare, out);
            }
        }
    }

    /// Computes a cell of the output.
    pub(crate) fn cell(
        &self,
        isa: Isa,
        rows: impl Rows,
        weights: &[f32],
        add: bool,
        cell: &mut Cell<'_, f32>,
        scratch: &mut Scratch,
    ) {
        let Self { geometry, n, groups, width, .. } = self;
        let (n, groups, width) = (*n, *groups, *width);
        match self.ways {
            Ways::Taps(_) => {
                let gather = Gather { isa, n, groups, width, geometry, rows, panels: weights, add };
                gather.cell(cell, &mut scratch.a);
            }
            Ways::Pairs(_) => {
                let panels: &[bf16] = bytemuck::cast_slice(weights);
                let gather = Gather { isa, n, groups, width, geometry, rows, panels, add };
                gather.cell(cell, &mut scratch.a);
            }
            Ways::Amx(amx, _) => {
                let (depth, panels) = (groups.depth, bytemuck::cast_slice(weights));
                amx::gather::Gather { isa, amx, n, depth, width, geometry, rows, panels, add }
                    .cell(cell, scratch);
            }
            Ways::Tiles(tiling, _) => {
                let depth = groups.depth;
                let tiles = Tiles { isa, n, depth, width, geometry, tiling, rows, filters: weights, add };
                tiles.cell(cell, scratch);
            }
        }
    }
}
