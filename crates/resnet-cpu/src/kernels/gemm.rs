//! Matrix product through `matrixmultiply`, with its pointers behind slices and lengths.
//!
//! `matrixmultiply` chooses its own instructions at run time (AVX-512, AVX2 with FMA, NEON, portable) and allocates a
//! buffer for its packed operands at every call, 1.1 MiB at most. Allocators keep blocks of that size for reuse: over the
//! layers of ResNet-18 that is about one page fault per op and under 2 % of the time, so it is left at that.

/// A matrix inside a slice: element `(i, j)` is at `i·rs + j·cs`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rs: usize,
    pub(crate) cs: usize,
}

impl<'a> Mat<'a> {
    /// Rows one after the other.
    pub(crate) fn rows(data: &'a [f32], rs: usize) -> Self {
        Self { data, rs, cs: 1 }
    }

    /// The transpose, without a copy.
    pub(crate) fn t(self) -> Self {
        Self { data: self.data, rs: self.cs, cs: self.rs }
    }

    fn covers(&self, rows: usize, cols: usize) -> bool {
        (rows - 1) * self.rs + (cols - 1) * self.cs < self.data.len()
    }
}

/// `C ← A·B + β·C` with `A: m × k`, `B: k × n` and `C: m × n`, whose rows lie `c_rs` apart. With `β = 0`, `C` is not read.
///
/// The order of additions in an element of `C` depends on `k` alone.
///
/// # Panics
/// If an extent is zero, an operand is shorter than its extents say or the rows of `C` overlap.
pub(crate) fn gemm(
    (m, k, n): (usize, usize, usize),
    a: Mat<'_>,
    b: Mat<'_>,
    beta: f32,
    c: &mut [f32],
    c_rs: usize,
) {
    assert!(m > 0 && k > 0 && n > 0, "a matrix product without extent: {m} × {k} × {n}");
    assert!(a.covers(m, k) && b.covers(k, n), "an operand is shorter than {m} × {k} × {n}");
    assert!(c_rs >= n && (m - 1) * c_rs + n <= c.len(), "the result is shorter than {m} × {n}");
    // SAFETY: `sgemm` reads element (i, j) of A for i < m and j < k, of B for i < k and j < n, and reads and writes those of
    // C for i < m and j < n, at the strides given. The three assertions above put all of them inside their slices and
    // make elements of C distinct (rows are at least n apart, columns 1). A and B are shared borrows and C is an
    // exclusive one, so C aliases neither. Slices are shorter than isize::MAX, so the strides that matter fit isize.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.data.as_ptr(),
            a.rs as isize,
            a.cs as isize,
            b.data.as_ptr(),
            b.rs as isize,
            b.cs as isize,
            beta,
            c.as_mut_ptr(),
            c_rs as isize,
            1,
        );
    }
}
