//! Transforms of tiles: the same small matrix applied to the columns and the rows of a tile of vectors.
//!
//! A tile's pixel is a row of numbers (channels of pictures) that all go through the same arithmetic, so a vector register holds
//! the same pixel of several of them, and nothing is shuffled. Matrices are constants: zeros cost nothing, ones no multiplication.

use super::lanes::Lanes;
use super::{Isa, Level};
use crate::winograd::matrices::{MOST, Of};

type Matrix = [[f32; MOST]; MOST];

/// Which of the matrices of a size.
pub(crate) const INPUT: usize = 0;
pub(crate) const FILTER: usize = 1;
pub(crate) const OUTPUT: usize = 2;
pub(crate) const GRADIENT: usize = 3;
pub(crate) const FILTER_GRADIENT: usize = 4;

/// Rows and columns of a matrix.
pub(crate) const fn extents(n: usize, kind: usize) -> (usize, usize) {
    match kind {
        INPUT => (n, n),
        FILTER => (n, 3),
        OUTPUT => (n - 2, n),
        GRADIENT => (n, n - 2),
        _ => (3, n),
    }
}

struct Kind<const N: usize, const KIND: usize>;

impl<const N: usize, const KIND: usize> Kind<N, KIND> {
    const MATRIX: Matrix = match KIND {
        INPUT => Of::<N>::M.input,
        FILTER => Of::<N>::M.filter,
        OUTPUT => Of::<N>::M.output,
        GRADIENT => Of::<N>::M.gradient,
        _ => Of::<N>::M.filter_gradient,
    };
    const ROWS: usize = extents(N, KIND).0;
    const COLUMNS: usize = extents(N, KIND).1;
}

/// Calls a macro with every index of a matrix: loops over them must not be left to the optimiser, since only literal indices
/// keep vectors in registers and turn entries into constants.
macro_rules! each {
    ($index:ident) => {
        $index!(0);
        $index!(1);
        $index!(2);
        $index!(3);
        $index!(4);
        $index!(5);
    };
}

/// `out[i] = Σ_j matrix[i][j]·x[j]`, terms in the order of `j`.
///
/// # Safety
/// The instructions of `L` must be there.
#[inline(always)]
unsafe fn apply<L: Lanes, const N: usize, const KIND: usize>(x: [L; MOST]) -> [L; MOST] {
    // SAFETY: the caller vouches for the instructions; `splat` reads one number that is there.
    unsafe {
        let mut out = [L::zero(); MOST];
        macro_rules! row {
            ($i:literal) => {
                if $i < Kind::<N, KIND>::ROWS {
                    let mut sum = L::zero();
                    let mut some = false;
                    macro_rules! term {
                        ($j:literal) => {
                            let m = const { Kind::<N, KIND>::MATRIX[$i][$j] };
                            if m != 0.0 {
                                sum = match (some, m) {
                                    (false, 1.0) => x[$j],
                                    (false, m) => x[$j].times(L::splat(&m)),
                                    (true, 1.0) => sum.plus(x[$j]),
                                    (true, -1.0) => sum.minus(x[$j]),
                                    (true, m) => sum.add_product(L::splat(&m), x[$j]),
                                };
                                some = true;
                            }
                        };
                    }
                    each!(term);
                    let _ = some;
                    out[$i] = sum;
                }
            };
        }
        each!(row);
        out
    }
}

/// What a transform reads and writes.
struct Operands<'a> {
    src: *const f32,
    from: &'a [usize],
    dst: *mut f32,
    stride: usize,
}

