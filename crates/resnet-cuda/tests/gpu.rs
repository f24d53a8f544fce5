//! The suite on a device. `RESNET_TEST_MACHINE=gpu0` names it, `emulator` takes the emulator instead.
//!
//! Where nothing is named these tests look for device 0, and where there is none the program says so and ends;
//! `RESNET_TEST_REQUIRE_GPU=1` makes that a failure. `cargo xtask gpu-check` runs it.

use std::io::Write;
use std::sync::OnceLock;

use resnet_conformance::conformance;
use resnet_core::DType;
use resnet_cuda::CudaBackend;

conformance!(backend());
conformance!(bf16, backend(), DType::Bf16);
conformance!(f16, backend(), DType::F16);

fn backend() -> CudaBackend {
    let named = std::env::var("RESNET_TEST_MACHINE").unwrap_or_default();
    if named == "emulator" {
        return CudaBackend::emulated().expect("the kernels compile");
    }
    let ordinal = named.strip_prefix("gpu").unwrap_or("0").parse().expect("a number follows `gpu`");
    let why = match CudaBackend::new(ordinal) {
        Ok(backend) => return backend,
        Err(error) => error.to_string(),
    };
    // Tests run side by side; one of them speaks for all.
    static SAID: OnceLock<()> = OnceLock::new();
    SAID.get_or_init(|| {
        let required = std::env::var_os("RESNET_TEST_REQUIRE_GPU").is_some_and(|value| value == "1");
        let what = if required { "FAILED" } else { "SKIPPED" };
        // Not `eprintln`, which the harness would swallow.
        let _ = writeln!(std::io::stderr(), "{what}: every test that runs on a GPU: {why}");
        std::process::exit(i32::from(required));
    });
    unreachable!("the process has ended")
}
