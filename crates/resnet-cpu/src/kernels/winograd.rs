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
    (from the last $index:ident) => {
        $index!(5);
        $index!(4);
        $index!(3);
        $index!(2);
        $index!(1);
        $index!(0);
    };
}

/// `out[i] = Σ_j matrix[i][j]·x[j]`, terms in the order of `j`; from the last one down where rows are polynomials that end with
/// a one, since a sum that begins with a one has a multiplication less.
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
                    if KIND == INPUT {
                        each!(from the last term);
                    } else {
                        each!(term);
                    }
                    let _ = some;
                    out[$i] = sum;
                }
            };
        }
        each!(row);
        out
    }
}

/// Numbers that go through the same arithmetic: rows of them, each some way after the one before, in every pixel and result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    /// From row to row of a pixel that is read.
    pub(crate) src: usize,
    /// From row to row of a result.
    pub(crate) dst: usize,
}

impl Extent {
    /// Numbers that follow each other.
    pub(crate) fn line(len: usize) -> Self {
        Self { rows: 1, width: len, src: len, dst: len }
    }

    /// Numbers from the first one to the last one, at a distance of rows.
    fn span(&self, row: usize) -> usize {
        (self.rows - 1) * row + self.width
    }
}

/// What a transform reads and writes.
struct Operands<'a> {
    src: *const f32,
    from: &'a [usize],
    extent: Extent,
    /// Results one after the other, so far apart; of any kind but [`OUTPUT`].
    dst: *mut f32,
    stride: usize,
    /// Each result of [`OUTPUT`] to its place, or nowhere where that is null; set or added.
    places: &'a [*mut f32],
    add: bool,
}

/// Transforms the vectors of numbers `first..` of every row and returns where the last whole vector of a row ends.
///
/// # Safety
/// `src` must have the numbers of the extent in each of `columns²` pixels, which begin at `from`, and there must be room for those
/// of `rows²` results, which must not overlap the pixels. The instructions of `L` must be there.
#[inline(always)]
unsafe fn vectors<L: Lanes, const N: usize, const KIND: usize>(o: &Operands<'_>, first: usize) -> usize {
    let (rows, columns) = (Kind::<N, KIND>::ROWS, Kind::<N, KIND>::COLUMNS);
    let (Extent { width, src: src_row, dst: dst_row, .. }, mut at) = (o.extent, first);
    // SAFETY: every pointer below is one that the caller vouches for: at + L::N stays at most `width`.
    unsafe {
        for row in 0..o.extent.rows {
            let (src, dst) = (o.src.add(row * src_row), row * dst_row);
            at = first;
            while at + L::N <= width {
                let mut half = [[L::zero(); MOST]; MOST];
                macro_rules! column {
                    ($j:literal) => {
                        if $j < columns {
                            let mut x = [L::zero(); MOST];
                            macro_rules! pixel {
                                ($i:literal) => {
                                    if $i < columns {
                                        x[$i] = L::load(src.add(o.from[$i * columns + $j] + at));
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
                                        if KIND == OUTPUT {
                                            let to = o.places[$i * rows + $j];
                                            if !to.is_null() {
                                                let to = to.add(dst + at);
                                                let sum = if o.add { L::load(to).plus(y[$j]) } else { y[$j] };
                                                sum.store(to);
                                            }
                                        } else {
                                            y[$j].store(o.dst.add(($i * rows + $j) * o.stride + dst + at));
                                        }
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
    }
    at
}

/// Transforms tiles of numbers: `KIND · tile · KINDᵀ` for each number of an extent of every pixel; any kind but [`OUTPUT`].
///
/// Pixel `(i, j)` of the tile begins at `from[i · columns + j]` of `src`; result `(i, j)` at `(i · rows + j) · stride` of `dst`,
/// with the rows and columns of the matrix.
///
/// # Panics
/// If a pixel or a result ends outside its slice, or the kind is another one.
pub(crate) fn transform<const N: usize, const KIND: usize>(
    isa: Isa,
    src: &[f32],
    from: &[usize],
    extent: Extent,
    dst: &mut [f32],
    stride: usize,
) {
    let rows = Kind::<N, KIND>::ROWS;
    assert!(KIND != OUTPUT, "outputs have places");
    let len = (rows * rows - 1) * stride + extent.span(extent.dst);
    assert!(len <= dst.len(), "a result ends outside its tensor");
    let (dst, src_ptr) = (dst.as_mut_ptr(), src.as_ptr());
    let o = Operands { src: src_ptr, from, extent, dst, stride, places: &[], add: false };
    run::<N, KIND>(isa, src, o);
}

/// As [`transform`], of [`OUTPUT`]: a place for every result that is wanted, which is set or added to.
///
/// # Panics
/// If a pixel ends outside its slice, or a result outside its place.
pub(crate) fn transform_output<const N: usize>(
    isa: Isa,
    src: &[f32],
    from: &[usize],
    extent: Extent,
    places: &mut [Option<&mut [f32]>],
    add: bool,
) {
    let n_places = Kind::<N, OUTPUT>::ROWS * Kind::<N, OUTPUT>::ROWS;
    let mut to = [std::ptr::null_mut(); MOST * MOST];
    for (to, place) in to.iter_mut().zip(&mut places[..n_places]) {
        let Some(place) = place else { continue };
        assert!(extent.span(extent.dst) <= place.len(), "a result ends outside its place");
        *to = place.as_mut_ptr();
    }
    let (places, dst, src_ptr) = (&to[..n_places], std::ptr::null_mut(), src.as_ptr());
    run::<N, OUTPUT>(isa, src, Operands { src: src_ptr, from, extent, dst, stride: 0, places, add });
}

/// Both of them, after the results were checked.
fn run<const N: usize, const KIND: usize>(isa: Isa, src: &[f32], o: Operands<'_>) {
    let columns = Kind::<N, KIND>::COLUMNS;
    let (len, extent) = (o.extent.span(o.extent.src), o.extent);
    let o = Operands { from: &o.from[..columns * columns], ..o };
    assert!(o.from.iter().all(|at| at + len <= src.len()), "a pixel ends outside its tensor");
    let at = match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: the assertion above and those of the callers, whose results are exclusive borrows, and which are all of this
            // function; an `Isa` of this level exists only with AVX-512.
            unsafe { avx512::<N, KIND>(&o) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above, and an `Isa` of this level exists only where AVX2 and FMA were found.
            unsafe { avx2::<N, KIND>(&o) }
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => {
            // SAFETY: as above, and an `Isa` of this level exists only where NEON was found.
            unsafe { vectors::<std::arch::aarch64::float32x4_t, N, KIND>(&o, 0) }
        }
        Level::Baseline => {
            // SAFETY: as above, and plain Rust needs no instructions.
            unsafe { vectors::<[f32; 4], N, KIND>(&o, 0) }
        }
    };
    if at < extent.width {
        // SAFETY: as above, for what does not fill a vector.
        unsafe { vectors::<f32, N, KIND>(&o, at) };
    }
}

/// # Safety
/// As [`vectors`], and the CPU must have AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<const N: usize, const KIND: usize>(o: &Operands<'_>) -> usize {
    // SAFETY: the caller vouches for both.
    unsafe { vectors::<std::arch::x86_64::__m512, N, KIND>(o, 0) }
}

/// # Safety
/// As [`vectors`], and the CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const N: usize, const KIND: usize>(o: &Operands<'_>) -> usize {
    // SAFETY: the caller vouches for both.
    unsafe { vectors::<std::arch::x86_64::__m256, N, KIND>(o, 0) }
}
