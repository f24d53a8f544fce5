//! Which cases are tried: shapes and forms, drawn by proptest, so that a failure shrinks to its smallest shape.
//!
//! The numbers inside the tensors are no part of a strategy. They follow from a seed, see [`data`](crate::data).

pub mod forms;
pub mod networks;
pub mod shapes;

use proptest::prelude::*;

/// A seed for [`Data`](crate::data::Data). It does not shrink: a smaller seed is no simpler.
pub fn seed() -> impl Strategy<Value = u64> {
    any::<u64>().no_shrink()
}
