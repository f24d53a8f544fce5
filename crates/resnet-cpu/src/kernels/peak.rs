//! Loops that do nothing but what the processor does best, to know what that is.

use super::lanes::Lanes;
use super::{Isa, Level, kernel};

/// Sums that do not wait for each other: enough for two multiply-adds a cycle that take four to five cycles each, and on 64-bit
/// ARM, which has 32 registers and cores that start four a cycle, for those.
const CHAINS: usize = if cfg!(target_arch = "aarch64") { 24 } else { 12 };

/// Runs `rounds` rounds of independent multiply-adds on vectors of the level, and returns how many numbers each round
/// multiplied and added, and a number that depends on all of them.
pub(crate) fn multiply_adds(isa: Isa, rounds: usize) -> (usize, f32) {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: an `Isa` of this level exists only where AVX-512 was found.
            (CHAINS * 16, unsafe { x86::avx512(rounds) })
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: an `Isa` of this level exists only where AVX2 and FMA were found.
            (CHAINS * 8, unsafe { x86::avx2(rounds) })
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => {
            // SAFETY: an `Isa` of this level exists only where NEON was found.
            (CHAINS * 4, unsafe { chains::<std::arch::aarch64::float32x4_t>(rounds) })
        }
        Level::Baseline => {
            // SAFETY: plain Rust needs no instructions.
            (CHAINS * 4, unsafe { chains::<[f32; 4]>(rounds) })
        }
    }
}

/// # Safety
/// The instructions of `L` must be there.
#[inline(always)]
unsafe fn chains<L: Lanes>(rounds: usize) -> f32 {
    // Unknown to the compiler, so that it computes; small, so that nothing overflows.
    let (a, b) = std::hint::black_box((0.5f32, 0.25f32));
    let mut out = [0.0f32; 16];
    // SAFETY: the caller vouches for the instructions; `splat` reads one number that is there, and `out` holds the widest L.
    unsafe {
        let (a, b) = (L::splat(&a), L::splat(&b));
        let mut sums = [L::zero(); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = b.add_product(*sum, a);
            }
        }
        let total = sums.into_iter().fold(L::zero(), |total, sum| total.plus(sum));
        total.store(out.as_mut_ptr());
    }
    out[0]
}

kernel! {
    /// Adds up all numbers, in any order.
    fn read(x: &[f32], total: &mut f32) {
        let mut sums = [0.0f32; 64];
        for x in x.chunks_exact(64) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += x;
            }
        }
        *total = sums.iter().sum();
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512};

    /// # Safety
    /// The CPU must have AVX-512 F.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn avx512(rounds: usize) -> f32 {
        // SAFETY: the caller vouches for the instructions.
        unsafe { super::chains::<__m512>(rounds) }
    }

    /// # Safety
    /// The CPU must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(rounds: usize) -> f32 {
        // SAFETY: the caller vouches for the instructions.
        unsafe { super::chains::<__m256>(rounds) }
    }
}
