//! Where the tests get a backend from.
#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod directions;

use std::io::Write;

use resnet_cuda::CudaBackend;
use resnet_cuda::machine::emulator::compiler;

/// Without a C++ compiler nothing in the test's program can run: it says so, past the harness, and ends;
/// under `RESNET_TEST_REQUIRE_EMULATOR=1` that is a failure.
pub(crate) fn require_emulator() {
    if compiler().is_none() {
        let required = std::env::var_os("RESNET_TEST_REQUIRE_EMULATOR").is_some_and(|v| v == "1");
        let what = if required { "FAILED" } else { "SKIPPED" };
        let why =
            "there is no C++ compiler (CXX, c++, g++, clang++) to compile the kernels for the emulator with";
        // Not `eprintln`, which the harness would swallow.
        let _ = writeln!(std::io::stderr(), "{what}: every test that runs CUDA kernels: {why}");
        std::process::exit(i32::from(required));
    }
}

/// The backend on this processor.
pub(crate) fn emulated() -> CudaBackend {
    require_emulator();
    CudaBackend::emulated().expect("the kernels compile")
}
