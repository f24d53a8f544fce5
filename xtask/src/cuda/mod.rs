//! Tasks around the CUDA backend.

pub(crate) mod pack;
pub(crate) mod wheels;
