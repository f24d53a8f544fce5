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
    #[error(
        "cuDNN {} was found, and {} is needed; update it, for example with `pip install --upgrade nvidia-cudnn-cu13`",
        version(*.found),
        version(*.needed)
    )]
    TooOld {
        /// As `cudnnGetVersion` tells it.
        found: usize,
        /// The least that will do.
        needed: usize,
    },

    /// A file that cannot be loaded, or lacks a function.
    #[error(transparent)]
    Library(#[from] CudaUnavailable),

    /// A plan was made for a device that was described, and cannot be executed.
    #[error("this plan was made from a device's description and runs nowhere")]
    NotHere,

    /// A machine without cuDNN: the emulator.
    #[error("cuDNN runs on NVIDIA devices, and this backend is {machine}")]
    NoDevice {
        /// What it is.
        machine: &'static str,
    },

    /// A plan that wants too much memory while it runs.
    #[error("it wants {needed} bytes of workspace, and at most {most} are given")]
    Workspace {
        /// What it wants.
        needed: usize,
        /// The most that is given.
        most: usize,
    },

    /// No engine may be taken for a graph.
    #[error("{}", no_engine(*.offered))]
    NoEngine {
        /// How many there are.
        offered: usize,
    },

    /// A convolution that is not given to cuDNN, because its channels do not fill whole vectors.
    #[error("channels do not fill vectors of 16 bytes, so it is not given to cuDNN")]
    Unpadded,

    /// The device refused before cuDNN was asked.
    #[error("{why}")]
    Device {
        /// What it said.
        why: String,
    },

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

fn no_engine(offered: usize) -> String {
    match offered {
        0 => "no engine runs it on this device".to_owned(),
        n => format!(
            "none of {n} engines may be taken: they do not repeat their bits, round more than is allowed, or do not sum plainly"
        ),
    }
}

fn places(searched: &[PathBuf]) -> String {
    let names: Vec<String> = searched.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// 91900 is 9.19.0.
pub(crate) fn version(number: usize) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let old = CudnnError::TooOld { found: 90_501, needed: 91_100 }.to_string();
        assert!(old.starts_with("cuDNN 9.5.1 was found, and 9.11.0 is needed; update it"), "{old}");
        let missing = CudnnError::Missing { searched: vec!["toolkit/lib64".into(), "libcudnn.so.9".into()] };
        let missing = missing.to_string();
        assert!(missing.contains("looked in toolkit/lib64, libcudnn.so.9"), "{missing}");
        assert!(missing.contains("pip install nvidia-cudnn-cu13"), "{missing}");
    }
}
