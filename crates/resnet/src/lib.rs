//! Residual networks in one crate: what to compute, how, and how to train it.
//!
//! This is the façade. [`core`] describes networks and computes them on any backend, [`train`] has data, recipes and the
//! training loop, and [`backend`] chooses who computes. The command `resnet` is made of nothing else.
//!
//! Reading order: [`backend`], then [`profile`].
#![forbid(unsafe_code)]

pub mod backend;
pub mod picture;
pub mod plot;
pub mod profile;

pub use resnet_core as core;
pub use resnet_train as train;
