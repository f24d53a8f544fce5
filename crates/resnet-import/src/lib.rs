//! Weights of PyTorch, timm, Keras and Paddle, read without running them, and written for others to load.
#![forbid(unsafe_code)]

pub mod container;
pub mod error;
pub mod report;

pub use error::{Error, Result};
pub use report::Report;
