//! Checkpoints: a run that was killed goes on bit for bit.
//!
//! Reading order: [`vfs`] (file operations), `manifest` (what a directory must hold), `store` (saving, finding, removing),
//! `state` (where a run stands), `tensors` (its parameters and optimizer state).
//!
//! There is no saved generator: every draw is a function of (seed, epoch, index), so the position is the state.

mod manifest;
mod state;
mod store;
mod tensors;
pub mod vfs;

pub use manifest::FORMAT;
pub use state::{Best, State, Sums};
pub use store::{Content, Found, Newest, Store};
pub(crate) use tensors::{read_tensors, write_tensors};

/// File of parameters and optimizer state.
pub(crate) const TENSORS: &str = "tensors.safetensors";

/// File of [`State`].
pub(crate) const STATE: &str = "state.json";
