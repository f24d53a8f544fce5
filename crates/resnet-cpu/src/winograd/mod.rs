//! Fast convolution after Winograd: 3 × 3 kernels with stride 1, for two to four times fewer multiplications.
//!
//! Read in this order:
//! - [`matrices`]: the matrices, in exact fractions.
//! - this file: which convolutions take which tile, and filters in panels.
//! - [`gather`]: forward and backward-data. [`weight`]: backward-weight. [`single`]: forward with one picture.
//!
//! The transforms are in [`kernels::winograd`](crate::kernels::winograd), and the products are those of the other kernels.
//!
//! # Accuracy
//! A sum of products becomes differences of larger sums, so the error is a few times that of a plain sum; the conformance suite
//! derives the bound from the same arithmetic. An infinity or a NaN spreads over the tile that reads it, not only over the
//! windows that do.

pub(crate) mod gather;
pub(crate) mod matrices;
pub(crate) mod single;
pub(crate) mod weight;

use resnet_core::op::Conv2d;

use crate::direct::geometry::Geometry;
use crate::kernels::Isa;
use crate::kernels::product::WIDTH;
use crate::kernels::winograd as kernel;
use crate::threads::Threads;

pub(crate) use kernel::{Extent, FILTER, FILTER_GRADIENT, GRADIENT, INPUT};
use matrices::MOST;

/// Floats between matrices or pixels that a transform reads or writes together: a cache line, without which powers of two
/// would put them all into the same few places of the innermost cache.
pub(crate) const PAD: usize = 16;

/// Tiles: `m × m` outputs from `n × n` inputs, `n = m + 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    /// Inputs along one axis.
    pub(crate) n: usize,
    /// Zeros before the first input row and column.
    pub(crate) before: (usize, usize),
}

impl Tiling {
    /// Outputs along one axis.
    pub(crate) fn m(&self) -> usize {
        self.n - 2
    }

    /// Multiplications per tile and pair of channels.
    pub(crate) fn products(&self) -> usize {
        self.n * self.n
    }

    /// How many tiles cover a map.
    pub(crate) fn tiles(&self, (rows, columns): (usize, usize)) -> (usize, usize) {
        (rows.div_ceil(self.m()), columns.div_ceil(self.m()))
    }
}

/// Whether the arithmetic applies to an op at all.
fn applies(op: &Conv2d) -> bool {
    let p = op.padding();
    op.groups() == 1 && (op.r(), op.s()) == (3, 3) && op.stride() == 1 && p.top <= 2 && p.left <= 2
}

/// The tiles of forward (or of backward-data), if they are worth their transforms. `pairs`: what competes with them are products
/// of pairs of bf16, while the products of tiles are f32.
pub(crate) fn tiling(op: &Conv2d, geometry: &Geometry, backward: bool, pairs: bool) -> Option<Tiling> {
    if !applies(op) || op.c().min(op.k()) < MIN_CHANNELS {
        return None;
    }
    let (top, left) = (op.padding().top, op.padding().left);
    let before = if backward { (2 - top, 2 - left) } else { (top, left) };
    let tiling = Tiling { n: best(geometry, pairs)?, before };
    let (rows, columns) = tiling.tiles(geometry.out);
    let least = if !backward && fits_single(op) { MIN_ROWS_OF_ONE } else { MIN_ROWS };
    (op.n() * rows * columns >= least).then_some(tiling)
}

/// Whether an op is forward with one picture, in channels that tasks can share out.
fn fits_single(op: &Conv2d) -> bool {
    op.n() == 1 && op.k().is_multiple_of(WIDTH) && op.c().is_multiple_of(16 * single::SLABS)
}

/// Fewer tiles over all pictures do not pay for filters that are up to four times as large as the kernels.
const MIN_ROWS: usize = 64;

/// The same where tasks read each filter once: two full tiles of the micro-kernel.
const MIN_ROWS_OF_ONE: usize = 16;

