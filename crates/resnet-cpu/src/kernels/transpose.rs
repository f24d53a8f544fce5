//! Transposition of a matrix of floats, in blocks of 8 × 8 (NEON: 4 × 4) that stay in registers.
//!
//! A matrix product packs its operands fast only where the direction of the output is contiguous.

use super::{Isa, Level, kernel};

/// Writes `dst[j·dst_stride + i] = src[i·src_stride + j]` for `i < rows` and `j < cols`.
///
/// # Panics
/// If a slice is shorter than that.
pub(crate) fn transpose(
    isa: Isa,
    src: &[f32],
    src_stride: usize,
    (rows, cols): (usize, usize),
    dst: &mut [f32],
    dst_stride: usize,
) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(
        src_stride >= cols && src.len() >= (rows - 1) * src_stride + cols,
        "source shorter than {rows} × {cols}"
    );
    assert!(
        dst_stride >= rows && dst.len() >= (cols - 1) * dst_stride + rows,
        "result shorter than {cols} × {rows}"
    );
    if cols == 3 && src_stride == 3 {
        let (first, rest) = dst.split_at_mut(dst_stride);
        let (second, third) = rest.split_at_mut(dst_stride);
        return three_planes(isa, &src[..3 * rows], first, second, third);
    }
    let (full_rows, full_cols) = match isa.level() {
        Level::Baseline => (0, 0),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 => {
            blocks::<8>((rows, cols), (src, src_stride), (dst, dst_stride), |src, dst| {
                // SAFETY: the CPU must have AVX: `Isa` is at these levels only after AVX2 was found. The block reads 8 floats at
                // 8 offsets `src_stride` apart and writes alike, which `blocks` vouches for.
                unsafe { block8(src, src_stride, dst, dst_stride) }
            })
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => blocks::<4>((rows, cols), (src, src_stride), (dst, dst_stride), |src, dst| {
            // SAFETY: `Isa` is at this level only after NEON was found. The block reads 4 floats at 4 offsets `src_stride` apart
            // and writes alike, which `blocks` vouches for.
            unsafe { block4(src, src_stride, dst, dst_stride) }
        }),
    };
    for i in 0..rows {
        let from = if i < full_rows { full_cols } else { 0 };
        for j in from..cols {
            dst[j * dst_stride + i] = src[i * src_stride + j];
        }
    }
}

/// Calls `block` at all blocks of `N × N` that lie whole in a matrix of `rows × cols`, and returns the rows and columns they fill.
/// It is given pointers that are good for `N` floats at each of the `N` offsets that a stride makes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn blocks<const N: usize>(
    (rows, cols): (usize, usize),
    (src, src_stride): (&[f32], usize),
    (dst, dst_stride): (&mut [f32], usize),
    block: impl Fn(*const f32, *mut f32),
) -> (usize, usize) {
    let full = (rows / N * N, cols / N * N);
    for i in (0..full.0).step_by(N) {
        for j in (0..full.1).step_by(N) {
            let (src, dst) = (&src[i * src_stride + j..], &mut dst[j * dst_stride + i..]);
            assert!(src.len() >= (N - 1) * src_stride + N && dst.len() >= (N - 1) * dst_stride + N);
            block(src.as_ptr(), dst.as_mut_ptr());
        }
    }
    full
}

kernel! {
    /// Red, green and blue pixels to three planes.
    fn three_planes(src: &[f32], first: &mut [f32], second: &mut [f32], third: &mut [f32]) {
        for (((s, a), b), c) in src.chunks_exact(3).zip(first).zip(second).zip(third) {
            (*a, *b, *c) = (s[0], s[1], s[2]);
        }
    }
}

/// One block: pairs, then quadruples, then halves change places.
///
/// # Safety
/// The CPU has AVX; `src.add(i · src_stride)` and `dst.add(i · dst_stride)` are valid for 8 floats for every `i < 8`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn block8(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller vouches for 8 floats at each of the 8 offsets.
    let row = |i: usize| unsafe { _mm256_loadu_ps(src.add(i * src_stride)) };
    let pairs = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (a0, a1) = pairs(row(0), row(1));
    let (a2, a3) = pairs(row(2), row(3));
    let (a4, a5) = pairs(row(4), row(5));
    let (a6, a7) = pairs(row(6), row(7));
    let quads = |a, b| (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b));
    let (b0, b1) = quads(a0, a2);
    let (b2, b3) = quads(a1, a3);
    let (b4, b5) = quads(a4, a6);
    let (b6, b7) = quads(a5, a7);
    // SAFETY: as for the loads.
    let store = |i: usize, v| unsafe { _mm256_storeu_ps(dst.add(i * dst_stride), v) };
    store(0, _mm256_permute2f128_ps::<0x20>(b0, b4));
    store(1, _mm256_permute2f128_ps::<0x20>(b1, b5));
    store(2, _mm256_permute2f128_ps::<0x20>(b2, b6));
    store(3, _mm256_permute2f128_ps::<0x20>(b3, b7));
    store(4, _mm256_permute2f128_ps::<0x31>(b0, b4));
    store(5, _mm256_permute2f128_ps::<0x31>(b1, b5));
    store(6, _mm256_permute2f128_ps::<0x31>(b2, b6));
    store(7, _mm256_permute2f128_ps::<0x31>(b3, b7));
}

/// One block: pairs change places, then halves.
///
/// # Safety
/// The CPU has NEON; `src.add(i · src_stride)` and `dst.add(i · dst_stride)` are valid for 4 floats for every `i < 4`.
#[cfg(target_arch = "aarch64")]
unsafe fn block4(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
    use std::arch::aarch64::*;
    // SAFETY: the caller vouches for NEON and for 4 floats at each of the 4 offsets.
    unsafe {
        let row = |i: usize| vld1q_f32(src.add(i * src_stride));
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (ab0, ab1) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
        let (cd0, cd1) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
        let low = |x, y| vcombine_f32(vget_low_f32(x), vget_low_f32(y));
        let high = |x, y| vcombine_f32(vget_high_f32(x), vget_high_f32(y));
        let store = |i: usize, v| vst1q_f32(dst.add(i * dst_stride), v);
        store(0, low(ab0, cd0));
        store(1, low(ab1, cd1));
        store(2, high(ab0, cd0));
        store(3, high(ab1, cd1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_changes_places() {
        for isa in Isa::all() {
            for (rows, cols) in [(1, 1), (8, 8), (16, 24), (9, 7), (23, 17), (64, 3), (3, 64)] {
                let (src_stride, dst_stride) = (if rows == 64 { cols } else { cols + 3 }, rows + 5);
                let src: Vec<f32> = (0..rows * src_stride).map(|i| i as f32).collect();
                let mut dst = vec![-1.0; cols * dst_stride];
                transpose(isa, &src, src_stride, (rows, cols), &mut dst, dst_stride);
                for j in 0..cols {
                    for i in 0..dst_stride {
                        let want = if i < rows { src[i * src_stride + j] } else { -1.0 };
                        assert_eq!(dst[j * dst_stride + i], want, "{isa:?}, {rows} × {cols} at {j}, {i}");
                    }
                }
            }
        }
    }
}
