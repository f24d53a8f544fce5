//! Choosing a backend: the only file with a backend's `cfg(feature)`.
//!
//! Everything else is written once against the [`Backend`] trait, as a [`Job`]; [`dispatch`] makes the value it runs on.
//! Another backend is added here, in [`Choice`] and in one arm of [`dispatch`], and nowhere else.

use std::fmt;
use std::str::FromStr;

use resnet_core::{Backend, Error};

#[cfg(feature = "cpu")]
pub use resnet_cpu::CpuBackend;
#[cfg(feature = "cuda")]
pub use resnet_cuda::CudaBackend;

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The processor.
    Cpu {
        /// Threads to compute with; all that the machine offers if not said.
        threads: Option<usize>,
    },
    /// A CUDA device.
    Cuda {
        /// Its number, from 0.
        ordinal: usize,
    },
}

/// The name of a backend, without its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The processor.
    Cpu,
    /// A CUDA device.
    Cuda,
}

impl Kind {
    /// All of them, compiled in or not.
    pub const ALL: [Kind; 2] = [Kind::Cpu, Kind::Cuda];

    /// Its name, which is also the name of the Cargo feature that brings it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cpu => "cpu",
            Kind::Cuda => "cuda",
        }
    }

    /// Whether this build has it.
    pub fn is_built_in(self) -> bool {
        match self {
            Kind::Cpu => cfg!(feature = "cpu"),
            Kind::Cuda => cfg!(feature = "cuda"),
        }
    }
}

/// The first one this build has.
impl Default for Kind {
    fn default() -> Self {
        Kind::ALL.into_iter().find(|k| k.is_built_in()).unwrap_or(Kind::Cpu)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        Kind::ALL
            .into_iter()
            .find(|k| k.name() == s)
            .ok_or_else(|| Error::invalid("backend", format!("`{s}` is none of cpu, cuda")))
    }
}

/// The environment variable that chooses the processor's kernels, and the words it takes; nothing where this build has no such
/// backend.
pub fn cpu_kernels() -> Option<(&'static str, Vec<String>)> {
    #[cfg(feature = "cpu")]
    let kernels = Some((
        resnet_cpu::KERNEL_VARIABLE,
        resnet_cpu::Kernel::ALL.iter().map(resnet_cpu::Kernel::to_string).collect(),
    ));
    #[cfg(not(feature = "cpu"))]
    let kernels = None;
    kernels
}

/// Work that any backend can do. A closure cannot be generic; this is one that is.
pub trait Job {
    /// What it answers.
    type Output;
    /// How it fails. A backend that cannot be had is an [`Error`] too.
    type Error: From<Error>;

    /// Does the work.
    ///
    /// # Errors
    /// Whatever the work refuses.
    fn run<B: Backend>(self, backend: B) -> Result<Self::Output, Self::Error>;
}

/// Runs `job` on the chosen backend, or explains how to build a command that has it.
///
/// # Errors
/// [`Error::Device`] if the backend is not compiled in or its device is not there; whatever the job refuses.
#[cfg_attr(not(any(feature = "cpu", feature = "cuda")), allow(unused_variables))]
pub fn dispatch<J: Job>(choice: Choice, job: J) -> Result<J::Output, J::Error> {
    match choice {
        #[cfg(feature = "cpu")]
        Choice::Cpu { threads } => job.run(CpuBackend::new(threads)?),
        #[cfg(feature = "cuda")]
        Choice::Cuda { ordinal } => job.run(CudaBackend::new(ordinal)?),
        #[allow(unreachable_patterns)] // reachable as soon as a feature is off
        other => Err(not_built_in(other.kind()).into()),
    }
}

impl Choice {
    /// Which backend this is.
    pub fn kind(self) -> Kind {
        match self {
            Choice::Cpu { .. } => Kind::Cpu,
            Choice::Cuda { .. } => Kind::Cuda,
        }
    }
}

#[allow(dead_code)] // dead where every feature is on
fn not_built_in(kind: Kind) -> Error {
    Error::Device {
        backend: kind.name(),
        action: format!(
            "this build has no {kind} backend; `cargo xtask train --backend {kind}` builds one that has, and so does \
             `cargo build --release -p resnet --no-default-features --features {kind}`"
        ),
    }
}
