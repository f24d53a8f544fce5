//! Why cuDNN cannot be used, or refuses.

use std::path::PathBuf;

use crate::error::CudaUnavailable;

/// Why cuDNN cannot be used, or refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudnnError {
    /// No file of the library was found.
    #[error(
        "cuDNN was not found (looked in {}); install it with the system's packages, or with `pip install nvidia-cudnn-cu13` in an \
         activated Python environment",
        places(.searched)
    )]
    Missing {
        /// Folders and names that were tried.
        searched: Vec<PathBuf>,
    },

    /// cuDNN would end the process without this library, so it is not called.
    #[error(
        "cuDNN needs cuBLASLt, which was not found (looked in {}); install it with the CUDA toolkit, or with \
         `pip install nvidia-cublas` in an activated Python environment",
        places(.searched)
    )]
    NoCublasLt {
        /// Folders and names that were tried.
        searched: Vec<PathBuf>,
    },

    /// A version from before what is used here.
    #[error("cuDNN {} was found, and {} is needed", version(*.found), version(*.needed))]
    TooOld {
        /// As `cudnnGetVersion` tells it.
        found: usize,
        /// The least that will do.
        needed: usize,
    },

    /// A file that cannot be loaded, or lacks a function.
    #[error(transparent)]
    Library(#[from] CudaUnavailable),

    /// A call failed.
    #[error("{call} of {what}: {status} ({message})")]
    Call {
        /// The function.
        call: &'static str,
        /// The kind of descriptor.
        what: &'static str,
        /// The status by its name.
        status: String,
        /// What cuDNN says about it.
        message: String,
    },
}

fn places(searched: &[PathBuf]) -> String {
    let names: Vec<String> = searched.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// 91900 is 9.19.0.
fn version(number: usize) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}
