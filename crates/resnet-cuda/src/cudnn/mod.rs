//! cuDNN's graph interface, as far as residual networks need it.
//!
//! A [`Graph`] describes operations on tensors; cuDNN says which of its engines would run it on a device, and makes plans.
//! For that a description of the device in JSON is enough ([`device`]), so what cuDNN accepts is tested where there is none.
//!
//! - [`error`]: what can go wrong; cuDNN ends the process where cuBLASLt is missing, so that is looked for first.
//! - `library`: the foreign calls. `names`: the numbers of kinds and attributes.
//! - [`graph`]: tensors and operations.
//! - [`pattern`]: the fused graphs of a training step, from a convolution's descriptor.
//! - [`plan`]: engines by heuristics, plans, their JSON, and the cache of it.
//!
//! # What is not here
//! Nothing executes a plan yet: convolutions run on the kernels of this crate.
//! The graphs and plans are what a device's plans will be made of, and are held to what cuDNN accepts for real devices.

pub mod device;
pub mod error;
pub mod graph;
pub(crate) mod library;
pub mod names;
pub mod pattern;
pub mod plan;

pub use error::CudnnError;
pub use graph::Graph;
pub use library::Cudnn;
pub use pattern::Pattern;
pub use plan::{Engine, Target};
