//! Data, recipes, training: everything between a picture in a file and trained weights, for any backend.
//!
//! Reading order: [`data`] turns files into batches.
#![forbid(unsafe_code)]

pub mod data;
pub mod error;

pub use error::{Error, Result};
