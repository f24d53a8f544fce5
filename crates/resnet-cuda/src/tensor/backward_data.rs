//! Towards the input: `dx`, with everything that [`GradOut`](resnet_core::GradOut) asks for.

use resnet_core::op::Conv2d;

use super::args::{BackwardDataArgs, Gather, GradOutArgs, GradSourceArgs, PackArgs, WgmmaBackwardDataArgs};
use super::kernel::{Direction, Kernel, helpers};
use super::stage;
use super::tile::Tile;
use super::{Device, Element, Scratch, Step};
use crate::args::Packed;
use crate::args::map::TensorMap;
use crate::machine::Launch;

/// How one gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackwardData {
    op: Conv2d,
    element: Element,
    tile: Tile,
    device: Device,
}

/// What it is computed with. Addresses; 0 where there is nothing.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// The gradient of the output.
    pub dy: GradSourceArgs,
    /// The kernels, f32.
    pub w: u64,
    /// The kernels as the product wants them; 0: they are put into scratch memory first.
    pub packed: u64,
    /// Where the gradient goes. The partial sums of each tile are `[n_tiles][2][c]`.
    pub dx: GradOutArgs,
    /// Memory of [`BackwardData::scratch_bytes`].
    pub scratch: u64,
}

impl BackwardData {
    /// Chooses the tile. `None` where [`Element::supports`] says no, or where there are more phases than a grid has.
    pub fn plan(op: Conv2d, element: Element, device: Device) -> Option<Self> {
        let tile = Tile::of_gather(device, op.n() * op.h() * op.w(), op.c());
        Self::with_tile(op, element, tile, device)
    }

    /// As [`BackwardData::plan`], with a given tile. `None` where [`Tile::supports`] says no.
    pub fn with_tile(op: Conv2d, element: Element, tile: Tile, device: Device) -> Option<Self> {
        let phases_fit = op.stride().checked_mul(op.stride()).is_some_and(|phases| phases <= 65_535);
        (tile.supports(&op, element) && phases_fit).then_some(BackwardData { op, element, tile, device })
    }

    /// Pixels with the same remainders by the stride: a phase reads the same taps everywhere.
    fn phases(&self) -> usize {
        self.op.stride() * self.op.stride()
    }

    /// Tiles of the largest phase, which is the first; smaller ones have some without pixels.
    fn row_tiles(&self) -> usize {
        let along = |extent: usize| extent.div_ceil(self.op.stride());
        (self.op.n() * along(self.op.h()) * along(self.op.w())).div_ceil(self.tile.rows)
    }

    /// How many tiles leave sums.
    pub fn n_tiles(&self) -> usize {
        self.phases() * self.row_tiles()
    }

    /// Scratch memory, whatever form the gradient has.
    pub fn scratch_bytes(&self) -> usize {
        let mut scratch = Scratch::default();
        self.weights(&mut scratch);
        self.staged(&mut scratch);
        scratch.bytes()
    }

    /// What is multiplied.
    pub fn element(&self) -> Element {
        self.element
    }

    fn channels(&self) -> usize {
        self.element.padded(self.op.k())
    }

    fn weights(&self, scratch: &mut Scratch) -> usize {
        scratch.take(self.op.c() * self.op.r() * self.op.s() * self.channels() * self.element.bytes())
    }

    fn staged(&self, scratch: &mut Scratch) -> usize {
        if self.channels() == self.op.k() {
            return 0;
        }
        scratch.take(self.op.n() * self.op.p() * self.op.q() * self.channels() * self.element.bytes())
    }

    /// The launches, in order.
    pub fn steps(&self, operands: &Operands) -> Vec<Step> {
        let BackwardData { op, element, tile, device } = *self;
        let Operands { dy, w, packed, dx, scratch } = *operands;
        let mut pieces = Scratch::default();
        let mut weights = scratch + self.weights(&mut pieces) as u64;
        let staged = scratch + self.staged(&mut pieces) as u64;
        let mut steps = vec![];
        if packed == 0 {
            steps.push(pack(&op, element, w, weights));
        } else {
            weights = packed;
        }
        let (dy, prologue) =
            stage::gradient(&mut steps, element, dy, staged, op.n() * op.p() * op.q(), op.k());

        let kernel = Kernel { direction: Direction::BackwardData(prologue), element, tile };
        let (row_tiles, column_tiles) = (self.row_tiles(), op.c().div_ceil(tile.columns));
        let g = Gather::new(&op, true, element, weights, (row_tiles, column_tiles));
        let tiles = row_tiles * column_tiles;
        let args = BackwardDataArgs { g, dy, dx };
        steps.push(if tile.wgmma {
            let pixels = op.n() * op.p() * op.q();
            let image = |address| TensorMap::swizzled(address, pixels, op.k(), tile.rows);
            let args = WgmmaBackwardDataArgs {
                dz: image(dy.dz),
                y: image(dy.y),
                weights: TensorMap::swizzled(weights, op.c(), op.k(), tile.columns),
                b: args,
                unused: [0; 6],
            };
            kernel.step([tiles.min(device.multiprocessors) as u32, 1, 1], Packed::of(&args))
        } else {
            kernel.step([tiles as u32, 1, self.phases() as u32], Packed::of(&args))
        });
        steps
    }
}

/// Weights as columns of the product: `[c][taps][k]`.
pub(crate) fn pack(op: &Conv2d, element: Element, w: u64, to: u64) -> Step {
    let (k, taps, c) = (op.k(), op.r() * op.s(), op.c());
    let padded = element.padded(k);
    let args = PackArgs { w, to, k: k as u32, taps: taps as u32, c: c as u32, padded: padded as u32 };
    Step {
        unit: helpers(),
        launch: Launch {
            kernel: format!("pack_backward_{}", element.memory_name()).into(),
            grid: [padded.div_ceil(32) as u32, c.div_ceil(32) as u32, taps as u32],
            block: [32, 8, 1],
            shared_bytes: 0,
            args: Packed::of(&args),
        },
    }
}
