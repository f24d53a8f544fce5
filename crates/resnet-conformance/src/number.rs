//! The numbers the reference computes with.
//!
//! The loops of the reference are written once, over a [`Number`].
//! With `f64` they are the specification.
//! With [`Bounded`](crate::bound::Bounded) the same loops carry an interval that holds every result that f32 arithmetic may give.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A real number as the reference knows it.
pub trait Number:
    Copy
    + Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// A sum in no particular order.
    type Sum: Sum<Self>;

    /// A number that every implementation holds without error: an input, a count, an f32 setting.
    fn exact(value: f64) -> Self;

    /// A constant that an implementation has to round.
    fn rounded(value: f64) -> Self;

    /// The number itself.
    fn value(self) -> f64;

    /// Square root; of a number below zero it is that of zero.
    fn sqrt(self) -> Self;

    /// Exponential function.
    fn exp(self) -> Self;

    /// Natural logarithm.
    fn ln(self) -> Self;

    /// The larger of the two. A NaN wins.
    fn max(self, other: Self) -> Self;

    /// The smaller of the two, neither being NaN.
    fn min(self, other: Self) -> Self;

    /// The number where `gate > 0`, zero elsewhere.
    fn where_positive(self, gate: Self) -> Self;
}

/// Adds terms up.
pub trait Sum<T>: Clone + Default {
    /// Adds a term.
    fn add(&mut self, term: T);
    /// The sum of the terms so far.
    fn total(&self) -> T;
}

/// Adds up terms that an implementation may add in any order.
pub fn sum<T: Number>(terms: impl IntoIterator<Item = T>) -> T {
    sum_of(terms).total()
}

/// As [`sum`], open for more terms.
pub fn sum_of<T: Number>(terms: impl IntoIterator<Item = T>) -> T::Sum {
    let mut sum = T::Sum::default();
    for term in terms {
        sum.add(term);
    }
    sum
}

/// `old + share·(new − old)`, in terms that also stand for `(1 − share)·old + share·new`.
pub fn blend<T: Number>(old: T, share: T, new: T) -> T {
    sum([(T::exact(1.0) - share) * old, share * old, -(share * old), share * new])
}

impl Number for f64 {
    type Sum = f64;

    fn exact(value: f64) -> Self {
        value
    }
    fn rounded(value: f64) -> Self {
        value
    }
    fn value(self) -> f64 {
        self
    }
    fn sqrt(self) -> Self {
        f64::max(self, 0.0).sqrt()
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
    fn max(self, other: Self) -> Self {
        if self.is_nan() || self >= other { self } else { other }
    }
    fn min(self, other: Self) -> Self {
        f64::min(self, other)
    }
    fn where_positive(self, gate: Self) -> Self {
        if gate > 0.0 { self } else { 0.0 }
    }
}

impl Sum<f64> for f64 {
    fn add(&mut self, term: f64) {
        *self += term;
    }
    fn total(&self) -> f64 {
        *self
    }
}
