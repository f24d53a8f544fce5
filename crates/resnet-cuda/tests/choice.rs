//! Tensor cores behind the trait give what ordinary units give.
//!
//! Tensors hold small whole numbers, so that every product, sum and normalised value is exact in bf16's, tf32's and f32's arithmetic alike.
//! Then both ways must agree bit for bit, whatever their order of additions; only the statistics, which divide, may round.

mod common;

use common::directions::all_directions;
use resnet_core::op::{Conv2d, Padding};
use resnet_core::{Backend, DType};
use resnet_cuda::CudaBackend;
use resnet_cuda::choice::Choice;

/// On the emulator, or on the device that `RESNET_TEST_MACHINE=gpu0` names.
fn backend(choice: Choice) -> CudaBackend {
    let named = std::env::var("RESNET_TEST_MACHINE").unwrap_or_default();
    let backend = match named.strip_prefix("gpu") {
        Some(ordinal) => CudaBackend::new(ordinal.parse().expect("a number follows `gpu`")).expect("opens"),
        None => common::emulated(),
    };
    backend.with_choice(choice)
}

/// Image, output channels, window, stride, padding.
type Shape = ((usize, usize, usize, usize), usize, (usize, usize), usize, Padding);

fn usual() -> [Shape; 5] {
    let pad = Padding::all;
    [
        ((2, 9, 10, 3), 16, (7, 7), 2, pad(3)), // a stem
        ((2, 6, 5, 16), 24, (3, 3), 1, pad(1)), // the inside of a block
        ((1, 7, 7, 24), 16, (3, 3), 2, pad(1)), // its first
        ((2, 6, 6, 16), 72, (1, 1), 2, pad(0)), // a projection
        ((5, 1, 1, 40), 10, (1, 1), 1, pad(0)), // a classifier
    ]
}

fn agree(choice: Choice, dtype: DType, shapes: &[Shape]) {
    for &(x, k, window, stride, padding) in shapes {
        let op = Conv2d::new(x, k, window, stride, padding, 1, dtype).expect("is valid");
        let mut forced = backend(choice);
        let (exact, rounded) = all_directions(&mut forced, &op);
        let (wanted, statistics) = all_directions(&mut backend(Choice::Simt), &op);
        assert_eq!(exact, wanted, "{op:?}");
        let repeated = all_directions(&mut forced, &op);
        assert_eq!((exact, rounded.clone()), repeated, "{op:?} is not repeated bit for bit");
        // Statistics are f32 numbers from f64 sums of f32 partial ones; each way stays within 128 roundings of f32, see tests/tensor.
        for (got, wanted) in rounded.iter().zip(statistics) {
            let far = (got - wanted).abs() / wanted.abs().max(1.0);
            assert!(far <= 256.0 * f32::EPSILON, "{got} and {wanted}, {op:?}");
        }
    }
}

#[test]
fn bf16_on_tensor_cores_is_bf16_on_ordinary_units() {
    agree(Choice::Tensor, DType::Bf16, &usual());
}

#[test]
fn bf16_and_f16_on_warpgroups_are_those_on_ordinary_units() {
    let device = backend(Choice::Wgmma).describe();
    if device.contains("compute capability") && !device.contains("compute capability 9.0") {
        eprintln!("SKIPPED: {device} is no Hopper device");
        return;
    }
    let ends_of_blocks = [((2, 9, 8, 72), 136, (1, 1), 1, Padding::all(0))];
    agree(Choice::Wgmma, DType::Bf16, &ends_of_blocks);
    agree(Choice::Wgmma, DType::F16, &ends_of_blocks);
}

/// cuDNN runs on no emulator, so this takes a device.
#[test]
fn bf16_and_f32_by_cudnn_are_those_on_ordinary_units() {
    if !std::env::var("RESNET_TEST_MACHINE").is_ok_and(|named| named.starts_with("gpu")) {
        eprintln!("SKIPPED: cuDNN takes a device, which RESNET_TEST_MACHINE=gpu0 names");
        return;
    }
    agree(Choice::Cudnn, DType::Bf16, &usual());
    agree(Choice::Cudnn, DType::F32, &usual());
}

#[test]
fn tf32_on_tensor_cores_is_f32_on_ordinary_units_for_numbers_that_tf32_holds() {
    agree(Choice::Tf32, DType::F32, &usual());
}
