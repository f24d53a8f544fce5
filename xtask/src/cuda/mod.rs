//! Tasks around the CUDA backend.

pub(crate) mod wheels;
