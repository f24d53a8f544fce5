//! The product of any number of rows with one panel: the micro-kernel of tiles between transforms.
//!
//! `out[i, j] = Σ_d a[i·row + d·step] · b[d·WIDTH + j]`
//!
//! [`product`](super::product) sums over the taps of a window for a few rows. Here there is one run of the sum and many rows, so
//! one call does them all, and where there are but [`HALF`] columns twice as many rows share the registers: with AVX-512 it
//! is 8 × 32 results, or 16 × 16, which are 16 chains of fused multiply-adds either way.

use std::hint::black_box;

use super::lanes::Lanes;
use super::product::{HALF, Left, ROWS, Tap, Tile, WIDTH, product};
use super::{Isa, Level};

/// Steps of a sum whose part of the panel stays in the innermost cache for all rows.
const STRETCH: usize = 512;

/// Sets a tile of any number of rows to the sum over `depth` steps, or adds it.
///
/// # Panics
/// If the tile is wider than [`WIDTH`] or an operand ends before the sum does.
pub(crate) fn product_of_rows(isa: Isa, a: Left<'_>, b: &[f32], depth: usize, out: Tile<'_>, add: bool) {
    let Tile { data, stride, rows, width } = out;
    assert!(rows > 0 && depth > 0 && (1..=WIDTH).contains(&width), "{rows} × {width} × {depth}");
    let last = |extent: usize, by: usize| (extent - 1) * by;
    let fits = last(rows, a.row) + last(depth, a.step) < a.data.len() && depth * WIDTH <= b.len();
    assert!(fits, "an operand ends before the sum does");
    assert!(last(rows, stride) + width <= data.len(), "the result is shorter than its tile");
    if width != HALF && width != WIDTH {
        for first in (0..rows).step_by(ROWS) {
            let (data, rows) = (&mut data[first * stride..], ROWS.min(rows - first));
            let a = Left { data: &a.data[first * a.row..], ..a };
            product(isa, a, b, &[Tap::default()], depth, Tile { data, stride, rows, width }, add);
        }
        return;
    }
    let o = Operands {
        a: a.data.as_ptr(),
        row: a.row,
        step: a.step,
        b: b.as_ptr(),
        depth,
        out: data.as_mut_ptr(),
        stride,
        rows,
        width,
        add,
    };
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: the assertions above put a at i·row + d·step, b at d·WIDTH + j and data at i·stride + j inside their slices
            // for i < rows, d < depth and j < width; `data` is borrowed exclusively, so it aliases neither operand. An `Isa` of
            // this level exists only where AVX-512 was found.
            unsafe { x86::avx512(&o) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above, and an `Isa` of this level exists only where AVX2 and FMA were found.
            unsafe { x86::avx2(&o) }
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => {
            // SAFETY: as above, and an `Isa` of this level exists only where NEON was found.
            unsafe { neon(&o) }
        }
        Level::Baseline => {
            // SAFETY: as above, and plain Rust needs no instructions.
            unsafe { baseline(&o) }
        }
    }
}

/// Everything a piece of a tile needs to know.
struct Operands {
    a: *const f32,
    row: usize,
    step: usize,
    b: *const f32,
    depth: usize,
    out: *mut f32,
    stride: usize,
    rows: usize,
    width: usize,
    add: bool,
}

/// `M` rows and `V` vectors of columns, from row `i` and column `j` on, of some steps of the sum.
///
/// # Safety
/// `o` must hold what [`product_of_rows`] asserts, the rows, columns and steps must be inside it, and the instructions of `L`
/// must be there.
#[inline(always)]
unsafe fn piece<L: Lanes, const M: usize, const V: usize>(
    o: &Operands,
    i: usize,
    j: usize,
    steps: std::ops::Range<usize>,
) {
    // SAFETY: every pointer that is read or written is one that the caller vouches for.
    unsafe {
        let mut sums = [[L::zero(); V]; M];
        // Four rows to a pointer: from one alone, the compiler would reach the rows by a chain of additions that is longer than the
        // arithmetic. It must not know that the pointers are related.
        let first = o.a.add(i * o.row + steps.start * o.step);
        let mut a: [*const f32; 4] = std::array::from_fn(|g| black_box(first.wrapping_add(4 * g * o.row)));
        let mut b = o.b.add(steps.start * WIDTH + j);
        for _ in steps.clone() {
            let mut right = [L::zero(); V];
            for v in 0..V {
                right[v] = L::load(b.add(v * L::N));
            }
            for m in 0..M {
                let left = L::splat(a[m / 4].add(m % 4 * o.row));
                for v in 0..V {
                    sums[m][v] = sums[m][v].add_product(left, right[v]);
                }
            }
            for a in &mut a {
                *a = a.wrapping_add(o.step);
            }
            b = b.wrapping_add(WIDTH);
        }
        let add = o.add || steps.start > 0;
        for m in 0..M {
            for v in 0..V {
                let out = o.out.add((i + m) * o.stride + j + v * L::N);
                let sum = if add { L::load(out).plus(sums[m][v]) } else { sums[m][v] };
                sum.store(out);
            }
        }
    }
}

