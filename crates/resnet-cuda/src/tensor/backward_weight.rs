//! Gradient of the kernels: `dw`, split over the pixels and added up in a fixed order.

use resnet_core::op::Conv2d;

use super::args::{
    BackwardWeightArgs, FinishWeightArgs, GradSourceArgs, SourceArgs, WgmmaBackwardWeightArgs,
};
use super::kernel::{Direction, Kernel, helpers};
use super::stage::{self, THREADS, in_rows};
use super::tile::{Tile, shares};
use super::{Device, Element, Scratch, Step};
use crate::args::Packed;
use crate::args::map::TensorMap;
use crate::machine::Launch;

/// How one gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackwardWeight {
    op: Conv2d,
    element: Element,
    tile: Tile,
    stages_per_share: usize,
}

/// What it is computed with. Addresses; 0 where there is nothing.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// The input.
    pub x: SourceArgs,
    /// The gradient of the output.
    pub dy: GradSourceArgs,
    /// The gradient of the kernels, f32.
    pub dw: u64,
    /// Whether `dw` is added to.
    pub accumulate: bool,
    /// Memory of [`BackwardWeight::scratch_bytes`].
    pub scratch: u64,
}

impl BackwardWeight {
    /// Chooses the tile, and how the pixels are shared out. `None` where [`Element::supports`] says no.
    pub fn plan(op: Conv2d, element: Element, device: Device) -> Option<Self> {
        let tile = Tile::of_weight(element.padded(op.k()), op.r() * op.s() * element.padded(op.c()));
        Self::with_tile(op, element, tile, device)
    }

    /// As [`BackwardWeight::plan`], with a given tile. `None` where [`Tile::supports`] says no.
    pub fn with_tile(op: Conv2d, element: Element, tile: Tile, device: Device) -> Option<Self> {
        if !tile.supports(&op, element) {
            return None;
        }
        let mut plan = BackwardWeight { op, element, tile, stages_per_share: 1 };
        let stages = plan.stages();
        plan.stages_per_share =
            stages.div_ceil(shares(device, tile.blocks(plan.rows(), plan.columns()), stages));
        Some(plan)
    }

    fn rows(&self) -> usize {
        self.element.padded(self.op.k())
    }

    fn columns(&self) -> usize {
        self.op.r() * self.op.s() * self.element.padded(self.op.c())
    }

    fn pixels(&self) -> usize {
        self.op.n() * self.op.p() * self.op.q()
    }

    /// Pixels of a stage of the pipeline: 64 bytes of each channel, on Hopper 128.
    fn stage_pixels(&self) -> usize {
        (if self.tile.wgmma { 128 } else { 64 }) / self.element.bytes()
    }

    /// Stages that all pixels take.
    fn stages(&self) -> usize {
        self.pixels().div_ceil(self.stage_pixels())
    }

    /// Into how many parts the sum is split.
    pub fn n_shares(&self) -> usize {
        self.stages().div_ceil(self.stages_per_share)
    }

    fn parts(&self, scratch: &mut Scratch) -> usize {
        scratch.take(self.n_shares() * self.rows() * self.columns() * size_of::<f32>())
    }

    fn staged_x(&self, scratch: &mut Scratch) -> usize {
        let op = &self.op;
        scratch.take(op.n() * op.h() * op.w() * self.element.padded(op.c()) * self.element.bytes())
    }

    fn staged_dy(&self, scratch: &mut Scratch) -> usize {
        if self.rows() == self.op.k() {
            return 0;
        }
        scratch.take(self.pixels() * self.rows() * self.element.bytes())
    }

    /// Scratch memory, whatever form the operands have.
    pub fn scratch_bytes(&self) -> usize {
        let mut scratch = Scratch::default();
        self.parts(&mut scratch);
        self.staged_x(&mut scratch);
        self.staged_dy(&mut scratch);
        scratch.bytes()
    }

    /// The launches, in order.
    pub fn steps(&self, operands: &Operands) -> Vec<Step> {
        let BackwardWeight { op, element, tile, stages_per_share } = *self;
        let Operands { x, dy, dw, accumulate, scratch } = *operands;
        let mut pieces = Scratch::default();
        let parts = scratch + self.parts(&mut pieces) as u64;
        let staged_x = scratch + self.staged_x(&mut pieces) as u64;
        let staged_dy = scratch + self.staged_dy(&mut pieces) as u64;
        let mut steps = Vec::new();
        let (x, right) = stage::source(&mut steps, element, x, staged_x, op.n() * op.h() * op.w(), op.c());
        let (dy, left) = stage::gradient(&mut steps, element, dy, staged_dy, self.pixels(), op.k());

        let kernel = Kernel { direction: Direction::BackwardWeight(left, right), element, tile };
        let row_tiles = self.rows().div_ceil(tile.rows);
        let column_tiles = self.columns().div_ceil(tile.columns);
        let pad = op.padding();
        let args = BackwardWeightArgs {
            dy,
            x: x.raw,
            affine: x.affine,
            parts,
            pixels: self.pixels() as u32,
            h: op.h() as u32,
            w: op.w() as u32,
            c: element.padded(op.c()) as u32,
            p: op.p() as u32,
            q: op.q() as u32,
            k: self.rows() as u32,
            window_r: op.r() as u32,
            window_s: op.s() as u32,
            stride: op.stride() as u32,
            top: pad.top as u32,
            left: pad.left as u32,
            relu: x.relu,
            row_tiles: row_tiles as u32,
            column_tiles: column_tiles as u32,
            stages_per_share: stages_per_share as u32,
        };
        let grid = [(row_tiles * column_tiles) as u32, 1, self.n_shares() as u32];
        let packed = if tile.wgmma {
            let map = |address, channels| {
                TensorMap::swizzled(address, self.pixels(), channels, self.stage_pixels())
            };
            let (dz, y, x) = (map(dy.dz, op.k()), map(dy.y, op.k()), map(x.raw, op.c()));
            Packed::of(&WgmmaBackwardWeightArgs { dz, y, x, g: args, unused: [0; 2] })
        } else {
            Packed::of(&args)
        };
        steps.push(kernel.step(grid, packed));

        let n = op.k() * op.r() * op.s() * op.c();
        let finish = FinishWeightArgs {
            parts,
            dw,
            n: n as u64,
            shares: self.n_shares() as u32,
            c: op.c() as u32,
            padded: element.padded(op.c()) as u32,
            accumulate: u32::from(accumulate),
            part: (self.rows() * self.columns()) as u64,
        };
        steps.push(Step {
            unit: helpers(),
            launch: Launch {
                kernel: "finish_backward_weight".into(),
                grid: in_rows(n),
                block: [THREADS, 1, 1],
                shared_bytes: 0,
                args: Packed::of(&finish),
            },
        });
        steps
    }
}
