//! Which part of the result a block has. The one place where it is decided.
//!
//! A larger tile reads less per product, and needs enough rows and columns to fill the device.
//! 128 × 128 with 8 warps reads each operand once per 128 rows of the other: 64 operations per byte of shared memory.
//! Where that gives fewer blocks than there are multiprocessors (late stages, small batches) 64 × 64 gives four times as many.
//! These choices are computed from shapes; on a device [`choice`](crate::choice) tries the tiles and keeps the fastest.

use resnet_core::op::Conv2d;

use super::{Device, Element};

/// Rows and columns of a block, and of one of its warps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Rows of a warp.
    pub warp_rows: usize,
    /// Columns of a warp.
    pub warp_columns: usize,
    /// Whether it is multiplied by the instructions of Hopper's warpgroups, from tiles that the tensor memory accelerator brings:
    /// 1×1 convolutions of stride 1 only, see `kernels/tensor/wgmma.cuh`.
    pub wgmma: bool,
}

impl Tile {
    /// For results that fill the device.
    pub const LARGE: Tile = Tile { rows: 128, columns: 128, warp_rows: 64, warp_columns: 32, wgmma: false };
    /// For at most 64 columns.
    pub const TALL: Tile = Tile { rows: 128, columns: 64, warp_rows: 64, warp_columns: 32, wgmma: false };
    /// For small results.
    pub const SMALL: Tile = Tile { rows: 64, columns: 64, warp_rows: 32, warp_columns: 32, wgmma: false };
    /// On Hopper, a warpgroup for 64 rows each.
    pub const WIDE_WGMMA: Tile =
        Tile { rows: 128, columns: 128, warp_rows: 16, warp_columns: 128, wgmma: true };
    /// On Hopper, for at most 64 columns.
    pub const TALL_WGMMA: Tile =
        Tile { rows: 128, columns: 64, warp_rows: 16, warp_columns: 64, wgmma: true };

    /// Those for any device and convolution.
    pub const ALL: [Tile; 3] = [Tile::LARGE, Tile::TALL, Tile::SMALL];
    /// Those for Hopper.
    pub const WGMMA: [Tile; 2] = [Tile::WIDE_WGMMA, Tile::TALL_WGMMA];

    /// `128×64`, `wgmma 128×64`.
    pub fn name(self) -> String {
        let instructions = if self.wgmma { "wgmma " } else { "" };
        format!("{instructions}{}×{}", self.rows, self.columns)
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::WGMMA).find(|tile| tile.name() == name)
    }

    /// Threads of a block. With the tensor memory accelerator a further warp begins the copies.
    pub fn threads(self) -> usize {
        let copying = if self.wgmma { 32 } else { 0 };
        (self.rows / self.warp_rows) * (self.columns / self.warp_columns) * 32 + copying
    }

    /// Whether a convolution can be computed in such tiles. Copies of the tensor memory accelerator want rows of whole 16 bytes.
    pub fn supports(self, op: &Conv2d, element: Element) -> bool {
        let pointwise = (op.r(), op.s(), op.stride()) == (1, 1, 1) && (op.p(), op.q()) == (op.h(), op.w());
        let whole = element.padded(op.c()) == op.c() && element.padded(op.k()) == op.k();
        element.supports(op) && (!self.wgmma || pointwise && whole && element.bytes() == 2)
    }

    /// For Hopper: `columns` of the result.
    pub fn of_wgmma(columns: usize) -> Self {
        if columns <= Tile::TALL_WGMMA.columns { Tile::TALL_WGMMA } else { Tile::WIDE_WGMMA }
    }

    /// Blocks for a result of this size.
    pub fn blocks(self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.rows) * columns.div_ceil(self.columns)
    }

    /// For a convolution forward or towards its input: `rows` pixels × `columns` channels.
    pub fn of_gather(device: Device, rows: usize, columns: usize) -> Self {
        let wide = if columns <= Tile::TALL.columns { Tile::TALL } else { Tile::LARGE };
        if wide.blocks(rows, columns) >= device.multiprocessors { wide } else { Tile::SMALL }
    }

    /// For a gradient of weights: output channels × taps and input channels. Pixels are shared out between blocks besides, so a small
    /// result fills the device too.
    pub fn of_weight(rows: usize, columns: usize) -> Self {
        if rows >= Tile::LARGE.rows && columns >= Tile::LARGE.columns { Tile::LARGE } else { Tile::SMALL }
    }
}

/// Into how many shares the sum over pixels of a weight gradient is cut: so many that each multiprocessor has about four blocks,
/// and not so many that a share has fewer than eight stages. A function of shape and device only.
pub fn shares(device: Device, blocks: usize, stages: usize) -> usize {
    let wanted = (4 * device.multiprocessors).div_ceil(blocks);
    let most = (stages / 8).clamp(1, 65_535);
    wanted.clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200: Device = Device { multiprocessors: 132 };

    #[test]
    fn resnet50_batch_256() {
        assert_eq!(Tile::of_gather(H200, 256 * 56 * 56, 64), Tile::TALL);
        assert_eq!(Tile::of_gather(H200, 256 * 56 * 56, 256), Tile::LARGE);
        assert_eq!(Tile::of_gather(H200, 256 * 7 * 7, 512), Tile::LARGE);
        assert_eq!(
            Tile::of_gather(H200, 256 * 3 * 3, 512),
            Tile::SMALL,
            "72 tiles of 128 × 128 leave half of it idle"
        );
    }

    #[test]
    fn shares_fill_the_device_and_are_not_too_thin() {
        assert_eq!(shares(H200, 9, 802_816 / 32), 59);
        assert_eq!(shares(H200, 144, 12_544 / 32), 4);
        assert_eq!(shares(H200, 1, 7), 1);
        assert_eq!(shares(H200, 2000, 10_000), 1);
    }
}
