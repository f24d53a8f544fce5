//! Error bounds that are derived, per element and for any order of summation.
//!
//! # What is bounded
//! A [`Bounded`] number is a value in f64 with an interval around it.
//! The interval holds every result that an implementation in f32 can reach, however it orders its additions, whether or not it fuses
//! a multiplication with an addition, and whether or not it keeps intermediate results in a wider type.
//! The reference runs once over such numbers, and each element of a backend's result must lie inside its interval.
//!
//! # The model
//! (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, sections 2.2 and 3.1.)
//! With the unit roundoff `u = 2⁻²⁴` of f32, each basic operation gives `fl(a ∘ b) = (a ∘ b)(1 + δ) + ε`, `|δ| ≤ u`.
//! `ε` is the underflow, at most the smallest normal number `2⁻¹²⁶` where a device flushes subnormals to zero.
//! So each operation first maps the intervals of its operands (which carries errors made before) and then widens the result by
//! `u·|result| + 2⁻¹²⁶`. Nothing is dropped as "of second order": the widening is taken at the far end of the interval.
//!
//! | operation     | widening | why                                                                              |
//! |---------------|----------|----------------------------------------------------------------------------------|
//! | `+ − ×`       | `u`      | correctly rounded                                                                |
//! | `÷`           | `2u`     | may be a product with a rounded reciprocal: `γ₂` but for `u²`                    |
//! | `√`           | `2u`     | may be `x · rsqrt(x)`                                                            |
//! | `exp`, `ln`   | `4u`     | 2 units in the last place, the accuracy that vector and device libraries promise |
//! | `max`, `min`, masks, negation | 0 | choose or flip, and round nothing                                         |
//!
//! # Sums
//! A sum of `n` terms `tᵢ` that are already rounded takes `n − 1` additions in any order, so a term passes at most `n − 1` of them and
//! `|fl(Σ tᵢ) − Σ tᵢ| ≤ γₙ₋₁ · Σ|tᵢ|` with `γₘ = m·u / (1 − m·u)` (Higham, section 3.1 and lemma 3.1; section 4.2 for any order).
//! A dot product is such a sum with one more rounding per product, together the `γₙ · Σ|aᵢ·bᵢ|` of Higham's equation 3.5.
//! A sum kept in a wider type and rounded once at the end errs by less.
//!
//! # Fast convolutions
//! Winograd's algorithm computes the same sums from other products. [`fast`](crate::fast) derives what its rounding adds.
//!
//! # Elements of 16 bits
//! Arithmetic is that of f32. An activation is rounded once more when it is stored: rounding to nearest never changes the order of
//! two numbers, so the interval of the stored value goes from the rounded lower end to the rounded upper end.
//! A factor of a convolution's products, a source's value or a weight, may be rounded to the type before it is multiplied, as
//! tensor cores and dot-product instructions need it, or not: its interval holds both, `2⁻⁸` apart for bf16 (`2⁻¹¹` for f16).
//! A product of two rounded factors is exact in f32, so what the sum adds is bounded as above.
//! The bound of a result is therefore `(1 + 2⁻⁸)` times the rounding of a sum whose terms are off by at most
//! `(2·2⁻⁸ + 2⁻¹⁶)·|aᵢ·bᵢ|`; where both factors are elements already, as a raw source and rounded weights are, nothing but f32's own
//! bound and the last rounding remain. Three of four cases draw weights that are.
//!
//! # Choices
//! A ReLU mask or a maximum takes one of two branches. Where the interval of the gate holds zero an implementation may take either,
//! and the result's interval holds both. Elsewhere only one is right.
//!
//! # What the formulas stand for
//! Where a formula can be written in several ways, the reference evaluates the form whose interval holds the others:
//! - A source `scale·raw + shift + residual` and a gradient source `A·dz + B·y + C` are sums of their terms, so the order does not matter.
//! - A running average ([`blend`](crate::number::blend)) is a sum of terms that holds both `old + share·(new − old)` and
//!   `(1 − share)·old + share·new`. AdamW's decay is `p·(1 − η·λ)`, which rounds more than `p − η·λ·p`.
//! - The variance is `Σy²/m − μ²`, cut at zero: the one-pass form loses the most, and a backend that centres its sums loses less.
//!   Its interval is not symmetric: below, it ends at zero, and so `1/√(σ² + eps)` stays bounded by `1/√eps`.
//! - `dγ` is `inv_std·(Σg·y − μ·Σg)`: summing `g·(y − μ)` errs by at most `γ·Σ|g|(|y| + |μ|)`, which is the same bound.
//! - The log-sum-exp is `max + ln Σ exp(x − max)`: leaving the maximum out until the end errs by less.
//!
//! The intervals themselves are computed in f64, whose own rounding is 2²⁹ times smaller than what is widened at each step.

