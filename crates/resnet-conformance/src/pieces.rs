//! What a convolution errs by whose f32 operands are split into pieces of bf16, derived element by element.
//!
//! The arithmetic is [`Arithmetic::Pieces`](resnet_core::Arithmetic::Pieces). With `|x − h| ≤ v·|x|` and `v = 2⁻⁸`, the unit
//! roundoff of bf16, the pieces of `x = h + m + l` have `|m| ≤ v·|x|·(1 + v)` and `|l| ≤ v²·|x|`, and three pieces leave nothing,
//! since 24 bits fit into three times 8.
//!
//! | what | adds, per term `\|a·b\|` |
//! |------|------------------------|
//! | 6 products leave out `m·l + l·m + l·l` | `2·v³·(1 + v) + v⁴` |
//! | 3 products leave out `m·m` and what two pieces leave of either operand | `v²·(1 + v)² + 2·v² + v⁴` |
//! | additions inside a chain of 512 terms: at most 16 along a step of 32 and one more, then one per product of pieces and step | `γₖ`, with `k = 17 + 16·p`, or less where the sum is shorter |
//!
//! The magnitudes of all pieces of a term add up to at most `(1 + v + 2·v²)²·|a·b|`.
//! Additions of chains are no more than additions of terms, which the plain bound holds already, for magnitudes that are larger
//! by that factor.
//! What subnormal pieces lose is at most `2⁻¹²⁵` of an operand, and `2⁻¹²⁶` in each addition.

use resnet_core::op::Conv2d;

use crate::bound::{UNDERFLOW, gamma};
use crate::fast::Map;
use crate::number::{Number, Sum};
use crate::reference::conv2d::{Channels, for_each_tap};

/// The unit roundoff of bf16.
const V: f64 = 1.0 / 256.0;

/// Terms of a step, and steps of a chain.
const STEP: usize = 32;
const CHAIN: usize = 16;

/// Widens the sums of a convolution by what this arithmetic adds to the bound of plain sums.
pub(crate) fn widen<T: Number>(
    products: usize,
    op: &Conv2d,
    map: Map,
    left: &[T],
    right: &[T],
    sums: &mut [T::Sum],
) {
    // Number of terms, sum of their magnitudes, and sum of the magnitudes of their factors.
    let mut all = vec![(0usize, 0.0f64, 0.0f64); sums.len()];
    let ch = Channels::of(op);
    for_each_tap(op, |x_pixel, y_pixel, position| {
        for k in 0..op.k() {
            for i in 0..ch.per_group {
                let x = x_pixel * op.c() + ch.first(k) + i;
                let (w, y) = (ch.weight(k, position) + i, y_pixel * op.k() + k);
                let (a, b, out) = match map {
                    Map::Forward => (left[x], right[w], y),
                    Map::BackwardData => (left[y], right[w], x),
                    Map::BackwardWeight => (left[x], right[y], w),
                };
                let (a, b) = (a.magnitude(), b.magnitude());
                let (n, terms, factors) = &mut all[out];
                (*n, *terms, *factors) = (*n + 1, *terms + a * b, *factors + a + b);
            }
        }
    });
    for (sum, (n, terms, factors)) in sums.iter_mut().zip(all) {
        sum.err(error(products, n) * terms + lost(products, n, factors));
    }
}

/// Of the sum of magnitudes of `n` terms.
fn error(products: usize, n: usize) -> f64 {
    let left_out = match products {
        6 => 2.0 * V.powi(3) * (1.0 + V) + V.powi(4),
        _ => V.powi(2) * (1.0 + V).powi(2) + 2.0 * V.powi(2) + V.powi(4),
    };
    let more = (1.0 + V + 2.0 * V * V).powi(2);
    let additions = n.min(STEP / 2) + 1 + products * n.min(CHAIN);
    left_out + more * gamma(additions) + (more - 1.0) * gamma(n)
}

/// By underflow.
fn lost(products: usize, n: usize, factors: f64) -> f64 {
    let additions = n * (2 * products + 2);
    2.0 * UNDERFLOW * factors + additions as f64 * UNDERFLOW
}
