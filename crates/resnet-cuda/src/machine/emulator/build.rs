//! Compiling kernels for the emulator: a unit with the shim in front becomes a shared library, kept in the cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use resnet_core::Result;

use super::failed;
use super::library::Code;
use crate::cache;
use crate::compile::Unit;

/// What stands in for CUDA; the first is included before every source.
const SHIMS: [(&str, &str); 2] = [
    ("emulator_cuda.hpp", include_str!("../../../kernels/emulator/cuda.hpp")),
    ("emulator_hopper.hpp", include_str!("../../../kernels/emulator/hopper.hpp")),
];

/// Kernels are tested for what they compute, so a product and a sum stay two operations unless the source fuses them.
const FLAGS: [&str; 8] = [
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-w",
    "-pthread",
];

/// The C++ compiler: `CXX`, or the first of the usual names on the path that answers. Asked once.
pub fn compiler() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let answers = |name: &PathBuf| {
        let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    let find = || {
        let named = std::env::var_os("CXX").filter(|name| !name.is_empty()).map(PathBuf::from);
        named.into_iter().chain(["c++", "g++", "clang++"].map(PathBuf::from)).find(answers)
    };
    FOUND.get_or_init(find).as_deref()
}

pub(super) fn wanted_compiler() -> Result<&'static Path> {
    compiler().ok_or_else(|| {
        failed("no C++ compiler was found (tried CXX, c++, g++, clang++); install one, for example the package g++")
    })
}

/// A compiled unit, the same for the whole process.
pub(super) fn kernels(unit: &Unit) -> Result<&'static Code> {
    /// One cell per content, so that units compile side by side and each of them once.
    type Cell = OnceLock<std::result::Result<Code, String>>;
    static KNOWN: Mutex<BTreeMap<String, &'static Cell>> = Mutex::new(BTreeMap::new());
    let compiler = wanted_compiler()?;
    let key = key(unit, compiler);
    let cell: &'static Cell = {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        // Compiled code stays loaded, so its cell may stay too.
        known.entry(key.clone()).or_insert_with(|| Box::leak(Box::default()))
    };
    let load = || Code::load(&library(compiler, unit, &key)?);
    cell.get_or_init(|| load().map_err(|error| error.to_string())).as_ref().map_err(failed)
}

/// The shared library of a unit, compiled if it is not in the cache. Each kernel is a function in it, see the shim's `KERNEL`.
///
/// # Errors
/// [`Error::Device`](resnet_core::Error::Device) if there is no C++ compiler or it refuses the unit, with what it said.
pub fn compiled(unit: &Unit) -> Result<PathBuf> {
    let compiler = wanted_compiler()?;
    library(compiler, unit, &key(unit, compiler))
}

fn library(compiler: &Path, unit: &Unit, key: &str) -> Result<PathBuf> {
    cache::file("emulator", &format!("{key}.so"), |target| compile(compiler, unit, target))
}

/// A name for everything that the result depends on.
fn key(unit: &Unit, compiler: &Path) -> String {
    let macros: Vec<String> = unit.macros.iter().map(|(name, value)| definition(name, value)).collect();
    let compiler = compiler.to_string_lossy();
    let shims = SHIMS.iter().flat_map(|(name, content)| [*name, *content]);
    let around = macros.iter().map(String::as_str).chain(shims).chain(FLAGS).chain([&*compiler]);
    cache::key(unit.texts().chain(around))
}

fn definition(name: &str, value: &str) -> String {
    format!("-D{name}={value}")
}

/// Compiles a unit to a shared library.
fn compile(compiler: &Path, unit: &Unit, target: &Path) -> Result<()> {
    let folder = target.with_extension("build");
    let io = |error: std::io::Error| failed(format!("{}: {error}", folder.display()));
    let put = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&folder)).map_err(io)?;
        std::fs::write(&path, text).map_err(io)?;
        Ok(path)
    };
    for (name, text) in SHIMS.iter().chain(unit.headers) {
        put(name, text)?;
    }
    let source = put(&format!("{}.cpp", unit.name), unit.text)?;
    let mut command = Command::new(compiler);
    command.args(FLAGS).args(unit.macros.iter().map(|(name, value)| definition(name, value)));
    command.arg("-include").arg(folder.join(SHIMS[0].0)).arg("-I").arg(&folder);
    command.arg("-shared").arg(&source).arg("-o").arg(target).stdout(Stdio::null());
    said(unit.name, command.output().map_err(io)?)?;
    std::fs::remove_dir_all(&folder).map_err(io)
}

fn said(what: &str, output: std::process::Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("{what}: the C++ compiler refused it:\n{}", String::from_utf8_lossy(&output.stderr))))
}