use std::ops::{Add, Div, Mul, Neg, Sub};

use resnet_core::DType;

use crate::number::{Number, Sum, nearest};

/// Unit roundoff of f32, with a millionth more for the f64 rounding of the bounds themselves.
pub const U: f64 = (1.0 + 1e-6) / (1u64 << 24) as f64;

/// What may be lost to underflow where subnormals are flushed: the smallest normal f32.
pub const UNDERFLOW: f64 = f32::MIN_POSITIVE as f64;

/// `γₘ = m·u / (1 − m·u)`.
pub fn gamma(m: usize) -> f64 {
    let mu = m as f64 * U;
    if mu < 1.0 { mu / (1.0 - mu) } else { f64::INFINITY }
}

/// A number with the interval in which f32 arithmetic may see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// The number in f64.
    pub value: f64,
    /// The least result.
    pub lo: f64,
    /// The largest result.
    pub hi: f64,
}

impl Bounded {
    /// How far `got` is from the value, over how far the bound lets it be on that side.
    /// At most 1 inside the bound, infinite for any error where none is allowed and for a NaN that should not be.
    pub fn over(&self, got: f64) -> f64 {
        if got == self.value || (got.is_nan() && self.value.is_nan()) {
            return 0.0;
        }
        let (error, allowed) = if got > self.value {
            (got - self.value, self.hi - self.value)
        } else {
            (self.value - got, self.value - self.lo)
        };
        if error.is_nan() || allowed <= 0.0 { f64::INFINITY } else { error / allowed }
    }

    /// Half the width of the interval.
    pub fn radius(&self) -> f64 {
        (self.hi - self.lo) / 2.0
    }

    /// One rounding of `units` times the unit roundoff.
    fn widen(self, units: f64) -> Self {
        if !(self.lo.is_finite() && self.hi.is_finite()) {
            return self;
        }
        let e = |end: f64| units * U * end.abs() + UNDERFLOW;
        Self { value: self.value, lo: self.lo - e(self.lo), hi: self.hi + e(self.hi) }
    }

    /// The image of a function that grows with its argument.
    fn rising(self, f: impl Fn(f64) -> f64, units: f64) -> Self {
        Self { value: f(self.value), lo: f(self.lo), hi: f(self.hi) }.widen(units)
    }
}

/// The hull of four ends; NaN where one is.
fn hull(ends: [f64; 4]) -> (f64, f64) {
    let lo = ends.iter().copied().fold(f64::INFINITY, f64::min);
    let hi = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lo, hi)
}

impl Add for Bounded {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        Self { value: self.value + b.value, lo: self.lo + b.lo, hi: self.hi + b.hi }.widen(1.0)
    }
}

impl Sub for Bounded {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        self + -b
    }
}

impl Neg for Bounded {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, lo: -self.hi, hi: -self.lo }
    }
}

