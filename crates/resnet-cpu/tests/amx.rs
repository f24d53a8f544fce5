//! Convolutions by tiles of AMX against the same ones with tiles emulated: the same bits.
//!
//! The emulation is held to the conformance suite on every machine; this says that the suite speaks for the tiles too.
//! `RESNET_TEST_REQUIRE_AMX=1` makes a machine without AMX a failure.
#![allow(clippy::unwrap_used)] // a failure is a failed test

mod common;

use common::{read, seeded, with, zeros};
use resnet_core::op::{Conv2d, Op, Padding};
use resnet_core::{Accumulate, Arithmetic, Backend, DType, GradOut, GradSource, Source, TensorDesc};
use resnet_cpu::{CpuBackend, Kernel};

/// Pictures, extent, channels, kernels, window, stride.
type Case = (usize, usize, usize, usize, usize, usize);

/// All large enough for tiles, most of them with blocks that are not full.
const CASES: [Case; 5] = [
    (33, 3, 40, 70, 3, 1),  // rows, channels and kernels to spare; taps on padding
    (24, 4, 32, 24, 3, 2),  // windows apart
    (40, 1, 600, 64, 1, 1), // a sum of more than one chain
    (64, 2, 24, 33, 1, 2),  // pixels that no window reads
    (2, 26, 32, 32, 3, 1),  // few pictures: the pixels of a row make a tile
];

fn op((n, h, c, k, r, stride): Case, dtype: DType) -> Conv2d {
    Conv2d::new((n, h, h + 1, c), k, (r, r), stride, Padding::all(r / 2), 1, dtype).unwrap()
}

/// A backend on one thread: what runs where there is nothing but a processor has no others.
fn backend(kernel: Kernel) -> Option<CpuBackend> {
    CpuBackend::with_kernel(Some(1), kernel)
        .inspect_err(|e| {
            assert!(std::env::var_os("RESNET_TEST_REQUIRE_AMX").is_none(), "{e}");
            println!("SKIPPED: {e}");
        })
        .ok()
}

/// The three directions of an op: how each is summed, and its result as bits.
fn bits(b: &mut CpuBackend, op: &Conv2d) -> [(Arithmetic, Vec<u32>); 3] {
    let (x, _) = seeded(b, op.x_desc(), 1);
    let (w, _) = seeded(b, op.w_desc(), 2);
    let (dy, _) = seeded(b, op.y_desc(), 3);
    let (t, _) = seeded(b, TensorDesc::affine(op.c()), 4);
    let source = || Source { raw: &x, affine: Some(&t), residual: None, relu: true };
    let gradient = || GradSource { dz: &dy, norm: None };
    let mut y = zeros(b, op.y_desc());
    b.conv2d(op, source(), &w, None, &mut y, None).unwrap();
    let before = vec![0.25; op.x_desc().len()];
    let mut dx = with(b, op.x_desc(), &before);
    b.conv2d_backward_data(
        op,
        gradient(),
        &w,
        GradOut { accumulate: Accumulate::Add, ..GradOut::set(&mut dx) },
    )
    .unwrap();
    let mut dw = zeros(b, op.w_desc());
    b.conv2d_backward_weight(op, source(), gradient(), &mut dw, None, Accumulate::Set).unwrap();
    let ops = [Op::Conv2d(*op), Op::Conv2dBackwardData(*op), Op::Conv2dBackwardWeight(*op)];
    let results = [(op.y_desc(), &y), (op.x_desc(), &dx), (op.w_desc(), &dw)];
    std::array::from_fn(|i| {
        let (desc, buffer) = results[i];
        (b.arithmetic(&ops[i]), read(b, desc, buffer).into_iter().map(f32::to_bits).collect())
    })
}

#[test]
fn tiles_and_their_emulation_give_the_same_bits() {
    for (kernel, emulated, products) in
        [(Kernel::Amx, Kernel::AmxEmulated, 6), (Kernel::High, Kernel::HighEmulated, 3)]
    {
        // `high` does without tiles where there are none, so `amx` is asked whether there are.
        let (Some(_), Some(mut tiles), Some(mut emulated)) =
            (backend(Kernel::Amx), backend(kernel), backend(emulated))
        else {
            return;
        };
        for case in CASES {
            for dtype in [DType::F32, DType::Bf16] {
                let op = op(case, dtype);
                let pairs = bits(&mut tiles, &op).into_iter().zip(bits(&mut emulated, &op));
                for (direction, ((how, got), (emulated, wanted))) in pairs.enumerate() {
                    // Two pictures do not fill a step of a sum over pictures, which only the emulation takes all the same.
                    if direction == 2 && case.0 < 24 {
                        continue;
                    }
                    let pieces = Arithmetic::Pieces { products };
                    assert!(how == emulated && (dtype != DType::F32 || how == pieces), "{case:?}: {how:?}");
                    let differ = got.iter().zip(&wanted).position(|(got, wanted)| got != wanted);
                    assert_eq!(differ, None, "{kernel}, {case:?}, {dtype:?}, direction {direction}");
                }
            }
        }
    }
}

/// What `auto` is where there are tiles: each op by the way that is fastest, and no two ways mixed up in one plan.
#[test]
fn winograd_before_six_products_and_after_one() {
    let b = CpuBackend::with_kernel(Some(1), Kernel::AutoEmulated).unwrap();
    let of = |case, dtype| {
        let op = op(case, dtype);
        [Op::Conv2d(op), Op::Conv2dBackwardData(op), Op::Conv2dBackwardWeight(op)].map(|op| b.arithmetic(&op))
    };
    let (tiled, pointwise) = ((64, 12, 64, 64, 3, 1), (64, 12, 64, 64, 1, 1));
    for arithmetic in of(tiled, DType::F32) {
        assert!(matches!(arithmetic, Arithmetic::Winograd { .. }), "{arithmetic:?}");
    }
    assert_eq!(of(pointwise, DType::F32), [Arithmetic::Pieces { products: 6 }; 3]);
    assert_eq!(of(tiled, DType::Bf16), [Arithmetic::Sums; 3]);
    // 65 tiles are enough for Winograd's algorithm where no sums of weights have to be transformed.
    let [forward, backward, weight] = of((65, 3, 32, 32, 3, 1), DType::F32);
    assert!(matches!((forward, backward), (Arithmetic::Winograd { .. }, Arithmetic::Winograd { .. })));
    assert_eq!(weight, Arithmetic::Pieces { products: 6 });
    assert!(b.describe().contains("Winograd, AMX emulated with f32 as three bf16"), "{}", b.describe());
}
