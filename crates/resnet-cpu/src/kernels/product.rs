//! The micro-kernel of all three directions of a convolution: a few rows times one panel of weights, kept in registers.
//!
//! `out[i, j] = Σ_tap Σ_d a[tap.a + i·row + d·step] · b[tap.b + d·WIDTH + j]`
//!
//! Forward and backward-data sum over channels (`step = 1`) and over the taps of the window; backward-weight sums over
//! pictures and pixels (`row = 1`). The right operand is packed, so that one step of the sum reads two full vectors of it
//! and one number per row of the left operand.
//!
//! With AVX-512, 8 × 32 results take 16 registers, and a step is 2 vector loads and 8 broadcast loads for 16 fused
//! multiply-adds: the two load ports and the two multiply-add ports are both kept busy.
//! With AVX2 and FMA, and with NEON, the same tile is computed in quarters of 4 × 16, without either in pieces of 4 × 8.

use super::lanes::Lanes;
use super::{Isa, Level};
use crate::element::Element;

/// Rows of a tile.
pub(crate) const ROWS: usize = 8;

/// Columns of a tile, and of a panel of weights.
pub(crate) const WIDTH: usize = 32;

/// Columns that are computed where a tile has no more: networks of 16 channels would waste half of the arithmetic.
pub(crate) const HALF: usize = 16;

/// Where the operands of one run of the sum begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tap {
    pub(crate) a: usize,
    pub(crate) b: usize,
}

/// The left operand: `row` numbers from one row of the result to the next, `step` along the sum.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, O = f32> {
    pub(crate) data: &'a [O],
    pub(crate) row: usize,
    pub(crate) step: usize,
}

/// The result: `rows × width` numbers, rows `stride` apart.
pub(crate) struct Tile<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

/// What products are made of.
pub(crate) trait Operand: Element {
    /// Numbers that lie side by side in both operands and are multiplied in one step of the sum.
    const STEP: usize;

    /// Sets a tile to the sum over `taps` of runs of `steps` steps, or adds it.
    ///
    /// # Panics
    /// As [`product`].
    fn product(isa: Isa, a: Left<'_, Self>, b: &[Self], taps: &[Tap], steps: usize, out: Tile<'_>, add: bool);
}

impl Operand for f32 {
    const STEP: usize = 1;

    #[inline(always)]
    fn product(isa: Isa, a: Left<'_>, b: &[f32], taps: &[Tap], steps: usize, out: Tile<'_>, add: bool) {
        product(isa, a, b, taps, steps, out, add);
    }
}

/// Sets a tile to the sum over `taps` of runs of `depth` steps, or adds it.
///
/// # Panics
/// If the tile is larger than [`ROWS`] × [`WIDTH`] or an operand ends before the sum does.
pub(crate) fn product(
    isa: Isa,
    a: Left<'_>,
    b: &[f32],
    taps: &[Tap],
    depth: usize,
    out: Tile<'_>,
    add: bool,
) {
    let Tile { data, stride, rows, width } = out;
    assert!(
        (1..=ROWS).contains(&rows) && (1..=WIDTH).contains(&width) && depth > 0,
        "{rows} × {width} × {depth}"
    );
    let last = |extent: usize, by: usize| (extent - 1) * by;
    let (a_span, b_span) = (last(rows, a.row) + last(depth, a.step), depth * WIDTH);
    let fits = |tap: &Tap| tap.a + a_span < a.data.len() && tap.b + b_span <= b.len();
    assert!(taps.iter().all(fits), "an operand ends before the sum does");
    assert!(last(rows, stride) + width <= data.len(), "the result is shorter than its tile");
    let computed = if width <= HALF { HALF } else { WIDTH };
    if width == computed {
        // SAFETY: `run` reads a at tap.a + i·row + d·step for i < rows and d < depth, and b at tap.b + d·WIDTH + j for
        // j < width; `fits` holds for every tap, so both stay inside their slices. It reads and writes data at
        // i·stride + j for i < rows and j < width, whose last element was checked to be inside. `data` is borrowed
        // exclusively, so it aliases neither operand.
        unsafe { run(isa, a, b.as_ptr(), taps, depth, data.as_mut_ptr(), stride, (rows, width), add) };
        return;
    }
    let mut whole = [0.0f32; ROWS * WIDTH];
    // SAFETY: as above for a and b; the result goes to `whole`, which has ROWS rows of WIDTH numbers.
    unsafe { run(isa, a, b.as_ptr(), taps, depth, whole.as_mut_ptr(), WIDTH, (rows, computed), false) };
    for (out, row) in data.chunks_mut(stride).zip(whole.chunks_exact(WIDTH)).take(rows) {
        for (out, v) in out[..width].iter_mut().zip(row) {
            *out = if add { *out + v } else { *v };
        }
    }
}

