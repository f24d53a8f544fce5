//! Convolution in three directions, all of them sums of matrix products over the taps of the window.
//!
//! - `forward` and `backward_data`: two uses of one driver.
//! - `gather`: that driver. A tile of output rows adds up, tap by tap, input rows times weights.
//! - `backward_weight`: products that sum over the rows instead.
//! - `backward`: both gradients at once, where `direct` joins them.
//! - `halo`, `im2col`, `weights`: what the operands of the products are made of.

pub(crate) mod backward;
pub(crate) mod backward_data;
pub(crate) mod backward_weight;
pub(crate) mod forward;
pub(crate) mod gather;
pub(crate) mod halo;
pub(crate) mod im2col;
pub(crate) mod weights;
