//! Vector registers as the micro-kernels see them: the same kernel is compiled for each width.

/// A vector register.
pub(super) trait Lanes: Copy {
    const N: usize;
    /// # Safety
    /// Of this and all below: the instructions must be there, and pointers must be good for [`Lanes::N`] numbers
    /// (`splat`: for one).
    unsafe fn zero() -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn splat(p: *const f32) -> Self;
    /// `a · b + self`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    unsafe fn plus(self, other: Self) -> Self;
    unsafe fn minus(self, other: Self) -> Self;
    unsafe fn times(self, other: Self) -> Self;
    unsafe fn store(self, p: *mut f32);
}

impl Lanes for f32 {
    const N: usize = 1;
    #[inline(always)]
    unsafe fn zero() -> Self {
        0.0
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for one number.
        unsafe { *p }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> Self {
        // SAFETY: the caller vouches for one number.
        unsafe { *p }
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        a * b + self
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller vouches for one number.
        unsafe { *p = self }
    }
}

impl Lanes for [f32; 4] {
    const N: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for four numbers.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> Self {
        // SAFETY: the caller vouches for one number.
        unsafe { [*p; 4] }
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| a[i] * b[i] + self[i])
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] + other[i])
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] - other[i])
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] * other[i])
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller vouches for four numbers.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(self) }
    }
}

/// A register whose methods are one instruction each.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! lanes {
    ($ty:ty, $n:literal, $zero:ident, $load:ident, $splat:ident, $fma:ident, $add:ident, $sub:ident, $mul:ident, $store:ident) => {
        impl Lanes for $ty {
            const N: usize = $n;
            // SAFETY (all methods): each is one instruction; the caller vouches for it and for the pointers.
            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: as said above.
                unsafe { $zero() }
            }
            #[inline(always)]
            unsafe fn load(p: *const f32) -> Self {
                // SAFETY: as said above.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn splat(p: *const f32) -> Self {
                // SAFETY: as said above.
                unsafe { $splat(*p) }
            }
            #[inline(always)]
            unsafe fn add_product(self, a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $fma(a, b, self) }
            }
            #[inline(always)]
            unsafe fn plus(self, other: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            unsafe fn minus(self, other: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $sub(self, other) }
            }
            #[inline(always)]
            unsafe fn times(self, other: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $mul(self, other) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut f32) {
                // SAFETY: as said above.
                unsafe { $store(p, self) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    lanes!(
        __m512,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_storeu_ps
    );
    lanes!(
        __m256,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_storeu_ps
    );
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::Lanes;

    /// # Safety
    /// The CPU must have NEON.
    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        // SAFETY: the caller vouches for the instruction.
        unsafe { vdupq_n_f32(0.0) }
    }

    /// `a · b + c`: NEON's instruction names the sum first.
    ///
    /// # Safety
    /// The CPU must have NEON.
    #[inline(always)]
    unsafe fn add_product(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the caller vouches for the instruction.
        unsafe { vfmaq_f32(c, a, b) }
    }

    lanes!(
        float32x4_t,
        4,
        zero,
        vld1q_f32,
        vdupq_n_f32,
        add_product,
        vaddq_f32,
        vsubq_f32,
        vmulq_f32,
        vst1q_f32
    );
}
