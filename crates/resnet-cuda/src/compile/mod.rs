//! Kernels from source to machine code, on first use and for the device at hand.
//!
//! A [`Unit`] is one `.cu` file with its headers and macros, all embedded in the program.
//! The [`Compiler`] turns it into a cubin through NVRTC; the [`Cache`] on disk remembers it by its content.
//! No device and no driver are needed to compile, so tests compile every kernel for every architecture.
//!
//! - [`arch`]: which instruction set is compiled for.
//! - [`options`]: what the compiler is told, and why.
//! - `nvrtc`: the foreign calls.
//! - [`cache`]: machine code by the hash of everything it depends on.
//! - [`mod@usage`]: registers, spills and shared memory, read from the assembler's log.
//! - [`error`]: what can go wrong.

pub mod arch;
pub mod cache;
pub mod error;
pub(crate) mod nvrtc;
pub mod options;
pub mod usage;

pub use arch::Arch;
pub use cache::Cache;
pub use error::CompileError;
pub use usage::{Usage, usage};

use crate::probe::DriverVersion;
use crate::search::Search;
use nvrtc::Nvrtc;

/// One translation unit: a `.cu` file, the headers it may include, and its macros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The file's name below `kernels/`, which is what errors of the compiler name.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
    /// Name as in `#include "name"`, and text, of every header it may include.
    pub headers: &'static [(&'static str, &'static str)],
    /// Macros: name and value. They choose one kernel of a family, so that only what is used is compiled.
    pub macros: Vec<(&'static str, String)>,
}

impl Unit {
    /// Its name and text, and those of its headers.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().flat_map(|(name, text)| [*name, *text]);
        [self.name, self.text].into_iter().chain(headers)
    }
}

/// Machine code for one architecture, and what the compiler said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    /// An ELF file that the driver loads.
    pub code: Vec<u8>,
    /// Warnings, and what the assembler says about every kernel; see [`mod@usage`].
    pub log: String,
}

/// NVRTC with a cache before it.
#[derive(Debug)]
pub struct Compiler {
    nvrtc: Nvrtc,
    cache: Option<Cache>,
}

impl Compiler {
    /// Loads NVRTC from where it is found. Without a cache everything is compiled anew.
    ///
    /// # Errors
    /// [`CompileError::Unavailable`] where NVRTC is missing or too old.
    pub fn open(search: &Search, cache: Option<Cache>) -> Result<Self, CompileError> {
        Ok(Self { nvrtc: Nvrtc::load(search)?, cache })
    }

    /// NVRTC's version.
    pub fn version(&self) -> DriverVersion {
        self.nvrtc.version()
    }

    /// Whether this compiler knows the architecture.
    pub fn knows(&self, arch: Arch) -> bool {
        self.nvrtc.architectures().contains(&arch.sm())
    }

    /// Machine code, from the cache where it is there.
    ///
    /// # Errors
    /// [`CompileError::Rejected`] with the compiler's log, [`CompileError::UnknownArch`].
    /// A cache that cannot be read or written costs time and is no error.
    pub fn cubin(&self, unit: &Unit, arch: Arch) -> Result<Cubin, CompileError> {
        let options = options::options(unit, arch);
        let key = cache::key(unit, &options, self.version());
        if let Some(found) = self.cache.as_ref().and_then(|cache| cache.get(&key)) {
            return Ok(found);
        }
        let cubin = self.compile(unit, arch, &options)?.cubin()?;
        if let Some(cache) = &self.cache {
            cache.put(&key, &cubin);
        }
        Ok(cubin)
    }

    /// The virtual assembly, for tests that look for instructions.
    ///
    /// # Errors
    /// As [`Compiler::cubin`].
    pub fn ptx(&self, unit: &Unit, arch: Arch) -> Result<String, CompileError> {
        self.compile(unit, arch, &options::options(unit, arch))?.ptx()
    }

    fn compile(
        &self,
        unit: &Unit,
        arch: Arch,
        options: &[String],
    ) -> Result<nvrtc::Program<'_>, CompileError> {
        if !self.knows(arch) {
            return Err(CompileError::UnknownArch { arch, version: self.version() });
        }
        self.nvrtc.compile(unit, arch, options)
    }
}
