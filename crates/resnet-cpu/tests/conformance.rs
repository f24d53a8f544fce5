//! Every set of kernels is held to the specification.
#![allow(clippy::unwrap_used)] // a failure is a failed test

use resnet_cpu::{CpuBackend, Kernel};

/// A backend with these kernels. A machine without their instructions says so and runs its own fastest instead;
/// `RESNET_TEST_REQUIRE_KERNELS=1` makes that a failure.
fn with(kernel: Kernel) -> CpuBackend {
    CpuBackend::with_kernel(Some(2), kernel).unwrap_or_else(|e| {
        assert!(std::env::var_os("RESNET_TEST_REQUIRE_KERNELS").is_none(), "{e}");
        eprintln!("SKIPPED: {e}; the fastest kernels of this machine run instead");
        CpuBackend::with_kernel(Some(2), Kernel::Auto).unwrap()
    })
}

/// The same with Winograd's algorithm: what `auto` is on a machine that has nothing faster.
fn by_tiles(kernel: Kernel) -> CpuBackend {
    CpuBackend::with_winograd(Some(2), kernel).unwrap_or_else(|_| with(kernel))
}

mod auto {
    resnet_conformance::conformance!(crate::with(resnet_cpu::Kernel::Auto));
}

mod avx512 {
    resnet_conformance::conformance!(crate::with(resnet_cpu::Kernel::Avx512));
}

mod avx2 {
    resnet_conformance::conformance!(crate::with(resnet_cpu::Kernel::Avx2));
}

#[cfg(target_arch = "aarch64")]
mod neon {
    resnet_conformance::conformance!(crate::with(resnet_cpu::Kernel::Neon));
}

mod amx_emulated {
    resnet_conformance::conformance!(crate::with(resnet_cpu::Kernel::AmxEmulated));
}

/// What `auto` is where there are tiles.
mod auto_emulated {
    resnet_conformance::conformance!(crate::with(resnet_cpu::Kernel::AutoEmulated));
}

/// Convolutions are bounded by three products of two pieces. Whole networks are not: their bound is the noise of f32.
mod high_emulated {
    resnet_conformance::conformance!(@typed crate::with(resnet_cpu::Kernel::HighEmulated), resnet_core::DType::F32, resnet_conformance::laws::CASES;
        conv2d_matches_reference = conv2d::forward_matches_reference,
        conv2d_backward_data_matches_reference = conv2d::backward_data_matches_reference,
        conv2d_backward_weight_matches_reference = conv2d::backward_weight_matches_reference,
        repeat_is_bit_equal = memory::repeat_is_bit_equal,
        nothing_behind_a_tensor_is_written = memory::nothing_behind_a_tensor_is_written,
    );
}

mod portable {
    resnet_conformance::conformance!(crate::with(resnet_cpu::Kernel::Portable));
}

mod avx2_by_tiles {
    resnet_conformance::conformance!(crate::by_tiles(resnet_cpu::Kernel::Avx2));
}

mod portable_by_tiles {
    resnet_conformance::conformance!(crate::by_tiles(resnet_cpu::Kernel::Portable));
}

mod im2col {
    resnet_conformance::conformance!(crate::with(resnet_cpu::Kernel::Im2col));
}

/// bf16: by tiles, by products of pairs, and widened.
mod narrow {
    use resnet_core::DType;
    use resnet_cpu::Kernel;

    resnet_conformance::conformance!(auto, crate::with(Kernel::Auto), DType::Bf16);
    resnet_conformance::conformance!(strict, crate::with(Kernel::Strict), DType::Bf16);
    resnet_conformance::conformance!(avx512, crate::with(Kernel::Avx512), DType::Bf16);
    resnet_conformance::conformance!(portable, crate::with(Kernel::Portable), DType::Bf16);
    resnet_conformance::conformance!(im2col, crate::with(Kernel::Im2col), DType::Bf16);
    resnet_conformance::conformance!(amx_emulated, crate::with(Kernel::AmxEmulated), DType::Bf16);
}

/// PyTorch's numbers, in f64: what f32 differs from them by is far below the 1e-4 that an import is judged by.
#[test]
fn networks_as_pytorch_computes_them() {
    for kernel in Kernel::ALL {
        resnet_conformance::golden::networks(&mut with(kernel), 1e-4).unwrap();
    }
}
