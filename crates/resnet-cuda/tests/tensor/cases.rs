//! Shapes, element types, tiles and forms that are tried.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use resnet_core::DType;
use resnet_core::op::{Conv2d, Padding};
use resnet_cuda::tensor::tile::Tile;
use resnet_cuda::tensor::{Device, Element};

use crate::lab::SourceForm;

/// Products in one case at most; the emulator does some ten million a second.
const MOST_MACS: u64 = 3_000_000;

/// Convolutions weighted towards edges: channels that do not fill a vector or a tile, windows over the border, strides over the window.
pub(crate) fn conv() -> impl Strategy<Value = Conv2d> {
    let channels = || {
        prop_oneof![
            1 => prop::sample::select(vec![1usize, 3, 5, 10]),
            3 => prop::sample::select(vec![8usize, 16, 24, 32, 64, 72, 136]),
        ]
    };
    let window = prop_oneof![
        3 => prop::sample::select(vec![(1usize, 1usize), (3, 3)]),
        1 => (1..=4usize, 1..=4usize),
        1 => Just((7usize, 7usize)),
    ];
    let padding = prop_oneof![
        (0..=3usize).prop_map(Padding::all),
        (0..=2usize, 0..=2usize, 0..=2usize, 0..=2usize).prop_map(|(top, left, bottom, right)| Padding {
            top,
            left,
            bottom,
            right
        }),
    ];
    ((1..=3usize, 1..=11usize, 1..=11usize), channels(), channels(), window, 1..=3usize, padding)
        .prop_filter_map("no such convolution", |((n, h, w), c, k, window, stride, padding)| {
            Conv2d::new((n, h, w, c), k, window, stride, padding, 1, DType::F32).ok()
        })
        .prop_filter("too large", |op| op.macs() <= MOST_MACS)
}

/// Convolutions for Hopper's products: 1×1, stride 1, whole vectors of channels. Sums over fewer and more than the 64 channels of a stage,
/// and more stages than the pipeline has buffers; rows and columns that do not fill a tile, and more tiles than blocks.
pub(crate) fn pointwise() -> impl Strategy<Value = Conv2d> {
    let channels = || prop::sample::select(vec![8usize, 40, 64, 72, 136, 200]);
    let many = prop_oneof![3 => channels(), 1 => Just(448usize)];
    ((1..=3usize, 1..=11usize, 1..=13usize), many, channels())
        .prop_map(|((n, h, w), c, k)| {
            Conv2d::new((n, h, w, c), k, (1, 1), 1, Padding::all(0), 1, DType::F32).expect("is valid")
        })
        .prop_filter("too large", |op| op.macs() <= MOST_MACS)
}

/// Element types and tiles of Hopper's products.
pub(crate) fn wgmma_kernel() -> impl Strategy<Value = (Element, Tile)> {
    let kernels = [Element::Bf16, Element::F16].map(|element| Tile::WGMMA.map(|tile| (element, tile)));
    prop::sample::select(kernels.concat())
}

/// A device for tests that do not ask for more.
pub(crate) const DEVICE: Device = Device { multiprocessors: 4 };

/// As many blocks as the emulator has tiles for, or fewer, each of which then has several tiles.
pub(crate) fn device() -> impl Strategy<Value = Device> {
    prop::sample::select(vec![1usize, 2, 132]).prop_map(|multiprocessors| Device { multiprocessors })
}

/// Element types with tiles; all that the planner chooses.
pub(crate) fn gather_kernel() -> impl Strategy<Value = (Element, Tile)> {
    prop::sample::select(vec![
        (Element::Bf16, Tile::SMALL),
        (Element::Bf16, Tile::TALL),
        (Element::Bf16, Tile::LARGE),
        (Element::F16, Tile::SMALL),
        (Element::Tf32, Tile::SMALL),
        (Element::Tf32, Tile::LARGE),
    ])
}

/// The same for gradients of weights.
pub(crate) fn weight_kernel() -> impl Strategy<Value = (Element, Tile)> {
    prop::sample::select(vec![
        (Element::Bf16, Tile::SMALL),
        (Element::Bf16, Tile::LARGE),
        (Element::F16, Tile::SMALL),
        (Element::Tf32, Tile::SMALL),
        (Element::Tf32, Tile::LARGE),
    ])
}

/// Forms of a source.
pub(crate) fn source_form() -> impl Strategy<Value = SourceForm> {
    (any::<bool>(), prop::bool::weighted(0.2), any::<bool>())
        .prop_map(|(affine, residual, relu)| SourceForm { affine, residual, relu })
}

/// Tries cases; `RESNET_TENSOR_CASES` says how many.
pub(crate) fn check<S: Strategy>(strategy: S, test: impl Fn(S::Value)) {
    let cases = std::env::var("RESNET_TENSOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let done = runner.run(&strategy, |case| {
        test(case);
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
}

/// Calls `visit(pixel of x, pixel of y, tap)` for every tap that lies inside the image.
pub(crate) fn for_each_tap(op: &Conv2d, mut visit: impl FnMut(usize, usize, usize)) {
    let pad = op.padding();
    let inside = |out: usize, tap: usize, before: usize, extent: usize| {
        (out * op.stride() + tap).checked_sub(before).filter(|&at| at < extent)
    };
    for n in 0..op.n() {
        for (p, q) in (0..op.p()).flat_map(|p| (0..op.q()).map(move |q| (p, q))) {
            for (r, s) in (0..op.r()).flat_map(|r| (0..op.s()).map(move |s| (r, s))) {
                if let (Some(h), Some(w)) = (inside(p, r, pad.top, op.h()), inside(q, s, pad.left, op.w())) {
                    visit((n * op.h() + h) * op.w() + w, (n * op.p() + p) * op.q() + q, r * op.s() + s);
                }
            }
        }
    }
}