/// # Safety
/// For all i < rows, d < depth, j < width and every tap: `a.data` must have element tap.a + i·row + d·step, `b` element
/// tap.b + d·WIDTH + j, and `out` element i·stride + j, which must not overlap the operands. `width` is HALF or WIDTH.
#[inline]
unsafe fn run(
    isa: Isa,
    a: Left<'_>,
    b: *const f32,
    taps: &[Tap],
    depth: usize,
    out: *mut f32,
    stride: usize,
    (rows, width): (usize, usize),
    add: bool,
) {
    let operands =
        Operands { a: a.data.as_ptr(), row: a.row, step: a.step, b, taps, depth, out, stride, width, add };
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: the caller vouches for the pointers; an `Isa` of this level exists only where AVX-512 was found.
            unsafe { x86::avx512(&operands, rows) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: the caller vouches for the pointers; an `Isa` of this level exists only where AVX2 and FMA were found.
            unsafe { x86::avx2(&operands, rows) }
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => {
            // SAFETY: the caller vouches for the pointers; an `Isa` of this level exists only where NEON was found.
            unsafe { pieces::<std::arch::aarch64::float32x4_t, 4, 4>(&operands, rows) }
        }
        Level::Baseline => {
            // SAFETY: the caller vouches for the pointers; plain Rust needs no instructions.
            unsafe { pieces::<[f32; 4], 4, 2>(&operands, rows) }
        }
    }
}

/// Everything a piece of a tile needs to know.
struct Operands<'a> {
    a: *const f32,
    row: usize,
    step: usize,
    b: *const f32,
    taps: &'a [Tap],
    depth: usize,
    out: *mut f32,
    stride: usize,
    width: usize,
    add: bool,
}

/// The first `M` rows and `V` vectors of columns, from row `i` and column `j` on.
///
/// # Safety
/// As [`run`], for these rows and columns, and the instructions of `L` must be there.
#[inline(always)]
unsafe fn piece<L: Lanes, const M: usize, const V: usize>(o: &Operands<'_>, i: usize, j: usize) {
    // SAFETY: every pointer below is one that the caller vouches for.
    unsafe {
        let mut sums = [[L::zero(); V]; M];
        for tap in o.taps {
            let mut a = o.a.add(tap.a + i * o.row);
            let mut b = o.b.add(tap.b + j);
            for _ in 0..o.depth {
                let mut right = [L::zero(); V];
                for v in 0..V {
                    right[v] = L::load(b.add(v * L::N));
                }
                for m in 0..M {
                    let left = L::splat(a.add(m * o.row));
                    for v in 0..V {
                        sums[m][v] = sums[m][v].add_product(left, right[v]);
                    }
                }
                a = a.wrapping_add(o.step);
                b = b.wrapping_add(WIDTH);
            }
        }
        for m in 0..M {
            for v in 0..V {
                let out = o.out.add((i + m) * o.stride + j + v * L::N);
                let sum = if o.add { L::load(out).plus(sums[m][v]) } else { sums[m][v] };
                sum.store(out);
            }
        }
    }
}

/// A whole tile in pieces of `M` rows and `V` vectors.
///
/// # Safety
/// As [`run`], and the instructions of `L` must be there.
#[inline(always)]
unsafe fn pieces<L: Lanes, const M: usize, const V: usize>(o: &Operands<'_>, rows: usize) {
    for j in (0..o.width).step_by(V * L::N) {
        let mut i = 0;
        // SAFETY: rows i..i + M are below `rows`, columns j..j + V·N below the width; the caller vouches for both.
        unsafe {
            while i + M <= rows {
                piece::<L, M, V>(o, i, j);
                i += M;
            }
            while i < rows {
                piece::<L, 1, V>(o, i, j);
                i += 1;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{HALF, Operands, piece, pieces};

    /// # Safety
    /// As [`run`](super::run), and the CPU must have AVX-512 F.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn avx512(o: &Operands<'_>, rows: usize) {
        // SAFETY: the caller vouches for the pointers and the instructions; rows is at most 8.
        unsafe {
            match (rows, o.width) {
                (1, HALF) => piece::<__m512, 1, 1>(o, 0, 0),
                (1, _) => piece::<__m512, 1, 2>(o, 0, 0),
                (2, HALF) => piece::<__m512, 2, 1>(o, 0, 0),
                (2, _) => piece::<__m512, 2, 2>(o, 0, 0),
                (3, HALF) => piece::<__m512, 3, 1>(o, 0, 0),
                (3, _) => piece::<__m512, 3, 2>(o, 0, 0),
                (4, HALF) => piece::<__m512, 4, 1>(o, 0, 0),
                (4, _) => piece::<__m512, 4, 2>(o, 0, 0),
                (5, HALF) => piece::<__m512, 5, 1>(o, 0, 0),
                (5, _) => piece::<__m512, 5, 2>(o, 0, 0),
                (6, HALF) => piece::<__m512, 6, 1>(o, 0, 0),
                (6, _) => piece::<__m512, 6, 2>(o, 0, 0),
                (7, HALF) => piece::<__m512, 7, 1>(o, 0, 0),
                (7, _) => piece::<__m512, 7, 2>(o, 0, 0),
                (_, HALF) => piece::<__m512, 8, 1>(o, 0, 0),
                _ => piece::<__m512, 8, 2>(o, 0, 0),
            }
        }
    }

    /// # Safety
    /// As [`run`](super::run), and the CPU must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(o: &Operands<'_>, rows: usize) {
        // SAFETY: the caller vouches for the pointers and the instructions.
        unsafe { pieces::<__m256, 4, 2>(o, rows) }
    }
}
