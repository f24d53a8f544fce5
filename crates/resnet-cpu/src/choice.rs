//! Which kernels compute: what the machine has, or what the user asks for.

use std::fmt;
use std::str::FromStr;

use resnet_core::{Error, Result};

use crate::kernels::Isa;

/// The environment variable that [`CpuBackend::new`](crate::CpuBackend::new) looks at.
pub const KERNEL_VARIABLE: &str = "RESNET_CPU_KERNEL";

/// The kernels of the CPU backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// The fastest that this machine has, with Winograd's algorithm for 3 × 3 kernels where it pays.
    #[default]
    Auto,
    /// The fastest instructions, and plain sums of products.
    Strict,
    /// Own micro-kernels with AVX-512 and its products of bf16.
    Avx512Bf16,
    /// Own micro-kernels with AVX-512; bf16 is widened and multiplied in f32.
    Avx512,
    /// Own micro-kernels with AVX2 and FMA.
    Avx2,
    /// Own micro-kernels in portable Rust.
    Portable,
    /// im2col and `matrixmultiply`: the baseline that the others are compared with.
    Im2col,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Kernel; 7] = [
        Kernel::Auto,
        Kernel::Strict,
        Kernel::Avx512Bf16,
        Kernel::Avx512,
        Kernel::Avx2,
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
            Kernel::Auto | Kernel::Strict | Kernel::Im2col => return Ok(Isa::detect()),
            Kernel::Avx512Bf16 => Isa::avx512_bf16(),
            Kernel::Avx512 => Isa::avx512(),
            Kernel::Avx2 => Isa::avx2(),
            Kernel::Portable => Some(Isa::portable()),
        };
        wanted.ok_or_else(|| Error::Unsupported {
            backend: crate::NAME,
            what: format!("{self} on this machine"),
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kernel::Auto => "auto",
            Kernel::Strict => "strict",
            Kernel::Avx512Bf16 => "avx512bf16",
            Kernel::Avx512 => "avx512",
            Kernel::Avx2 => "avx2",
            Kernel::Portable => "portable",
            Kernel::Im2col => "im2col",
        })
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Kernel::ALL.into_iter().find(|k| k.to_string() == s).ok_or_else(|| {
            Error::invalid(
                KERNEL_VARIABLE,
                format!("`{s}` is none of auto, strict, avx512bf16, avx512, avx2, portable, im2col"),
            )
        })
    }
}
