//! Why a kernel could not be compiled.

use super::Arch;
use crate::error::CudaUnavailable;
use crate::probe::DriverVersion;

/// Why a kernel could not be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// NVRTC is not there, or not the library it claims to be.
    #[error(transparent)]
    Unavailable(#[from] CudaUnavailable),

    /// A device newer than the compiler.
    #[error(
        "NVRTC {version} does not know {arch}; install a newer one, with the CUDA toolkit or with \
         `pip install --upgrade nvidia-cuda-nvrtc`"
    )]
    UnknownArch {
        /// What was asked for.
        arch: Arch,
        /// The version of the compiler that was found.
        version: DriverVersion,
    },

    /// The compiler refuses the source. The log names file and line.
    #[error("NVRTC refuses kernels/{unit} for {arch}:\n{log}")]
    Rejected {
        /// The file.
        unit: String,
        /// What was compiled for.
        arch: Arch,
        /// What the compiler said.
        log: String,
    },

    /// A call of NVRTC failed for another reason than the source: memory, or an option it does not know.
    #[error("{call} failed for kernels/{unit}: {what}{}", if .log.is_empty() { String::new() } else { format!("\n{}", .log) })]
    Nvrtc {
        /// The function.
        call: &'static str,
        /// The file.
        unit: String,
        /// The error's name as NVRTC tells it.
        what: String,
        /// What the compiler said.
        log: String,
    },
}

impl From<CompileError> for resnet_core::Error {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Unavailable(unavailable) => unavailable.into(),
            other => resnet_core::Error::Device { backend: "cuda", action: other.to_string() },
        }
    }
}
