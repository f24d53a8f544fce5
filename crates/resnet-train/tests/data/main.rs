//! From files to batches.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not their helpers

mod decode;
mod golden;
mod idx;
mod known;
mod loader;
mod sample;
mod transform;