impl Mul for Bounded {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        let value = self.value * b.value;
        // A factor of exactly 0 or ±1 rounds nothing.
        if b.lo == b.hi && (b.value == 0.0 || b.value.abs() == 1.0) {
            let (p, q) = (self.lo * b.value, self.hi * b.value);
            return Self { value, lo: f64::min(p, q), hi: f64::max(p, q) };
        }
        let (lo, hi) = hull([self.lo * b.lo, self.lo * b.hi, self.hi * b.lo, self.hi * b.hi]);
        Self { value, lo, hi }.widen(1.0)
    }
}

impl Div for Bounded {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let value = self.value / b.value;
        if b.lo <= 0.0 && b.hi >= 0.0 {
            return Self { value, lo: f64::NEG_INFINITY, hi: f64::INFINITY };
        }
        let (lo, hi) = hull([self.lo / b.lo, self.lo / b.hi, self.hi / b.lo, self.hi / b.hi]);
        Self { value, lo, hi }.widen(2.0)
    }
}

impl Number for Bounded {
    type Sum = BoundedSum;

    fn exact(value: f64) -> Self {
        Self { value, lo: value, hi: value }
    }
    fn rounded(value: f64) -> Self {
        Self::exact(value).widen(1.0)
    }
    fn value(self) -> f64 {
        self.value
    }
    fn sqrt(self) -> Self {
        self.rising(|x| f64::max(x, 0.0).sqrt(), 2.0)
    }
    fn exp(self) -> Self {
        self.rising(f64::exp, 4.0)
    }
    fn ln(self) -> Self {
        self.rising(f64::ln, 4.0)
    }
    fn max(self, b: Self) -> Self {
        Self {
            value: Number::max(self.value, b.value),
            lo: f64::max(self.lo, b.lo),
            hi: f64::max(self.hi, b.hi),
        }
    }
    fn min(self, b: Self) -> Self {
        Self {
            value: f64::min(self.value, b.value),
            lo: f64::min(self.lo, b.lo),
            hi: f64::min(self.hi, b.hi),
        }
    }
    fn magnitude(self) -> f64 {
        f64::max(self.lo.abs(), self.hi.abs())
    }
    fn where_positive(self, gate: Self) -> Self {
        if gate.lo > 0.0 {
            self
        } else if gate.hi <= 0.0 {
            Self::exact(0.0)
        } else {
            let value = self.value.where_positive(gate.value);
            Self { value, lo: f64::min(self.lo, 0.0), hi: f64::max(self.hi, 0.0) }
        }
    }
    fn stored(self, dtype: DType) -> Self {
        match dtype {
            DType::F32 => self,
            _ => {
                let [value, lo, hi] = [self.value, self.lo, self.hi].map(|x| nearest(dtype, x));
                Self { value, lo, hi }
            }
        }
    }
    fn operand(self, dtype: DType) -> Self {
        let rounded = self.stored(dtype);
        let (lo, hi) = (f64::min(self.lo, rounded.lo), f64::max(self.hi, rounded.hi));
        Self { value: self.value, lo, hi }
    }
}

/// A sum of bounded terms, for any order of addition.
#[derive(Clone, Debug, Default)]
pub struct BoundedSum {
    value: f64,
    lo: f64,
    hi: f64,
    magnitude: f64,
    /// What the terms' own making may add, see [`Sum::err`].
    error: f64,
    n: usize,
}

impl Sum<Bounded> for BoundedSum {
    fn add(&mut self, term: Bounded) {
        self.value += term.value;
        self.lo += term.lo;
        self.hi += term.hi;
        self.magnitude += term.magnitude();
        self.n += 1;
    }

    fn err(&mut self, by: f64) {
        self.error += by;
    }

    fn total(&self) -> Bounded {
        let additions = self.n.saturating_sub(1);
        let e = gamma(additions) * self.magnitude + additions as f64 * UNDERFLOW + self.error;
        Bounded { value: self.value, lo: self.lo - e, hi: self.hi + e }
    }
}
