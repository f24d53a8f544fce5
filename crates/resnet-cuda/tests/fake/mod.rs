//! Libraries made to order, compiled by the compiler that compiles the tests.

use std::path::Path;
use std::process::Command;

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
