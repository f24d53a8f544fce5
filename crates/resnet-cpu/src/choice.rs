//! Which kernels compute: what the machine has, or what the user asks for.

use std::fmt;
use std::str::FromStr;

use resnet_core::{Error, Result};

use crate::direct::Tiles;
use crate::kernels::Isa;
use crate::kernels::amx::{Amx, Found, Products};

/// The environment variable that [`CpuBackend::new`](crate::CpuBackend::new) looks at.
pub const KERNEL_VARIABLE: &str = "RESNET_CPU_KERNEL";

/// The kernels of the CPU backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// The fastest that has been run on hardware: Winograd's algorithm for 3 × 3 kernels where it pays, plain sums elsewhere.
    /// Tiles of AMX are not taken unasked, because they have been verified in an emulation only.
    #[default]
    Auto,
    /// As `Auto`, but where there are tiles of AMX f32 has two pieces and three products, whose error is some 16 times that of
    /// f32 and a hundredth of that of bf16.
    High,
    /// The fastest instructions, and plain sums of products.
    Strict,
    /// Tiles of AMX: f32 in three pieces of bf16 and six products. Where tiles do not serve, plain sums.
    Amx,
    /// The arithmetic of `Amx` in plain Rust, on any machine; slow, for tests.
    AmxEmulated,
    /// The arithmetic of `High` in plain Rust, likewise.
    HighEmulated,
    /// Own micro-kernels with AVX-512 and its products of bf16.
    Avx512Bf16,
    /// Own micro-kernels with AVX-512; bf16 is widened and multiplied in f32.
    Avx512,
    /// Own micro-kernels with AVX2 and FMA.
    Avx2,
    /// Own micro-kernels with NEON.
    Neon,
    /// Own micro-kernels in portable Rust.
    Portable,
    /// im2col and `matrixmultiply`: the baseline that the others are compared with.
    Im2col,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Kernel; 12] = [
        Kernel::Auto,
        Kernel::High,
        Kernel::Strict,
        Kernel::Amx,
        Kernel::AmxEmulated,
        Kernel::HighEmulated,
        Kernel::Avx512Bf16,
        Kernel::Avx512,
        Kernel::Avx2,
        Kernel::Neon,
        Kernel::Portable,
        Kernel::Im2col,
    ];

    /// The choice of the environment, `Auto` where there is none.
    pub(crate) fn from_env() -> Result<Self> {
        match std::env::var(KERNEL_VARIABLE) {
            Ok(name) => name.parse(),
            Err(_) => Ok(Kernel::Auto),
        }
    }

    /// The instructions it uses, if this machine has them.
    pub(crate) fn isa(self) -> Result<Isa> {
        let wanted = match self {
            Kernel::Auto
            | Kernel::High
            | Kernel::Strict
            | Kernel::Amx
            | Kernel::AmxEmulated
            | Kernel::HighEmulated
            | Kernel::Im2col => return Ok(Isa::detect()),
            Kernel::Avx512Bf16 => Isa::avx512_bf16(),
            Kernel::Avx512 => Isa::avx512(),
            Kernel::Avx2 => Isa::avx2(),
            Kernel::Neon => Isa::neon(),
            Kernel::Portable => Some(Isa::portable()),
        };
        wanted.ok_or_else(|| self.missing("on this machine"))
    }

    fn missing(self, why: &str) -> Error {
        Error::Unsupported { backend: crate::NAME, what: format!("{self} {why}") }
    }

    /// The tiles it uses, and whether this machine has some that cannot be trusted.
    pub(crate) fn tiles(self) -> Result<(Tiles, bool)> {
        let products = match self {
            Kernel::High | Kernel::HighEmulated => Products::Three,
            _ => Products::Six,
        };
        match self {
            Kernel::AmxEmulated | Kernel::HighEmulated => {
                let of = |products| Some(Amx::emulated(products));
                Ok((Tiles { f32: of(products), bf16: of(Products::One) }, false))
            }
            Kernel::High | Kernel::Amx => match (Amx::find(products), Amx::find(Products::One)) {
                (Found::Tiles(f32), Found::Tiles(bf16)) => {
                    Ok((Tiles { f32: Some(f32), bf16: Some(bf16) }, false))
                }
                (Found::Wrong, _) | (_, Found::Wrong) if self == Kernel::Amx => {
                    Err(self.missing("on this machine, whose tiles differ from their definition"))
                }
                _ if self == Kernel::Amx => Err(self.missing("on this machine")),
                (Found::Wrong, _) | (_, Found::Wrong) => Ok((Tiles::default(), true)),
                _ => Ok((Tiles::default(), false)),
            },
            _ => Ok((Tiles::default(), false)),
        }
    }

    /// Whether fast algorithms are used where tiles do not serve.
    pub(crate) fn winograd(self) -> bool {
        matches!(self, Kernel::Auto | Kernel::High)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kernel::Auto => "auto",
            Kernel::High => "high",
            Kernel::Amx => "amx",
            Kernel::AmxEmulated => "amx-emulated",
            Kernel::HighEmulated => "high-emulated",
            Kernel::Strict => "strict",
            Kernel::Avx512Bf16 => "avx512bf16",
            Kernel::Avx512 => "avx512",
            Kernel::Avx2 => "avx2",
            Kernel::Neon => "neon",
            Kernel::Portable => "portable",
            Kernel::Im2col => "im2col",
        })
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Kernel::ALL.into_iter().find(|k| k.to_string() == s).ok_or_else(|| {
            let all: Vec<String> = Kernel::ALL.iter().map(Kernel::to_string).collect();
            Error::invalid(KERNEL_VARIABLE, format!("`{s}` is none of {}", all.join(", ")))
        })
    }
}
