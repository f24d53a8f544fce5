//! Libraries made to order, compiled by the compiler that compiles the tests.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::Path;
use std::process::Command;

use resnet_cuda::compile::Unit;
use resnet_cuda::kernels;
use resnet_cuda::machine::emulator::compiled;

/// Compiles a source of this folder to a shared library.
pub(crate) fn rustc(source: &str, library: &Path, set: impl FnOnce(&mut Command)) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake").join(source);
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args([
        "--edition=2024",
        "--crate-type=cdylib",
        "-Cpanic=abort",
        "-Adead_code",
        "-Anon_snake_case",
    ]);
    command.arg(source).arg("-o").arg(library);
    set(&mut command);
    let output = command.output().expect("rustc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Puts a driver with one device, a compiler for it and its kernels into a folder. Units with macros are compiled where they are named.
pub(crate) fn device(folder: &Path, units: &[Unit]) {
    for unit in kernels::UNITS.iter().chain(units) {
        let named = unit.macros.iter().find(|(name, _)| *name == "KERNEL_NAME");
        let name = named.map_or(unit.name, |(_, name)| name);
        let to = folder.join(format!("{name}.so"));
        std::fs::create_dir_all(to.parent().expect("has a folder")).expect("made");
        std::fs::copy(compiled(unit).expect("compiles"), to).expect("copied");
    }
    library("gpu.rs", "libcuda.so.1", folder);
    library("compiler.rs", "libnvrtc.so.13", folder);
}

/// Compiles a source to a library that is found by its name once it is loaded.
pub(crate) fn library(source: &str, name: &str, folder: &Path) {
    rustc(source, &folder.join(name), |command| {
        command.arg(format!("-Clink-arg=-Wl,-soname,{name}")).env("FAKE_KERNELS", folder);
    });
}

/// What the driver of `gpu.rs` tells and is told beside the functions of a driver.
#[allow(dead_code, reason = "each test takes what it needs")]
pub(crate) struct Driver(libloading::Library);

#[allow(dead_code, reason = "each test takes what it needs")]
impl Driver {
    /// The library that the process has loaded already.
    pub(crate) fn open(path: &Path) -> Self {
        // SAFETY: the library of `gpu.rs`, which runs nothing when it is loaded.
        Self(unsafe { libloading::Library::new(path) }.expect("is there"))
    }

    /// Does all that was issued, forgets the log, and has one stream do its work as early as it may; 0: none.
    pub(crate) fn hurry(&self, stream: usize) {
        // SAFETY: of this type in `gpu.rs`.
        unsafe { self.0.get::<extern "C" fn(usize)>(b"fakeHurry").expect("is there")(stream) }
    }

    /// What was done since.
    pub(crate) fn log(&self) -> String {
        let mut text = vec![0u8; 1 << 20];
        // SAFETY: of this type in `gpu.rs`, with as much room as is said.
        unsafe {
            self.0.get::<unsafe extern "C" fn(*mut u8, usize)>(b"fakeLog").expect("is there")(
                text.as_mut_ptr(),
                text.len(),
            )
        };
        text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(0));
        String::from_utf8(text).expect("is text")
    }
}
