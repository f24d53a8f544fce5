//! The numbers the reference computes with.
//!
//! The loops of the reference are written once, over a [`Number`].
//! With `f64` they are the specification.
//! With `f32` they are a backend like any other, and must keep within the bounds.
//! With [`Bounded`](crate::bound::Bounded) the same loops carry an interval that holds every result that f32 arithmetic may give.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use resnet_core::DType;

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

    /// How far from zero an implementation may see it.
    fn magnitude(self) -> f64 {
        self.value().abs()
    }

    /// The number where `gate > 0`, zero elsewhere.
    fn where_positive(self, gate: Self) -> Self;

    /// The number as an element of this type, rounded to nearest, ties to even.
    /// What f32 does to it is already in it, so f32 changes nothing.
    fn stored(self, dtype: DType) -> Self;

    /// The number as a factor of a product over elements of this type: an implementation may round it to the type or not.
    fn operand(self, _dtype: DType) -> Self {
        self
    }
}

/// Significant bits of a type of elements, its least exponent and its largest one.
fn format(dtype: DType) -> (i32, i32, i32) {
    match dtype {
        DType::F32 => (24, -126, 127),
        DType::Bf16 => (8, -126, 127),
        DType::F16 => (11, -14, 15),
    }
}

/// The unit roundoff of a type of elements.
pub fn unit_roundoff(dtype: DType) -> f64 {
    2f64.powi(-format(dtype).0)
}

/// The nearest element of a type, of two equally near ones the even one.
pub fn nearest(dtype: DType, x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let (bits, least, most) = format(dtype);
    let exponent = (x.to_bits() >> 52 & 0x7FF) as i32 - 1023;
    let quantum = 2f64.powi(exponent.max(least) - (bits - 1));
    let rounded = (x / quantum).round_ties_even() * quantum;
    if rounded.abs() >= 2f64.powi(most + 1) { f64::INFINITY.copysign(x) } else { rounded }
}

/// Adds terms up.
pub trait Sum<T>: Clone + Default {
    /// Adds a term.
    fn add(&mut self, term: T);
    /// The sum of the terms so far.
    fn total(&self) -> T;
    /// Says that an implementation may err by this much on top of what additions do.
    fn err(&mut self, _by: f64) {}
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

/// f64 is the specification; f32 is what an honest backend does with it, plain loops and all.
macro_rules! machine_number {
    ($float:ident) => {
        impl Number for $float {
            type Sum = $float;

            fn exact(value: f64) -> Self {
                value as $float
            }
            fn rounded(value: f64) -> Self {
                value as $float
            }
            fn value(self) -> f64 {
                f64::from(self)
            }
            fn sqrt(self) -> Self {
                $float::max(self, 0.0).sqrt()
            }
            fn exp(self) -> Self {
                $float::exp(self)
            }
            fn ln(self) -> Self {
                $float::ln(self)
            }
            fn max(self, other: Self) -> Self {
                if self.is_nan() || self >= other { self } else { other }
            }
            fn min(self, other: Self) -> Self {
                $float::min(self, other)
            }
            fn where_positive(self, gate: Self) -> Self {
                if gate > 0.0 { self } else { 0.0 }
            }
            fn stored(self, dtype: DType) -> Self {
                match dtype {
                    DType::F32 => self,
                    _ => nearest(dtype, f64::from(self)) as $float,
                }
            }
        }

        impl Sum<$float> for $float {
            fn add(&mut self, term: $float) {
                *self += term;
            }
            fn total(&self) -> $float {
                *self
            }
        }
    };
}
machine_number!(f64);
machine_number!(f32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_even_on_ties_and_knows_the_ends_of_a_type() {
        let third = 1.0 / 3.0;
        assert_eq!(nearest(DType::F32, third), f64::from(third as f32));
        for (x, want) in [
            (1.0 + 2f64.powi(-8), 1.0),
            (1.0 + 2f64.powi(-8) + 2f64.powi(-40), 1.0 + 2f64.powi(-7)),
            (-1.0 - 3.0 * 2f64.powi(-8), -1.0 - 2f64.powi(-6)),
            (3.4e38, f64::INFINITY),
            (2f64.powi(-134), 0.0),
            (3.0 * 2f64.powi(-134), 2f64.powi(-132)),
        ] {
            assert_eq!(nearest(DType::Bf16, x), want, "{x:e}");
        }
        assert_eq!(nearest(DType::F16, 65_519.0), 65_504.0);
        assert_eq!(nearest(DType::F16, -65_520.0), f64::NEG_INFINITY);
    }
}
