//! `ci`'s step for 64-bit ARM: the CPU backend is linted for it, and its tests run where QEMU can run them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::shell::{announce, cargo};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const QEMU: &str = "qemu-aarch64";

/// Where Debian's cross compiler keeps the C library.
const SYSROOT: &str = "/usr/aarch64-linux-gnu";

pub(crate) fn run() -> Result<()> {
    if !has_target()? {
        eprintln!("SKIPPED: no standard library for 64-bit ARM; `rustup target add {TARGET}` brings it");
        return Ok(());
    }
    announce(cargo().args(["clippy", "-p", "resnet-cpu", "--target", TARGET, "--", "-D", "warnings"]))?;
    if !(runs(LINKER) && runs(QEMU)) {
        eprintln!("SKIPPED: the tests on 64-bit ARM, which take {LINKER} and {QEMU}");
        return Ok(());
    }
    test(&["--lib"])?;
    test(&["--test", "conformance", "neon::"])?;
    test(&["--test", "conformance", "auto::"])
}

fn test(what: &[&str]) -> Result<()> {
    let variable = |name: &str| format!("CARGO_TARGET_{}_{name}", TARGET.to_uppercase().replace('-', "_"));
    let mut command = cargo();
    command.args(["test", "-p", "resnet-cpu", "--target", TARGET]).args(what);
    command.env(variable("LINKER"), LINKER).env(variable("RUNNER"), format!("{QEMU} -L {SYSROOT}"));
    announce(&mut command)
}

/// Whether the compiler has a standard library for it.
fn has_target() -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let printed = printed.context("rustc does not run")?.stdout;
    Ok(Path::new(String::from_utf8_lossy(&printed).trim()).is_dir())
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
