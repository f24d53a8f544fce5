//! The suite, on the kernels as the emulator runs them.

mod common;

use resnet_conformance::conformance;

conformance!(common::emulated());
