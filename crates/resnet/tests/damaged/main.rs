//! Files that were cut off or changed, of every kind that is read, and files that pretend to be larger than they are.
//!
//! At every so many places a file is cut and a bit is changed. What is read is then an error, or what the whole file gives;
//! where a format has no checksum, a changed bit may give something else. Nothing panics, nothing hangs, and memory stays bounded.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

mod bombs;
mod harness;
mod pictures;
mod sets;
mod weights;
