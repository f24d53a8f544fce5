//! The CUDA backend: found at run time, never needed at build time.
//!
//! The crate builds, lints, documents and tests on a machine without CUDA.
//! Whether CUDA is there is asked when the program runs, library by library, and "no" is an ordinary error
//! that says what is missing, where it was looked for and what to do.
//!
//! One [`CudaBackend`], two machines under it: a GPU, or an emulator that runs the same kernel sources on this processor,
//! so that everything but the hardware is tested where there is none.
//!
//! Modules in reading order:
//! - [`error`]: every reason why there is no CUDA.
//! - [`search`]: where libraries are looked for.
//! - `library`: opening one, and asking it for its functions.
//! - [`probe`](mod@probe): the questions in their order, from the driver to the compiler.
//! - [`machine`]: memory and launches, on a GPU or emulated on this processor.
//! - [`args`](mod@args), [`kernels`]: what kernels take, and their sources.
//! - [`cache`]: where files are kept that are made once.
//! - [`buffer`], `source`: what ops are given, checked and turned into addresses.
//! - `copies`: weights as tensor cores want them, kept with the weights.
//! - `engine`, `columns`, `prepare`: launches, scratch, and how passes are cut.
//! - [`choice`]: which kernels compute a convolution, by rules or by trying them.
//! - `ops`: one file per op, the host side of its `.cu` file.
//! - [`tensor`]: convolutions on tensor cores. [`cudnn`]: convolutions by cuDNN.
//! - `recording`: which parts of a step are repeated without the host.
//! - [`backend`], where [`CudaBackend`] is.
#![deny(unsafe_code)]

pub mod args;
pub mod backend;
pub mod buffer;
pub mod cache;
pub mod choice;
mod columns;
pub mod compile;
mod copies;
pub mod cudnn;
mod engine;
pub mod error;
pub mod kernels;
mod library;
pub mod machine;
mod ops;
mod prepare;
pub mod probe;
mod recording;
pub mod search;
mod source;
pub mod tensor;

pub use backend::CudaBackend;
pub use error::CudaUnavailable;
pub use probe::{Device, probe};
pub use search::Search;

/// The backend's name.
pub(crate) const NAME: &str = "cuda";
