//! The inner loops. Portable Rust that the compiler vectorises, compiled once per instruction level.
//!
//! Every kernel is one safe function body; [`kernel!`] instantiates it for AVX-512, AVX2 and the target's baseline (which has
//! NEON on 64-bit ARM), and the level found at start-up picks one. Rust contracts no multiply and add on its own, so all levels give the same bits.
//! [`gemm`] is the matrix product behind all convolutions.

pub(crate) mod amx;
pub(crate) mod finish;
pub(crate) mod gemm;
mod lanes;
pub(crate) mod load;
pub(crate) mod panel;
pub(crate) mod peak;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod product_bf16;
pub(crate) mod rows;
pub(crate) mod sums;
pub(crate) mod transpose;
pub(crate) mod update;
pub(crate) mod winograd;

/// Vector instructions that the machine running the program has.
///
/// A value other than that of [`Isa::portable`] exists only if the instructions were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Isa {
    level: Level,
    /// Products of pairs of bf16, beside AVX-512.
    bf16: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// The best level of this machine.
    pub(crate) fn detect() -> Self {
        let found = Isa::avx512_bf16().or_else(Isa::avx512).or_else(Isa::avx2).or_else(Isa::neon);
        found.unwrap_or_else(Isa::portable)
    }

    /// AVX-512, if this machine has the parts of it that are used.
    pub(crate) fn avx512() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            return Some(Isa { level: Level::Avx512, bf16: false });
        }
        None
    }

    /// AVX-512 with products of bf16, if this machine has both.
    pub(crate) fn avx512_bf16() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = Isa::avx512()
            && is_x86_feature_detected!("avx512bf16")
        {
            return Some(Isa { bf16: true, ..isa });
        }
        None
    }

    /// AVX2 and FMA, if this machine has both.
    pub(crate) fn avx2() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Isa { level: Level::Avx2, bf16: false });
        }
        None
    }

    /// NEON, if this machine has it: all of 64-bit ARM that run an operating system do.
    pub(crate) fn neon() -> Option<Self> {
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Some(Isa { level: Level::Neon, bf16: false });
        }
        None
    }

    /// Plain Rust.
    pub(crate) fn portable() -> Self {
        Isa { level: Level::Baseline, bf16: false }
    }

    /// Every level of this machine, for tests that compare them.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        [Some(Isa::portable()), Isa::avx2(), Isa::avx512(), Isa::neon()].into_iter().flatten().collect()
    }

    pub(crate) fn level(self) -> Level {
        self.level
    }

    /// Whether it has products of pairs of bf16.
    pub(crate) fn has_bf16(self) -> bool {
        self.bf16
    }

    /// The name that people know it by.
    pub(crate) fn name(self) -> &'static str {
        match self.level {
            Level::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if self.bf16 => "AVX-512 with BF16",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "AVX-512",
            #[cfg(target_arch = "aarch64")]
            Level::Neon => "NEON",
        }
    }
}

/// Defines a function that runs its body compiled for the instruction level it is given first.
/// Types of elements stand in brackets after its name.
macro_rules! kernel {
    ($(#[$doc:meta])* fn $name:ident $([$($type:ident),+])? $(<$(const $param:ident: $kind:ty),+>)? ($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name <$($($type: $crate::element::Element,)+)? $($(const $param: $kind),+)?> (isa: $crate::kernels::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn body <$($($type: $crate::element::Element,)+)? $($(const $param: $kind),+)?> ($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 <$($($type: $crate::element::Element,)+)? $($(const $param: $kind),+)?> ($($arg: $ty),*) {
                body ::<$($($type,)+)? $($($param),+)?> ($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 <$($($type: $crate::element::Element,)+)? $($(const $param: $kind),+)?> ($($arg: $ty),*) {
                body ::<$($($type,)+)? $($($param),+)?> ($($arg),*)
            }

            match isa.level() {
                $crate::kernels::Level::Baseline => body ::<$($($type,)+)? $($($param),+)?> ($($arg),*),
                // The compiler may use NEON everywhere on this architecture.
                #[cfg(target_arch = "aarch64")]
                $crate::kernels::Level::Neon => body ::<$($($type,)+)? $($($param),+)?> ($($arg),*),
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Level::Avx2 => {
                    // SAFETY: the CPU must have AVX2 and FMA. `Isa` has private content that `Isa::avx2` alone sets to
                    // this level, after it found both.
                    unsafe { avx2 ::<$($($type,)+)? $($($param),+)?> ($($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Level::Avx512 => {
                    // SAFETY: the CPU must have AVX-512 F, BW, DQ and VL. `Isa` has private content that `Isa::avx512` alone
                    // sets to this level, after it found all four features.
                    unsafe { avx512 ::<$($($type,)+)? $($($param),+)?> ($($arg),*) }
                }
            }
        }
    };
}
pub(crate) use kernel;

#[cfg(test)]
mod tests {
    use super::load::{self, Affine};
    use super::{Isa, sums, update};

    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    /// A few kernels that could differ if a level contracted or reordered arithmetic.
    fn bits(isa: Isa) -> Vec<u64> {
        let (c, rows) = (37, 29);
        let (x, r) = (numbers(rows * c, 1), numbers(rows * c, 2));
        let (scale, shift) = (numbers(c, 3), numbers(c, 4));
        let t = Affine { scale: &scale, shift: &shift };
        let mut out = vec![0.0; rows * c];
        load::affine_residual::<_, _, true, true>(isa, &x, &r, c, t, t, &mut out, c);
        let (mut mean, mut m2) = (vec![0.0; c], vec![0.0; c]);
        sums::moments(isa, &x, &mut mean, &mut m2);
        let (mut g, mut gy) = (vec![0.0; c], vec![0.0; c]);
        sums::gradient(isa, &x, &r, &scale, &mut g, &mut gy);
        let mut square = 0.0;
        sums::squares(isa, &x, &mut square);
        let (mut p, mut m, mut v) = (x.clone(), r.clone(), numbers(rows * c, 5));
        v.iter_mut().for_each(|v| *v = v.abs());
        let adam = update::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, step_size: 1e-2, sqrt_c2: 0.5 };
        let step = update::Step { lr: 1e-3, decay: 1e-2, clip: 0.7 };
        update::adam::<true>(isa, &mut p, &r, &mut m, &mut v, adam, step);
        let f32s = out.iter().chain(&p).chain(&m).chain(&v).map(|v| u64::from(v.to_bits()));
        let f64s = mean.iter().chain(&m2).chain(&g).chain(&gy).chain([&square]).map(|v| v.to_bits());
        f32s.chain(f64s).collect()
    }

    #[test]
    fn all_instruction_levels_give_the_same_bits() {
        let all = Isa::all();
        for &isa in &all[1..] {
            assert_eq!(bits(all[0]), bits(isa), "{isa:?}");
        }
    }
}