/// The tiles of backward-weight, if they are worth their transforms.
pub(crate) fn weight_tiling(op: &Conv2d, geometry: &Geometry, pairs: bool) -> Option<Tiling> {
    /// Tiles over all pictures that pay for setting, adding and transforming sums up to four times as large as the kernels.
    /// One tile saves up to 108 multiplications per pair of channels, which is a nanosecond; the sums of a pair are some
    /// 36 numbers in each of two chunks that pass through memory about six times, which is near a hundred.
    const MIN_WEIGHT_ROWS: usize = 128;
    let tiling = tiling(op, geometry, false, pairs)?;
    let (rows, columns) = tiling.tiles(geometry.out);
    (op.n() * rows * columns >= MIN_WEIGHT_ROWS).then_some(tiling)
}

/// Fewer channels do not pay for the transforms of a tile.
const MIN_CHANNELS: usize = 16;

/// The size that needs the fewest multiplications, if it is far fewer than taps inside the image.
fn best(geometry: &Geometry, pairs: bool) -> Option<usize> {
    let taps =
        |axis: &crate::direct::geometry::Axis, len: usize| (0..len).map(|o| axis.at(o).len()).sum::<usize>();
    let (rows, columns) = geometry.out;
    let direct = taps(&geometry.rows, rows) * taps(&geometry.columns, columns);
    let cost = |n: usize| {
        let (y, x) = Tiling { n, before: (0, 0) }.tiles(geometry.out);
        y * x * n * n
    };
    let n = (4..=matrices::MOST).min_by_key(|&n| cost(n))?;
    let worth = if pairs { cost(n) * 5 <= direct * 2 } else { cost(n) * 3 <= direct * 2 };
    worth.then_some(n)
}

/// Calls the transform of a size and kind.
pub(crate) fn transform<const KIND: usize>(
    isa: Isa,
    n: usize,
    src: &[f32],
    from: &[usize],
    extent: Extent,
    dst: &mut [f32],
    stride: usize,
) {
    match n {
        4 => kernel::transform::<4, KIND>(isa, src, from, extent, dst, stride),
        5 => kernel::transform::<5, KIND>(isa, src, from, extent, dst, stride),
        _ => kernel::transform::<6, KIND>(isa, src, from, extent, dst, stride),
    }
}

/// Transforms a tile's sums, `stride` apart from number `first` on, to outputs that have places of their own.
pub(crate) fn transform_output(
    isa: Isa,
    n: usize,
    (sums, first, stride): (&[f32], usize, usize),
    extent: Extent,
    places: &mut [Option<&mut [f32]>],
    add: bool,
) {
    let from: [usize; MOST * MOST] = std::array::from_fn(|i| first + i * stride);
    match n {
        4 => kernel::transform_output::<4>(isa, sums, &from, extent, places, add),
        5 => kernel::transform_output::<5>(isa, sums, &from, extent, places, add),
        _ => kernel::transform_output::<6>(isa, sums, &from, extent, places, add),
    }
}

/// Floats of all filters for `width` outputs and a sum over `depth` channels.
pub(crate) fn filters_len(tiling: Tiling, width: usize, depth: usize) -> usize {
    width.div_ceil(WIDTH) * tiling.products() * (depth * WIDTH + PAD)
}

/// Filters from panels of nine taps (`[width / 32][tap][depth][32]`) to panels of products
/// (`[width / 32][n · n][depth][32]`, each product followed by [`PAD`]). Backwards, the window is read from its end.
pub(crate) fn filters(
    threads: &Threads,
    isa: Isa,
    n: usize,
    backward: bool,
    depth: usize,
    panels: &[f32],
    filters: &mut [f32],
) {
    let len = depth * WIDTH;
    let stride = len + PAD;
    let from: [usize; 9] = std::array::from_fn(|tap| if backward { 8 - tap } else { tap } * len);
    let panels = panels.chunks_exact(9 * len).zip(filters.chunks_exact_mut(n * n * stride));
    threads.run(panels, |(panel, filters), _| {
        transform::<FILTER>(isa, n, panel, &from, Extent::line(len), filters, stride);
    });
}
