//! The suite, on the kernels as the emulator runs them.

mod common;

use resnet_conformance::{conformance, laws};
use resnet_core::DType;
use resnet_cuda::CudaBackend;
use resnet_cuda::choice::Choice;

conformance!(common::emulated());
conformance!(bf16, common::emulated(), DType::Bf16, 24);

/// The laws of convolutions on Hopper's warpgroups, where these can: one case in seven, so more cases.
mod wgmma {
    use super::*;

    fn emulated() -> CudaBackend {
        common::emulated().with_choice(Choice::Wgmma)
    }

    fn hold(law: fn(fn() -> CudaBackend, DType)) {
        laws::with_cases(48, || law(emulated, DType::Bf16));
    }

    #[test]
    fn conv2d_matches_reference() {
        hold(laws::conv2d::forward_matches_reference);
    }

    #[test]
    fn conv2d_backward_data_matches_reference() {
        hold(laws::conv2d::backward_data_matches_reference);
    }

    #[test]
    fn conv2d_backward_weight_matches_reference() {
        hold(laws::conv2d::backward_weight_matches_reference);
    }

    #[test]
    fn sums_are_of_stored_values() {
        hold(laws::sums::sums_are_of_stored_values);
    }

    #[test]
    fn gradient_sums_are_of_stored_values() {
        hold(laws::sums::gradient_sums_are_of_stored_values);
    }
}
