//! Convolution in three directions, all of them sums of matrix products over the taps of the window.
//!
//! - [`gather`]: the driver of forward and backward-data. A tile of output rows adds up, tap by tap, input rows times weights.
//! - [`forward`] and [`backward_data`]: the two ways to use it.
//! - [`backward_weight`]: products that sum over the rows instead.

pub(crate) mod gather;

pub(crate) mod backward_data;
pub(crate) mod backward_weight;
pub(crate) mod forward;
