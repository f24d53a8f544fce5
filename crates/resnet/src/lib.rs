//! Residual networks in one crate: what to compute, how, and how to train it.
//!
//! This is the façade. [`core`] describes networks and computes them on any backend, [`train`] has data, recipes and the
//! training loop,
//! [`import`] reads and writes the files of other libraries. What is here besides is for programs that face people; the command `resnet` is made of nothing else:
//! - [`backend`] chooses who computes.
//! - [`open()`] opens trained weights, whoever wrote them.
//! - [`starting_weights`] makes trained weights the start of a run on other data.
//! - [`picture`] reads picture files as a network wants them.
//! - [`plot`] draws curves and confusion matrices.
//! - [`profile`] finds out where a step's time goes.
//!
//! ```
//! let spec = resnet::core::zoo::arch("resnet18")?.channels(1).size(28, 28).classes(10);
//! let graph = spec.build()?;
//! assert_eq!(graph.summary().total_params, 11_175_370);
//! # Ok::<(), resnet::core::Error>(())
//! ```
//! Whole programs are in the repository's `examples`.
#![forbid(unsafe_code)]

pub mod backend;
mod finetune;
mod open;
pub mod picture;
pub mod plot;
pub mod profile;

pub use finetune::{StartError, Starting, starting_weights};
pub use open::{Opened, open};
pub use resnet_core as core;
pub use resnet_import as import;
pub use resnet_train as train;
