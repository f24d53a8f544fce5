//! The kernel sources, compiled into the program as text.
//!
//! A unit is one `.cu` file: what is compiled at a time. Headers are found by their names, as NVRTC wants them.
//! How a kernel is written is said in `kernels/include/types.cuh`.

/// A source file that is compiled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The file's name, for messages.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name in `#include "…"`.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
}

macro_rules! files {
    ($type:ident, $folder:literal, [$($name:literal),* $(,)?]) => {
        [$($type { name: $name, source: include_str!(concat!("../kernels/", $folder, $name)) }),*]
    };
}

/// All headers.
pub const HEADERS: [Header; 4] =
    files!(Header, "include/", ["types.cuh", "source.cuh", "reduce.cuh", "columns.cuh"]);

/// All units.
pub const UNITS: [Unit; 1] = files!(Unit, "", ["combine.cu"]);
