//! Compiling the kernels for the emulator: each unit with the shim in front, linked to one shared library, kept in the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use resnet_core::Result;
use sha2::{Digest, Sha256};

use super::failed;
use super::library::Code;
use crate::cache;
use crate::kernels::{HEADERS, UNITS};

const SHIM: &str = include_str!("../../../kernels/emulator/cuda.hpp");

/// Kernels are tested for what they compute, so a product and a sum stay two operations unless the source fuses them.
const FLAGS: [&str; 8] =
    ["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-pthread"];

/// The C++ compiler: `CXX`, or the first of the usual names on the path that answers.
pub fn compiler() -> Option<PathBuf> {
    let named = std::env::var_os("CXX").filter(|name| !name.is_empty()).map(PathBuf::from);
    let usual = ["c++", "g++", "clang++"].map(PathBuf::from);
    named.into_iter().chain(usual).find(|name| {
        let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    })
}

/// The compiled kernels, the same for the whole process.
pub(super) fn kernels() -> Result<&'static Code> {
    static CODE: OnceLock<std::result::Result<Code, String>> = OnceLock::new();
    let code = CODE.get_or_init(|| library().and_then(|path| Code::load(&path)).map_err(|error| error.to_string()));
    code.as_ref().map_err(failed)
}

/// The shared library's path, compiled if the cache has none of this content.
fn library() -> Result<PathBuf> {
    let compiler = compiler().ok_or_else(|| {
        failed("no C++ compiler was found (tried CXX, c++, g++, clang++); install one, for example the package g++")
    })?;
    let mut hash = Sha256::new();
    let texts = HEADERS.iter().map(|h| (h.name, h.source)).chain(UNITS.iter().map(|u| (u.name, u.source)));
    for (name, text) in texts.chain([("shim", SHIM)]).chain(FLAGS.map(|flag| (flag, ""))) {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update(compiler.as_os_str().as_encoded_bytes());
    let key: String = hash.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    cache::file("emulator", &format!("{key}.so"), |target| compile(&compiler, target))
}

/// Compiles every unit, as many at a time as there are processors, and links them.
fn compile(compiler: &Path, target: &Path) -> Result<()> {
    let folder = target.with_extension("build");
    let io = |error: std::io::Error| failed(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(io)?;
    for header in HEADERS {
        std::fs::write(folder.join(header.name), header.source).map_err(io)?;
    }
    let shim = folder.join("cuda.hpp");
    std::fs::write(&shim, SHIM).map_err(io)?;
    let at_a_time = std::thread::available_parallelism().map_or(1, usize::from);
    let mut objects = Vec::new();
    for units in UNITS.chunks(at_a_time) {
        let mut running = Vec::new();
        for unit in units {
            let source = folder.join(unit.name).with_extension("cpp");
            std::fs::write(&source, unit.source).map_err(io)?;
            let object = source.with_extension("o");
            let mut command = Command::new(compiler);
            command.args(FLAGS).arg("-include").arg(&shim).arg("-I").arg(&folder);
            command.arg("-c").arg(&source).arg("-o").arg(&object).stdout(Stdio::null()).stderr(Stdio::piped());
            running.push((unit.name, command.spawn().map_err(io)?));
            objects.push(object);
        }
        for (name, child) in running {
            said(name, child.wait_with_output().map_err(io)?)?;
        }
    }
    let linked = Command::new(compiler).args(FLAGS).arg("-shared").args(&objects).arg("-o").arg(target).output();
    said("linking", linked.map_err(io)?)?;
    std::fs::remove_dir_all(&folder).map_err(io)
}

fn said(what: &str, output: std::process::Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("{what}: the C++ compiler refused it:\n{}", String::from_utf8_lossy(&output.stderr))))
}