/// Transforms the vectors of numbers `at..` and returns where the last whole vector before `end` ends.
///
/// # Safety
/// `src` must have the numbers `at..end` of each of `columns²` pixels that begin at `from`, `dst` those of each of `rows²`
/// results `stride` apart, which must not overlap the pixels. The instructions of `L` must be there.
#[inline(always)]
unsafe fn vectors<L: Lanes, const N: usize, const KIND: usize>(
    o: &Operands<'_>,
    mut at: usize,
    end: usize,
) -> usize {
    let (rows, columns) = (Kind::<N, KIND>::ROWS, Kind::<N, KIND>::COLUMNS);
    // SAFETY: every pointer below is one that the caller vouches for: at + L::N stays at most `end`.
    unsafe {
        while at + L::N <= end {
            let mut half = [[L::zero(); MOST]; MOST];
            macro_rules! column {
                ($j:literal) => {
                    if $j < columns {
                        let mut x = [L::zero(); MOST];
                        macro_rules! pixel {
                            ($i:literal) => {
                                if $i < columns {
                                    x[$i] = L::load(o.src.add(o.from[$i * columns + $j] + at));
                                }
                            };
                        }
                        each!(pixel);
                        let y = apply::<L, N, KIND>(x);
                        macro_rules! keep {
                            ($i:literal) => {
                                half[$i][$j] = y[$i];
                            };
                        }
                        each!(keep);
                    }
                };
            }
            each!(column);
            macro_rules! row {
                ($i:literal) => {
                    if $i < rows {
                        let y = apply::<L, N, KIND>(half[$i]);
                        macro_rules! result {
                            ($j:literal) => {
                                if $j < rows {
                                    y[$j].store(o.dst.add(($i * rows + $j) * o.stride + at));
                                }
                            };
                        }
                        each!(result);
                    }
                };
            }
            each!(row);
            at += L::N;
        }
    }
    at
}

/// Transforms tiles of numbers: `KIND · tile · KINDᵀ` for each of the first `len` numbers of every pixel.
///
/// Pixel `(i, j)` of the tile begins at `from[i · columns + j]` of `src`; result `(i, j)` at `(i · rows + j) · stride` of `dst`,
/// with the rows and columns of the matrix.
///
/// # Panics
/// If a pixel or a result ends outside its slice.
pub(crate) fn transform<const N: usize, const KIND: usize>(
    isa: Isa,
    src: &[f32],
    from: &[usize],
    len: usize,
    dst: &mut [f32],
    stride: usize,
) {
    let (rows, columns) = (Kind::<N, KIND>::ROWS, Kind::<N, KIND>::COLUMNS);
    let from = &from[..columns * columns];
    assert!(from.iter().all(|at| at + len <= src.len()), "a pixel ends outside its tensor");
    assert!(
        (rows * rows - 1) * stride + len <= dst.len() && stride >= len,
        "a result ends outside its tensor"
    );
    let o = Operands { src: src.as_ptr(), from, dst: dst.as_mut_ptr(), stride };
    let at = match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: the assertions above; `dst` is an exclusive borrow; an `Isa` of this level exists only with AVX-512.
            unsafe { avx512::<N, KIND>(&o, len) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above, and an `Isa` of this level exists only where AVX2 and FMA were found.
            unsafe { avx2::<N, KIND>(&o, len) }
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => {
            // SAFETY: as above, and an `Isa` of this level exists only where NEON was found.
            unsafe { vectors::<std::arch::aarch64::float32x4_t, N, KIND>(&o, 0, len) }
        }
        Level::Baseline => {
            // SAFETY: as above, and plain Rust needs no instructions.
            unsafe { vectors::<[f32; 4], N, KIND>(&o, 0, len) }
        }
    };
    // SAFETY: as above, for what does not fill a vector.
    unsafe { vectors::<f32, N, KIND>(&o, at, len) };
}

/// # Safety
/// As [`vectors`], and the CPU must have AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<const N: usize, const KIND: usize>(o: &Operands<'_>, len: usize) -> usize {
    // SAFETY: the caller vouches for both.
    unsafe { vectors::<std::arch::x86_64::__m512, N, KIND>(o, 0, len) }
}

/// # Safety
/// As [`vectors`], and the CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const N: usize, const KIND: usize>(o: &Operands<'_>, len: usize) -> usize {
    // SAFETY: the caller vouches for both.
    unsafe { vectors::<std::arch::x86_64::__m256, N, KIND>(o, 0, len) }
}