/// All rows and columns in pieces of the heights given, larger ones first, the last of which must be 1.
macro_rules! pieces {
    ($o:ident, $lanes:ty, $vectors:literal: $($rows:literal)+) => {
        for start in (0..$o.depth).step_by(STRETCH) {
            let steps = start..(start + STRETCH).min($o.depth);
            for j in (0..$o.width).step_by($vectors * <$lanes as Lanes>::N) {
                let mut i = 0;
                $(
                    while $o.rows - i >= $rows {
                        piece::<$lanes, $rows, $vectors>($o, i, j, steps.clone());
                        i += $rows;
                    }
                )+
            }
        }
    };
}

/// # Safety
/// As [`piece`] for all of `o`.
unsafe fn baseline(o: &Operands) {
    // SAFETY: pieces are inside `o`: rows end at `o.rows`, and a width of HALF or WIDTH is a multiple of the columns of a piece.
    unsafe { pieces!(o, [f32; 4], 2: 4 1) }
}

/// # Safety
/// As [`piece`] for all of `o`.
#[cfg(target_arch = "aarch64")]
unsafe fn neon(o: &Operands) {
    // SAFETY: as in `baseline`; NEON is part of the architecture's baseline.
    unsafe { pieces!(o, std::arch::aarch64::float32x4_t, 4: 4 2 1) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512};

    use super::super::lanes::Lanes;
    use super::{HALF, Operands, STRETCH, piece};

    /// # Safety
    /// As [`piece`] for all of `o`, and the CPU must have AVX-512 F.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn avx512(o: &Operands) {
        // SAFETY: as in `baseline`; the caller vouches for the instructions.
        unsafe {
            if o.width == HALF {
                pieces!(o, __m512, 1: 16 8 4 2 1);
            } else {
                pieces!(o, __m512, 2: 8 4 2 1);
            }
        }
    }

    /// # Safety
    /// As [`piece`] for all of `o`, and the CPU must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(o: &Operands) {
        // SAFETY: as in `baseline`; the caller vouches for the instructions.
        unsafe { pieces!(o, __m256, 2: 4 2 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, so that every order of the sum gives the same bits.
    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7 + seed * 3) % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn all_extents_agree_with_the_definition() {
        for isa in Isa::all() {
            for (rows, width, depth) in [(1, 16, 1), (21, 32, 5), (37, 16, 700), (9, 24, 3), (15, 32, 513)] {
                for (row, step) in [(depth + 1, 1), (1, rows)] {
                    let a = numbers((rows - 1) * row + (depth - 1) * step + 1, 1);
                    let (b, stride) = (numbers(depth * WIDTH, 2), width + 3);
                    for add in [false, true] {
                        let before = numbers(rows * stride, 3);
                        let mut out = before.clone();
                        let tile = Tile { data: &mut out, stride, rows, width };
                        product_of_rows(isa, Left { data: &a, row, step }, &b, depth, tile, add);
                        for (at, &got) in out.iter().enumerate() {
                            let (i, j) = (at / stride, at % stride);
                            let sum: f32 = (0..depth)
                                .map(|d| a[i * row + d * step] * b[d * WIDTH + j.min(width - 1)])
                                .sum();
                            let start = if add { before[at] } else { 0.0 };
                            let want = if j < width { start + sum } else { before[at] };
                            assert_eq!(
                                got, want,
                                "{isa:?}, {rows} × {width} × {depth}, add {add}: ({i}, {j})"
                            );
                        }
                    }
                }
            }
        }
    }
}
