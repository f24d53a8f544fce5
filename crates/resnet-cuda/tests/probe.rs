//! The probe against drivers made to order: each reason why there is no CUDA, and a device that is found.
//! The fake libraries are compiled by the compiler that compiles this test, so no machine needs CUDA for it.
#![cfg(target_os = "linux")]

mod fake;

use std::path::{Path, PathBuf};

use resnet_core::Error;
use resnet_cuda::probe::{Capability, DriverVersion, find_nvrtc};
use resnet_cuda::{CudaBackend, CudaUnavailable, Search, probe};
use tempfile::TempDir;

use crate::fake::rustc;

/// What a fake driver answers.
struct Fake {
    init: i32,
    version: i32,
    count: i32,
    capability: (i32, i32),
}

/// A current driver with two current devices.
const CURRENT: Fake = Fake { init: 0, version: 13_010, count: 2, capability: (9, 0) };

impl Fake {
    fn build(&self, folder: &Path, flags: &[&str]) {
        rustc("driver.rs", &folder.join("libcuda.so.1"), |command| {
            command
                .args(flags)
                .env("FAKE_INIT", self.init.to_string())
                .env("FAKE_VERSION", self.version.to_string())
                .env("FAKE_COUNT", self.count.to_string())
                .env("FAKE_MAJOR", self.capability.0.to_string())
                .env("FAKE_MINOR", self.capability.1.to_string());
        });
    }

    /// Probes a folder that holds this driver and no NVRTC.
    fn probe(&self, ordinal: usize) -> Result<resnet_cuda::Device, CudaUnavailable> {
        let (dir, search) = empty();
        self.build(dir.path(), &[]);
        probe(&search, ordinal)
    }
}

/// A folder, and a search that looks nowhere else.
fn empty() -> (TempDir, Search) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let search = Search { folders: vec![dir.path().to_owned()], system: false };
    (dir, search)
}

#[test]
fn no_driver_names_every_place() {
    let (dir, search) = empty();
    let error = probe(&search, 0).expect_err("there is no driver");
    assert!(matches!(&error, CudaUnavailable::NoDriver { .. }), "{error:?}");
    let message = CudaBackend::open(&search, 0).expect_err("there is no driver").to_string();
    assert_eq!(message, Error::from(error).to_string());
    for part in ["cuda: no NVIDIA driver", "libcuda.so.1", &dir.path().display().to_string(), "--backend cpu"]
    {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn a_name_unknown_to_the_loader_is_no_driver() {
    let search = Search { folders: vec![], system: true };
    match probe(&search, usize::MAX) {
        Err(CudaUnavailable::NoDriver { searched, .. }) => {
            assert_eq!(searched, [PathBuf::from("libcuda.so.1")])
        }
        Err(_) => {} // this machine has a driver; whatever it says, there is no device with that number
        Ok(device) => panic!("found {device}"),
    }
}

#[test]
fn a_file_that_is_no_library() {
    let (dir, search) = empty();
    let path = dir.path().join("libcuda.so.1");
    std::fs::write(&path, "not a library").expect("written");
    match probe(&search, 0) {
        Err(CudaUnavailable::Unloadable { path: found, .. }) => assert_eq!(found, path),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stub_lacks_functions() {
    let (dir, search) = empty();
    rustc("nvrtc.rs", &dir.path().join("libcuda.so.1"), |_| {});
    match probe(&search, 0) {
        Err(CudaUnavailable::MissingSymbol { symbol, .. }) => assert_eq!(symbol, "cuInit"),
        other => panic!("{other:?}"),
    }
    let (dir, search) = empty();
    CURRENT.build(dir.path(), &["--cfg", "old"]);
    match probe(&search, 0) {
        Err(CudaUnavailable::MissingSymbol { symbol, .. }) => assert_eq!(symbol, "cuDeviceTotalMem_v2"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn driver_without_a_device() {
    let no_device = Fake { init: 100, ..CURRENT }.probe(0);
    assert!(matches!(no_device, Err(CudaUnavailable::NoDevice)), "{no_device:?}");
    let hidden = Fake { count: 0, ..CURRENT }.probe(0);
    assert!(matches!(hidden, Err(CudaUnavailable::NoDevice)), "{hidden:?}");
    let broken = Fake { init: 999, ..CURRENT }.probe(0);
    assert!(matches!(broken, Err(CudaUnavailable::Call { call: "cuInit", code: 999 })), "{broken:?}");
}

#[test]
fn a_device_number_that_is_not_there() {
    let error = CURRENT.probe(2).expect_err("there are two");
    assert_eq!(error.to_string(), "there is no CUDA device 2: this machine has 2, numbered from 0");
}

#[test]
fn too_old() {
    match (Fake { version: 11_080, ..CURRENT }).probe(0) {
        Err(CudaUnavailable::DriverTooOld { found, .. }) => {
            assert_eq!(found, DriverVersion { major: 11, minor: 8 });
        }
        other => panic!("{other:?}"),
    }
    match (Fake { capability: (7, 5), ..CURRENT }).probe(1) {
        Err(CudaUnavailable::DeviceTooOld { device, found, needed }) => {
            assert_eq!(device, "Fake 1");
            assert!(found == Capability { major: 7, minor: 5 } && found < needed);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nvrtc_missing_then_found() {
    let (dir, search) = empty();
    CURRENT.build(dir.path(), &[]);
    match probe(&search, 0) {
        Err(CudaUnavailable::NoNvrtc { searched }) => assert_eq!(searched, [dir.path()]),
        other => panic!("{other:?}"),
    }

    rustc("nvrtc.rs", &dir.path().join("libnvrtc.so.13"), |_| {});
    let device = probe(&search, 1).expect("all is there");
    assert_eq!(
        device.to_string(),
        format!(
            "CUDA device 1, Fake 1 (compute capability 9.0, 1.5 GiB, driver for CUDA 13.1, NVRTC 13.7 from {})",
            dir.path().join("libnvrtc.so.13").display()
        )
    );
    assert_eq!(find_nvrtc(&search).expect("found").1, DriverVersion { major: 13, minor: 7 });

    // The probe asks for little; what computing needs beyond it is missing here, and says so before it is called.
    let refused = CudaBackend::open(&search, 1).expect_err("a compiler that only tells its version");
    assert!(matches!(&refused, Error::Device { backend: "cuda", .. }), "{refused:?}");
    assert!(refused.to_string().contains("has no function `nvrtc"), "{refused}");
}
