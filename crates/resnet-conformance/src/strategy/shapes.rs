//! Shapes of ops, weighted towards edges.
//!
//! Each generator aims at one kind of edge, because a uniform draw hardly ever hits two at once:
//! a window larger than the image, a stride larger than the window, one pixel, one channel, one channel per group,
//! odd extents, padding that differs on the four sides, padding wider than the window.
//! No tensor has more than [`MOST`] elements.

use proptest::prelude::*;
use resnet_core::op::{AvgPool, Combine, Conv2d, MaxPool, PadValue, Padding};
use resnet_core::{DType, TensorDesc};

/// Most elements of one tensor.
pub const MOST: usize = 4096;

/// Most multiplications of one convolution.
const MOST_MACS: u64 = 200_000;

fn small(desc: TensorDesc) -> bool {
    desc.len() <= MOST
}

/// Batch: mostly 1.
fn batch() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(1usize), 1 => 2..=5usize]
}

/// Extent of an image: 1, small or larger.
fn extent() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(1usize), 3 => 2..=5usize, 2 => 6..=13usize]
}

/// Channels: 1, few, and numbers around the widths of vector registers.
fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => Just(1usize),
        3 => 2..=7usize,
        3 => prop::sample::select(vec![8usize, 15, 16, 17, 31, 32, 33, 48, 64, 65]),
    ]
}

fn padding(most: usize) -> impl Strategy<Value = Padding> {
    prop_oneof![
        1 => Just(Padding::default()),
        1 => (0..=most).prop_map(Padding::all),
        2 => (0..=most, 0..=most, 0..=most, 0..=most)
            .prop_map(|(top, left, bottom, right)| Padding { top, left, bottom, right }),
    ]
}

/// Image, window, stride, padding.
type Geometry = ((usize, usize), (usize, usize), usize, Padding);

/// Any geometry.
fn any_geometry() -> impl Strategy<Value = Geometry> {
    ((extent(), extent()), (1..=4usize, 1..=4usize), 1..=3usize, padding(3))
}

/// The window is larger than the image, which only padding makes possible.
fn window_over_image() -> impl Strategy<Value = Geometry> {
    ((1..=3usize, 1..=3usize), (1..=4usize, 1..=4usize), 1..=2usize, padding(4))
        .prop_map(|((h, w), (dr, ds), stride, pad)| ((h, w), (h + dr, w + ds), stride, pad))
}

/// The stride is larger than the window: some pixels are never read, and their gradient is zero.
fn stride_over_window() -> impl Strategy<Value = Geometry> {
    ((2..=11usize, 2..=11usize), (1..=2usize, 1..=2usize), 3..=5usize, padding(2))
}

