//! The tile instructions in plain Rust: the same operations in the same order, so that the same bits come out.
//!
//! Intel's manual defines `tdpbf16ps` (*Architectures Software Developer's Manual*, volume 2): in each row and column of the
//! result, 16 fused multiply-adds over the even numbers of the pairs and 16 over the odd ones, both from zero; the two sums are
//! added, and what comes out is added to the result. Each operation rounds to nearest even. Subnormal numbers are taken for
//! zero and become zero, whatever the thread's floating-point settings are.

use super::split::{BLOCK, PIECE};
use super::{Left, Products};
use crate::kernels::product::Tap;
use crate::kernels::{Isa, kernel};

/// A block of results, row by row.
pub(super) type Block = [f32; BLOCK * BLOCK];

/// Which pieces each product multiplies, in order.
fn order(products: Products) -> &'static [(usize, usize)] {
    match products {
        Products::One => &[(0, 0)],
        Products::Three => &[(1, 0), (0, 1), (0, 0)],
        Products::Six => &[(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)],
    }
}

/// Zero instead of a subnormal number.
#[inline(always)]
fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

#[inline(always)]
fn widen(x: u16) -> f32 {
    flush(f32::from_bits(u32::from(x) << 16))
}

/// `a · b + c`. Whether it is subnormal is decided as if exponents had no end, so it is computed a second time, larger.
#[inline(always)]
fn add_product(a: f32, b: f32, c: f32) -> f32 {
    const SCALE: f32 = 18_446_744_073_709_551_616.0; // 2⁶⁴
    let large = (a * SCALE).mul_add(b, c * SCALE);
    if large.abs() < f32::MIN_POSITIVE * SCALE { 0.0f32.copysign(large) } else { a.mul_add(b, c) }
}

kernel! {
    /// Adds one product of 16 or 32 rows: what one to four instructions do.
    fn multiply(a: &[u16], a_row: usize, rows: usize, b: &[u16; PIECE], out: &mut Block) {
        const PAIRS: usize = BLOCK / 2;
        let (mut even, mut odd) = ([[0.0f32; BLOCK]; PAIRS], [[0.0f32; BLOCK]; PAIRS]);
        for k in 0..PAIRS {
            for j in 0..BLOCK {
                even[k][j] = widen(b[(k * BLOCK + j) * 2]);
                odd[k][j] = widen(b[(k * BLOCK + j) * 2 + 1]);
            }
        }
        for (i, out) in out.chunks_exact_mut(BLOCK).enumerate().take(rows) {
            let left = &a[i * a_row..][..BLOCK];
            let (mut evens, mut odds) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
            for k in 0..PAIRS {
                let (l0, l1) = (widen(left[2 * k]), widen(left[2 * k + 1]));
                for j in 0..BLOCK {
                    evens[j] = add_product(l0, even[k][j], evens[j]);
                    odds[j] = add_product(l1, odd[k][j], odds[j]);
                }
            }
            for j in 0..BLOCK {
                out[j] = flush(out[j] + flush(evens[j] + odds[j]));
            }
        }
    }
}

/// Sets the first rows of a block, 16 or 32, to the sum over `steps`.
pub(super) fn product(
    isa: Isa,
    products: Products,
    a: Left<'_>,
    b: &[u16],
    steps: &[Tap],
    rows: usize,
    out: &mut Block,
) {
    out.fill(0.0);
    for step in steps {
        for &(left, right) in order(products) {
            let left = &a.data[step.a + left * a.piece..];
            if let Some(right) = b[step.b + right * PIECE..].first_chunk() {
                multiply(isa, left, a.row, rows, right, out);
            }
        }
    }
}
