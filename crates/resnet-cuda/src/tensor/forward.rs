//! Forward: `y = conv(x, w) + bias`, and statistics of `y`.

use resnet_core::op::Conv2d;

use super::args::{ForwardArgs, Gather, PackArgs, SourceArgs, WgmmaForwardArgs};
use super::kernel::{Direction, Kernel, helpers};
use super::stage::{self, THREADS, in_rows};
use super::tile::Tile;
use super::{Device, Element, Scratch, Step};
use crate::args::Packed;
use crate::args::map::TensorMap;
use crate::machine::Launch;

/// How one convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    op: Conv2d,
    element: Element,
    tile: Tile,
    device: Device,
}

/// What it is computed with. Addresses; 0 where there is nothing.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// The input.
    pub x: SourceArgs,
    /// The kernels, f32.
    pub w: u64,
    /// The kernels as the product wants them; 0: they are put into scratch memory first.
    pub packed: u64,
    /// The bias, f32.
    pub bias: u64,
    /// The output.
    pub y: u64,
    /// Statistics of each tile, `[n_tiles][3][k]`.
    pub partials: u64,
    /// Memory of [`Forward::scratch_bytes`].
    pub scratch: u64,
}

impl Forward {
    /// Chooses the tile. `None` where [`Element::supports`] says no.
    pub fn plan(op: Conv2d, element: Element, device: Device) -> Option<Self> {
        let tile = Tile::of_gather(device, op.n() * op.p() * op.q(), op.k());
        Self::with_tile(op, element, tile, device)
    }

    /// As [`Forward::plan`], with a given tile. `None` where [`Tile::supports`] says no.
    pub fn with_tile(op: Conv2d, element: Element, tile: Tile, device: Device) -> Option<Self> {
        tile.supports(&op, element).then_some(Forward { op, element, tile, device })
    }

    /// How many tiles leave statistics.
    pub fn n_tiles(&self) -> usize {
        self.rows().div_ceil(self.tile.rows)
    }

    /// Scratch memory, whatever form the source has.
    pub fn scratch_bytes(&self) -> usize {
        let mut scratch = Scratch::default();
        self.weights(&mut scratch);
        self.staged(&mut scratch);
        scratch.bytes()
    }

    fn rows(&self) -> usize {
        self.op.n() * self.op.p() * self.op.q()
    }

    /// What is multiplied.
    pub fn element(&self) -> Element {
        self.element
    }

    fn channels(&self) -> usize {
        self.element.padded(self.op.c())
    }

    fn weights(&self, scratch: &mut Scratch) -> usize {
        scratch.take(self.op.k() * self.op.r() * self.op.s() * self.channels() * self.element.bytes())
    }

    fn staged(&self, scratch: &mut Scratch) -> usize {
        scratch.take(self.op.n() * self.op.h() * self.op.w() * self.channels() * self.element.bytes())
    }

    /// The launches, in order.
    pub fn steps(&self, operands: &Operands) -> Vec<Step> {
        let Forward { op, element, tile, device } = *self;
        let Operands { x, w, packed, bias, y, partials, scratch } = *operands;
        let mut pieces = Scratch::default();
        let mut weights = scratch + self.weights(&mut pieces) as u64;
        let staged = scratch + self.staged(&mut pieces) as u64;
        let mut steps = vec![];
        if packed == 0 {
            steps.push(pack(&op, element, w, weights));
        } else {
            weights = packed;
        }
        let (x, prologue) = stage::source(&mut steps, element, x, staged, op.n() * op.h() * op.w(), op.c());

        let kernel = Kernel { direction: Direction::Forward(prologue), element, tile };
        let (row_tiles, column_tiles) = (self.n_tiles(), op.k().div_ceil(tile.columns));
        let g = Gather::new(&op, false, element, weights, (row_tiles, column_tiles));
        let args = ForwardArgs { g, x: x.raw, affine: x.affine, bias, y, partials, relu: x.relu, unused: 0 };
        let tiles = row_tiles * column_tiles;
        steps.push(if tile.wgmma {
            let args = WgmmaForwardArgs {
                x: TensorMap::swizzled(x.raw, self.rows(), op.c(), tile.rows),
                weights: TensorMap::swizzled(weights, op.k(), op.c(), tile.columns),
                f: args,
                unused: 0,
            };
            kernel.step([tiles.min(device.multiprocessors) as u32, 1, 1], Packed::of(&args))
        } else {
            kernel.step([tiles as u32, 1, 1], Packed::of(&args))
        });
        steps
    }
}

/// Weights as columns of the product: `[k][taps][channels]`.
pub(crate) fn pack(op: &Conv2d, element: Element, w: u64, to: u64) -> Step {
    let (k, taps, c) = (op.k(), op.r() * op.s(), op.c());
    let padded = element.padded(c);
    let args = PackArgs { w, to, k: k as u32, taps: taps as u32, c: c as u32, padded: padded as u32 };
    Step {
        unit: helpers(),
        launch: Launch {
            kernel: format!("pack_forward_{}", element.memory_name()).into(),
            grid: in_rows(k * taps * padded),
            block: [THREADS, 1, 1],
            shared_bytes: 0,
            args: Packed::of(&args),
        },
    }
}
