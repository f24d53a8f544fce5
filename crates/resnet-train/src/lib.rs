//! Data, recipes, training: everything between a picture in a file and trained weights, for any backend.
//!
//! Reading order: [`data`] turns files into batches, [`feed`] brings them to the device; [`recipe`] says what is trained and how, [`schedule`] at which rate;
//! [`trainer`] is the loop; [`evaluate`] tests, [`metrics`] remembers; [`checkpoint`] and [`run`] survive; [`model`] is what
//! remains and [`classifier`] uses it.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod classifier;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod feed;
pub mod metrics;
pub mod model;
pub mod recipe;
pub mod run;
pub mod schedule;
pub mod trainer;

pub use error::{Error, Result};
