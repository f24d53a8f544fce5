//! Every reason why there is no CUDA, each with what to do about it.

use std::fmt;
use std::path::PathBuf;

use crate::probe::{Capability, DriverVersion};

/// Why CUDA cannot be used here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaUnavailable {
    /// No file of the driver library was found. Usual on a machine without an NVIDIA device.
    #[error(
        "no NVIDIA driver: {library} was not found ({}); install the NVIDIA driver, or use `--backend cpu`",
        Searched(.searched)
    )]
    NoDriver {
        /// The library by the name the loader knows it by.
        library: &'static str,
        /// Every path and name that was tried, in order.
        searched: Vec<PathBuf>,
    },

    /// No file of NVRTC, the compiler for kernels, was found. It comes with the CUDA toolkit, not with the driver.
    #[error(
        "NVRTC, the run-time compiler of CUDA, was not found ({}); install it with the CUDA toolkit and set CUDA_PATH \
         to the toolkit's folder, or with `pip install nvidia-cuda-nvrtc` in an activated Python environment",
        Searched(.searched)
    )]
    NoNvrtc {
        /// Every path and name that was tried, in order.
        searched: Vec<PathBuf>,
    },

    /// A library's file exists and the loader refuses it: another architecture, or a library it depends on is missing.
    #[error("{} is there but cannot be loaded: {why}", path.display())]
    Unloadable {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        why: String,
    },

    /// A library was loaded and lacks a function: a stub meant for linking, or a version from before the function.
    #[error(
        "{} has no function `{symbol}`: it is a stub for linking or too old; install the NVIDIA driver itself, or remove \
         the stub's folder from the library path",
        path.display()
    )]
    MissingSymbol {
        /// The file or name that was loaded.
        path: PathBuf,
        /// The function.
        symbol: &'static str,
    },

    /// A call of the driver or of NVRTC failed with a code that has no variant of its own.
    #[error("{call} failed with code {code}; `nvidia-smi` tells whether the driver works at all")]
    Call {
        /// The function.
        call: &'static str,
        /// Its result, a `CUresult` or an `nvrtcResult`.
        code: i32,
    },

    /// The driver works and sees no device.
    #[error(
        "the NVIDIA driver is there but sees no device; check `nvidia-smi`, whether CUDA_VISIBLE_DEVICES hides it, and \
         whether the container was started with its devices"
    )]
    NoDevice,

    /// A device number that is not there.
    #[error("there is no CUDA device {ordinal}: this machine has {count}, numbered from 0")]
    NoSuchDevice {
        /// The number asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },

    /// The driver is older than the CUDA version that kernels are compiled for.
    #[error("the NVIDIA driver supports CUDA {found}, and CUDA {needed} is needed; update the driver")]
    DriverTooOld {
        /// What the driver supports.
        found: DriverVersion,
        /// The least that will do.
        needed: DriverVersion,
    },

    /// The device lacks instructions that the kernels are built on.
    #[error(
        "{device} has compute capability {found}, and {needed} is needed for bf16 and asynchronous copies; choose another \
         device, or use `--backend cpu`"
    )]
    DeviceTooOld {
        /// The device's name.
        device: String,
        /// Its compute capability.
        found: Capability,
        /// The least that will do.
        needed: Capability,
    },
}

/// Prints what was tried: `tried a, b, c`.
struct Searched<'a>(&'a [PathBuf]);

impl fmt::Display for Searched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "there was no place to look");
        }
        write!(f, "tried ")?;
        for (i, path) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}", path.display())?;
        }
        Ok(())
    }
}

impl From<CudaUnavailable> for resnet_core::Error {
    fn from(unavailable: CudaUnavailable) -> Self {
        resnet_core::Error::Device { backend: crate::NAME, action: unavailable.to_string() }
    }
}
