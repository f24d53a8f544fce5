//! Numbers of f32 as sums of numbers of bf16, in the order in which tile instructions read them.
//!
//! `x = h + m + l` with `h = bf16(x)`, `m = bf16(x − h)`, `l = bf16(x − h − m)`. Both subtractions are exact, and three times 8
//! bits hold all 24, so the sum of all three is `x` itself, as long as `l` does not fall below the smallest normal number:
//! for magnitudes from `2⁻¹⁰³` on.
//! Of a smaller number some low bits are lost, less than `2⁻¹²⁵` in all, since tile instructions take subnormal numbers for zero.
//!
//! An infinity or a NaN is its own `h`, and has no other pieces.
//! A number so large that rounding would make it infinite is truncated instead, if there are pieces to hold the rest.

use crate::kernels::kernel;

/// Numbers along the sum in one step, and rows and columns of a block of the result.
pub(crate) const BLOCK: usize = 32;

/// Numbers of bf16 in one piece of a block.
pub(crate) const PIECE: usize = BLOCK * BLOCK;

const EXPONENT: u32 = 0x7F80_0000;

/// The nearest bf16, ties to even; truncated, if asked, where that would be infinite.
#[inline(always)]
fn nearest(x: f32, truncate: bool) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    let special = bits & EXPONENT == EXPONENT || truncate && rounded & EXPONENT == EXPONENT;
    // A NaN may have its bits where they are cut off, and must stay one.
    let quiet = u32::from(bits & !(1 << 31) > EXPONENT) << 6;
    (if special { bits } else { rounded }) >> 16 | quiet
}

/// The pieces of a number, the largest first.
#[inline(always)]
pub(super) fn pieces<const P: usize>(x: f32) -> [u32; P] {
    let mut rest = x;
    std::array::from_fn(|_| {
        let piece = nearest(rest, P > 1);
        let exact = rest - f32::from_bits(piece << 16);
        // Infinity minus infinity is no number; there is nothing left of it.
        rest = if x.to_bits() & EXPONENT == EXPONENT { 0.0 } else { exact };
        piece
    })
}

kernel! {
    /// Splits numbers one by one: piece `p` of `values[i]` goes to `out[p · plane + i]`.
    fn split<const P: usize>(values: &[f32], out: &mut [u16], plane: usize) {
        let n = values.len();
        // Short stretches, so that all planes of one are written by the same loop.
        let mut planes: [[u16; 64]; P] = [[0; 64]; P];
        for (at, values) in (0..n).step_by(64).zip(values.chunks(64)) {
            for (i, &x) in values.iter().enumerate() {
                let pieces: [u32; P] = pieces(x);
                for (plane, piece) in planes.iter_mut().zip(pieces) {
                    plane[i] = piece as u16;
                }
            }
            for (p, piece) in planes.iter().enumerate() {
                out[p * plane + at..][..values.len()].copy_from_slice(&piece[..values.len()]);
            }
        }
    }
}

kernel! {
    /// Splits up to 32 rows of 32 numbers as a right operand: pairs of rows side by side, `[piece][row / 2][column][row % 2]`,
    /// pieces [`PIECE`] apart. Rows that are not there are zero.
    fn split_pairs<const P: usize>(values: &[f32], out: &mut [u16]) {
        const ZEROS: [f32; BLOCK] = [0.0; BLOCK];
        for pair in 0..BLOCK / 2 {
            let row = |i: usize| values.get(i * BLOCK..(i + 1) * BLOCK).unwrap_or(&ZEROS);
            let (even, odd) = (row(2 * pair), row(2 * pair + 1));
            let mut words: [[u32; BLOCK]; P] = [[0; BLOCK]; P];
            for j in 0..BLOCK {
                let (low, high): ([u32; P], [u32; P]) = (pieces(even[j]), pieces(odd[j]));
                for p in 0..P {
                    words[p][j] = low[p] | high[p] << 16;
                }
            }
            for (p, words) in words.iter().enumerate() {
                let out = &mut out[p * PIECE + pair * 2 * BLOCK..][..2 * BLOCK];
                for (out, word) in out.chunks_exact_mut(2).zip(words) {
                    (out[0], out[1]) = (*word as u16, (*word >> 16) as u16);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    fn sum(pieces: &[u32]) -> f64 {
        pieces.iter().map(|p| f64::from(f32::from_bits(p << 16))).sum()
    }

    #[test]
    fn three_pieces_are_the_number() {
        let mut bits: u32 = 12345;
        let smallest = 2f32.powi(-103);
        for _ in 0..1_000_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            if x.is_finite() && x.abs() >= smallest {
                let p: [u32; 3] = pieces(x);
                assert_eq!(sum(&p), f64::from(x), "{x:e}");
                assert!(
                    p.iter().all(|p| p << 16 & EXPONENT != 0 || p & 0x7FFF == 0),
                    "{x:e} has a subnormal piece"
                );
                assert!((sum(&p[..2]) - f64::from(x)).abs() <= f64::from(x.abs()) * 2f64.powi(-16), "{x:e}");
            }
        }
    }

    #[test]
    fn numbers_at_the_ends() {
        for x in [f32::MAX, -f32::MAX, f32::from_bits(0x7F7F_8000), f32::from_bits(0x7F7F_7FFF)] {
            let p: [u32; 3] = pieces(x);
            assert_eq!(sum(&p), f64::from(x));
            assert!(p.iter().all(|p| f32::from_bits(p << 16).is_finite()));
        }
        for x in [f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(pieces::<3>(x), [x.to_bits() >> 16, 0, 0]);
        }
        for bits in [0x7FC0_0000, 0x7F80_0001, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_FFFF] {
            let [h, m, l] = pieces::<3>(f32::from_bits(bits));
            assert!(f32::from_bits(h << 16).is_nan() && (m, l) == (0, 0), "{bits:x}");
        }
        for x in [0.0f32, -0.0] {
            assert_eq!(pieces::<3>(x), [x.to_bits() >> 16, 0, 0]);
        }
    }

    #[test]
    fn planes_and_pairs_hold_the_pieces() {
        let values: Vec<f32> = (0..20 * BLOCK).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        for isa in Isa::all() {
            let mut planes = vec![7u16; 3 * 1000];
            split::<3>(isa, &values, &mut planes, 1000);
            let mut pairs = vec![7u16; 3 * PIECE];
            split_pairs::<3>(isa, &values, &mut pairs);
            for (i, &x) in values.iter().enumerate() {
                let (row, column) = (i / BLOCK, i % BLOCK);
                for (p, piece) in pieces::<3>(x).into_iter().enumerate() {
                    assert_eq!(u32::from(planes[p * 1000 + i]), piece);
                    assert_eq!(u32::from(pairs[p * PIECE + row / 2 * 64 + column * 2 + row % 2]), piece);
                }
            }
            assert!(pairs[10 * 64..PIECE].iter().all(|&v| v == 0), "rows that are not there");
            assert_eq!(planes[values.len()], 7);
        }
    }
}
