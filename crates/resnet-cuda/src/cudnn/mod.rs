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
//! # What is executed
//! Plain convolutions of all three directions, forward with a bias, and forward with sums for batch statistics.
//! The other patterns are held to what cuDNN accepts and are not executed: between operations of a prologue or a mask cuDNN may round, and
//! then the mask on the way back would not agree with the value on the way forward. Sources, masks and sums of gradients stay
//! with the kernels of this crate, before and after a plain convolution.

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
