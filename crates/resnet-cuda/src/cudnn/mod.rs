//! cuDNN's graph interface, as far as residual networks need it.
//!
//! A [`Graph`] describes operations on tensors; cuDNN says which of its engines would run it on a device, and makes plans.
//! For that a description of the device in JSON is enough ([`device`]), so what cuDNN accepts is tested where there is none.
//!
//! - [`error`]: what can go wrong; cuDNN ends the process where cuBLASLt is missing, so that is looked for first.
//! - `library`: the foreign calls. `names`: the numbers of kinds and attributes.
//! - [`graph`]: tensors and operations.
//! - [`pattern`]: the fused graphs of a training step, from a convolution's descriptor.
//! - [`plan`]: engines by heuristics, their notes, plans and their JSON, execution.
//! - [`convolution`]: which engines may be taken for a convolution, and plans that are ready to run.
//!
//! # What is fused
//! [`pattern`] has the graphs, [`choice`](crate::choice) tries them beside plain convolutions with passes of this crate's kernels around them.
//! Between operations numbers are f32, so a normalised value has the sign that the mask on the way back gives it, but for values within
//! the rounding of f32 around zero. Only where `RESNET_CUDA_NARROW_NORMS=on` allows it are a normalisation's scale and shift rounded to
//! 16 bits, as the engines want that were compiled in advance.

pub mod convolution;
pub mod device;
pub mod error;
pub mod graph;
pub(crate) mod library;
pub mod names;
pub mod pattern;
pub mod plan;

pub use convolution::{Convolutions, Prepared};
pub use error::CudnnError;
pub use graph::{Graph, Operand};
pub use library::Cudnn;
pub use pattern::Pattern;
pub use plan::{Engine, Target};
