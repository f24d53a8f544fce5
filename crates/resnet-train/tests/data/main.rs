//! From files to batches.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not their helpers

mod bad;
mod decode;
mod golden;
mod idx;
mod known;
mod loader;
mod read;
mod sample;
mod survey;
mod transform;
