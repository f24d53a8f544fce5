//! The suite, on the kernels as the emulator runs them.

mod common;

use resnet_conformance::conformance;
use resnet_core::DType;

conformance!(common::emulated());
conformance!(bf16, common::emulated(), DType::Bf16, 24);