/// The geometries that residual networks are made of.
fn usual() -> impl Strategy<Value = Geometry> {
    let window = prop::sample::select(vec![(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (5, 1, 2), (7, 2, 3)]);
    (window, 1..=15usize, 1..=15usize, any::<bool>()).prop_map(|((window, stride, pad), h, w, same)| {
        let padding = if same { Padding::same(h, w, (window, window), stride) } else { Padding::all(pad) };
        ((h, w), (window, window), stride, padding)
    })
}

/// One pixel, one position: a matrix product.
fn pixel() -> impl Strategy<Value = Geometry> {
    Just(((1, 1), (1, 1), 1, Padding::default()))
}

fn geometry() -> impl Strategy<Value = Geometry> {
    prop_oneof![
        2 => any_geometry(),
        2 => window_over_image(),
        2 => stride_over_window(),
        4 => usual(),
        1 => pixel(),
    ]
}

/// Groups, channels and kernels per group.
fn grouping() -> impl Strategy<Value = (usize, usize, usize)> {
    prop_oneof![
        4 => (Just(1usize), channels(), channels()),
        2 => (2..=4usize, 1..=9usize, 1..=9usize),
        // Depthwise, with one or more kernels per channel.
        1 => (prop_oneof![2..=5usize, Just(16), Just(33)], Just(1usize), 1..=2usize),
        // Groups of a whole register of channels, as in ResNeXt.
        1 => (2..=3usize, Just(16usize), prop_oneof![Just(16usize), 1..=3usize]),
    ]
}

/// Convolutions.
pub fn conv2d(dtype: DType) -> impl Strategy<Value = Conv2d> {
    (batch(), geometry(), grouping()).prop_filter_map(
        "too large or no output",
        move |(n, geometry, grouping)| {
            let ((h, w), window, stride, padding) = geometry;
            let (groups, c, k) = grouping;
            let op = Conv2d::new((n, h, w, c * groups), k * groups, window, stride, padding, groups, dtype)
                .ok()?;
            let fits =
                small(op.x_desc()) && small(op.y_desc()) && small(op.w_desc()) && op.macs() <= MOST_MACS;
            fits.then_some(op)
        },
    )
}

/// Convolutions, two in seven of them such that fast algorithms apply: 3 × 3, stride 1, enough channels, odd maps and paddings. One in
/// seven is a product of matrices whose rows are whole vectors: 1 × 1, stride 1, no padding.
pub fn conv2d_or_fast(dtype: DType) -> impl Strategy<Value = Conv2d> {
    let wide = || prop::sample::select(vec![16usize, 17, 24, 32, 33]);
    let fast = (1..=3usize, 1..=11usize, 1..=11usize, wide(), wide(), padding(2)).prop_filter_map(
        "too large or no output",
        move |(n, h, w, c, k, padding)| {
            let op = Conv2d::new((n, h, w, c), k, (3, 3), 1, padding, 1, dtype).ok()?;
            (small(op.x_desc()) && small(op.y_desc()) && op.macs() <= MOST_MACS).then_some(op)
        },
    );
    let rows = || prop::sample::select(vec![8usize, 16, 40, 64, 72, 136]);
    let product = (1..=3usize, 1..=11usize, 1..=11usize, rows(), rows()).prop_filter_map(
        "too large",
        move |(n, h, w, c, k)| {
            let op = Conv2d::new((n, h, w, c), k, (1, 1), 1, Padding::default(), 1, dtype).ok()?;
            (small(op.x_desc()) && small(op.y_desc()) && op.macs() <= MOST_MACS).then_some(op)
        },
    );
    prop_oneof![4 => conv2d(dtype), 2 => fast, 1 => product]
}

/// Windows of one pixel over many pixels: as many channels as a panel of weights has, or some more.
pub fn one_pixel_windows(dtype: DType) -> impl Strategy<Value = Conv2d> {
    let channels = || prop::sample::select(vec![32usize, 32, 64, 96, 33, 8]);
    (1..=9usize, 5..=8usize, 5..=8usize, channels(), channels()).prop_filter_map(
        "too large",
        move |(n, h, w, c, k)| {
            let op = Conv2d::new((n, h, w, c), k, (1, 1), 1, Padding::default(), 1, dtype).ok()?;
            (op.macs() <= 10 * MOST_MACS).then_some(op)
        },
    )
}

/// Passes over an activation.
pub fn combine(dtype: DType) -> impl Strategy<Value = Combine> {
    (batch(), extent(), extent(), channels()).prop_filter_map("too large", move |(n, h, w, c)| {
        Combine::new(n, h, w, c, dtype).ok().filter(|op| small(op.desc()))
    })
}

/// Max-pools.
pub fn max_pool(dtype: DType) -> impl Strategy<Value = MaxPool> {
    let pad_value = prop_oneof![Just(PadValue::NegInf), Just(PadValue::Zero)];
    (batch(), geometry(), channels(), pad_value).prop_filter_map(
        "no such pool",
        move |(n, geometry, c, pad_value)| {
            let ((h, w), window, stride, padding) = geometry;
            let op = MaxPool::new((n, h, w, c), window, stride, padding, pad_value, dtype).ok()?;
            (small(op.x_desc()) && small(op.y_desc())).then_some(op)
        },
    )
}

/// Average pools; a third of them global.
pub fn avg_pool(dtype: DType) -> impl Strategy<Value = AvgPool> {
    (batch(), geometry(), channels(), 0..3u8).prop_filter_map(
        "no such pool",
        move |(n, geometry, c, kind)| {
            let ((h, w), window, stride, padding) = geometry;
            let op = match kind {
                0 => AvgPool::global((n, h, w, c), dtype),
                _ => AvgPool::new((n, h, w, c), window, stride, padding, dtype),
            };
            op.ok().filter(|op| small(op.x_desc()) && small(op.y_desc()))
        },
    )
}
