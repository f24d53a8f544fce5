//! The ops: buffers checked, geometry chosen, kernels launched. Each file is the host side of one `.cu` file.

pub(crate) mod combine;
pub(crate) mod conv;
pub(crate) mod gather;
pub(crate) mod ingest;
pub(crate) mod loss;
pub(crate) mod loss_scale;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod transfer;
pub(crate) mod update;
