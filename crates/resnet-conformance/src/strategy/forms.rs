//! The forms in which an op may read a tensor and leave a gradient.

use proptest::prelude::*;
use resnet_core::Accumulate;

/// Which parts a [`Source`](resnet_core::Source) has.
#[derive(Clone, Copy, Debug)]
pub struct SourceForm {
    /// Scale and shift.
    pub affine: bool,
    /// A residual, and whether it has a scale and shift of its own.
    pub residual: Option<bool>,
    /// The activation.
    pub relu: bool,
}

impl SourceForm {
    /// The tensor as it lies in memory.
    pub const RAW: Self = Self { affine: false, residual: None, relu: false };
}

/// Which parts a [`GradOut`](resnet_core::GradOut) has.
#[derive(Clone, Copy, Debug)]
pub struct GradOutForm {
    /// Set or add.
    pub accumulate: Accumulate,
    /// A further contribution.
    pub add: bool,
    /// A mask, and what it reads.
    pub mask: Option<SourceForm>,
    /// How many normalisations want sums.
    pub sums: usize,
}

impl GradOutForm {
    /// The plain gradient.
    pub const SET: Self = Self { accumulate: Accumulate::Set, add: false, mask: None, sums: 0 };
}

/// Every form of a source; the plain one shrinks from all others.
pub fn source() -> impl Strategy<Value = SourceForm> {
    (any::<bool>(), prop::option::of(any::<bool>()), any::<bool>())
        .prop_map(|(affine, residual, relu)| SourceForm { affine, residual, relu })
}

/// Set or add.
pub fn accumulate() -> impl Strategy<Value = Accumulate> {
    prop_oneof![Just(Accumulate::Set), Just(Accumulate::Add)]
}

/// Every form of a gradient output.
pub fn grad_out() -> impl Strategy<Value = GradOutForm> {
    (accumulate(), any::<bool>(), prop::option::of(source()), 0..=2usize)
        .prop_map(|(accumulate, add, mask, sums)| GradOutForm { accumulate, add, mask, sums })
}
