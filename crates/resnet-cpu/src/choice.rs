//! Which kernels compute: what the machine has, or what the user asks for.

use std::fmt;
use std::str::FromStr;

use resnet_core::{Error, Result};

use crate::direct::Tiles;
use crate::kernels::Isa;
use crate::kernels::amx::{Amx, Found, Products, Role};

/// The environment variable that [`CpuBackend::new`](crate::CpuBackend::new) looks at.
pub const KERNEL_VARIABLE: &str = "RESNET_CPU_KERNEL";

/// The kernels of the CPU backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// The fastest: Winograd's algorithm for 3 × 3 kernels where it pays; elsewhere tiles of AMX, if a measurement at start
    /// finds them faster here, for what they are faster at; plain sums for the rest.
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
    /// What `Auto` is where there are tiles, in plain Rust, likewise; tiles are given more than `Auto` gives them.
    AutoEmulated,
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
    pub const ALL: [Kernel; 13] = [
        Kernel::Auto,
        Kernel::High,
        Kernel::Strict,
        Kernel::Amx,
        Kernel::AmxEmulated,
        Kernel::HighEmulated,
        Kernel::AutoEmulated,
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
            | Kernel::AutoEmulated
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

    /// The tiles it uses, and what to say if this machine has some that it does not use.
    pub(crate) fn tiles(self) -> Result<(Tiles, Option<&'static str>)> {
        let products = match self {
            Kernel::High | Kernel::HighEmulated => Products::Three,
            _ => Products::Six,
        };
        let (f32, bf16) = match self {
            Kernel::AmxEmulated | Kernel::HighEmulated => {
                let of = |products| Found::Tiles(Amx::emulated(products, Role::Asked));
                (of(products), of(Products::One))
            }
            Kernel::AutoEmulated => {
                let of = |products| Found::Tiles(Amx::emulated(products, Role::Chosen));
                (of(products), of(Products::One))
            }
            Kernel::High | Kernel::Amx => (Amx::find(products), Amx::find(Products::One)),
            Kernel::Auto => (Amx::find_faster(products), Amx::find_faster(Products::One)),
            _ => (Found::Nothing, Found::Nothing),
        };
        if self == Kernel::Amx && (f32.tiles().is_none() || bf16.tiles().is_none()) {
            let wrong = matches!(f32, Found::Wrong) || matches!(bf16, Found::Wrong);
            let why = if wrong { "whose tiles differ from their definition" } else { "which has no AMX" };
            return Err(self.missing(&format!("on this machine, {why}")));
        }
        // Tiles that are wrong for one type of elements are trusted with none.
        let remark = match (f32, bf16) {
            (Found::Wrong, _) | (_, Found::Wrong) => {
                return Ok((Tiles::default(), Some("AMX is not used: it failed its check")));
            }
            (Found::Slow, Found::Slow) => Some("AMX is not used: it is slower here"),
            (Found::Slow, _) => Some("AMX is not used for f32: it is slower here"),
            (_, Found::Slow) => Some("AMX is not used for bf16: it is slower here"),
            _ => None,
        };
        Ok((Tiles { f32: f32.tiles(), bf16: bf16.tiles() }, remark))
    }

    /// Whether fast algorithms are used where tiles do not serve.
    pub(crate) fn winograd(self) -> bool {
        matches!(self, Kernel::Auto | Kernel::High | Kernel::AutoEmulated)
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
            Kernel::AutoEmulated => "auto-emulated",
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
