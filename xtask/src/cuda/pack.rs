//! `gpu-check` and `gpu-pack`: the programs that the check runs, built into one folder; the check itself is `xtask/gpu`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{announce, cargo, read, root, run, target_dir};

/// Test programs of `resnet-cuda`, and the names that the check knows them by.
const TESTS: [(&str, &str); 3] =
    [("gpu", "gpu-tests"), ("tensor", "tensor-tests"), ("choice", "choice-tests")];

/// The check itself.
const CHECK: &str = "gpu-check";

/// Scripts of PyTorch's side, in benches/baseline.
const SCRIPTS: [&str; 2] = ["torch_gpu_step.py", "torch_step.py"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The archive
    #[arg(value_name = "FILE", default_value = "gpu-check.tar.gz")]
    file: PathBuf,
    /// Put NVIDIA's run-time compiler from `cargo xtask cuda-wheels` into it too, for machines that have none
    #[arg(long)]
    with_nvrtc: bool,
}

/// Builds everything and runs the check on this machine.
pub(crate) fn check(args: Vec<OsString>) -> Result<()> {
    let folder = build()?;
    let mut command = Command::new(folder.join(CHECK));
    command.args(args);
    run(super::wheels::lend(&mut command))
}

/// Builds everything and packs it.
pub(crate) fn pack(args: Args) -> Result<()> {
    let folder = build()?;
    let libraries = folder.join("nvidia");
    if libraries.exists() {
        fs::remove_dir_all(&libraries).with_context(|| format!("cannot remove {}", libraries.display()))?;
    }
    if args.with_nvrtc {
        let Some(installed) = super::wheels::installed() else {
            bail!("NVRTC is not here; `cargo xtask cuda-wheels` fetches it");
        };
        announce(Command::new("cp").arg("-r").arg(installed).arg(&libraries))?;
    }
    let (parent, name) = (folder.parent().unwrap_or(&folder), folder.file_name().unwrap_or_default());
    announce(Command::new("tar").arg("-czf").arg(&args.file).arg("-C").arg(parent).arg(name))?;
    let bytes = fs::metadata(&args.file).map_or(0, |file| file.len());
    println!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    if bytes > MOST_BYTES {
        println!("That is more than the 64 MiB that some machines take at a time.");
    }
    println!(
        "{} has everything but PyTorch. On the machine with the GPU:\n\
         \n    tar -xzf {}\n    {}/run --md results.md\n",
        args.file.display(),
        args.file.file_name().unwrap_or_default().to_string_lossy(),
        name.to_string_lossy()
    );
    Ok(())
}

/// What the folder is started with: libraries that were packed are found without being installed.
const RUN: &str = "#!/bin/sh\n\
    # The GPU check from its folder. Arguments are those of `cargo xtask gpu-check`.\n\
    here=$(cd \"$(dirname \"$0\")\" && pwd)\n\
    if [ -d \"$here/nvidia\" ]; then\n    \
    export RESNET_CUDA_LIBRARIES=\"${RESNET_CUDA_LIBRARIES:+$RESNET_CUDA_LIBRARIES:}$here/nvidia\"\nfi\n\
    exec \"$here/gpu-check\" \"$@\"\n";

/// The folder with all programs and scripts, made anew.
fn build() -> Result<PathBuf> {
    let folder = target_dir().join("gpu-check");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    announce(cargo().args(["build", "--release", "-p", "xtask-gpu", "--bin", CHECK]))?;
    copy(&target_dir().join("release").join(CHECK), &folder.join(CHECK))?;
    for (test, name) in TESTS {
        copy(&test_program(test)?, &folder.join(name))?;
    }
    // The set for the tutorial's run, where it is here; the check knows where sets lie.
    announce(Command::new(folder.join(CHECK)).arg("--carry").arg(folder.join("fashion-mnist")))?;
    for script in SCRIPTS {
        copy(&root().join("benches/baseline").join(script), &folder.join(script))?;
    }
    let version = read(Command::new("git").args(["describe", "--always", "--dirty"])).unwrap_or_default();
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))
    };
    write("VERSION", &format!("{} {version}\n", env!("CARGO_PKG_VERSION")))?;
    write("run", RUN)?;
    announce(Command::new("chmod").arg("+x").arg(folder.join("run")))?;
    Ok(folder)
}

/// Most bytes of an archive that the machines with a GPU take at a time.
const MOST_BYTES: u64 = 64 << 20;

/// Builds a test program of `resnet-cuda` and says where it is.
fn test_program(test: &str) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["test", "-p", "resnet-cuda", "--test", test, "--no-run", "--message-format=json"]);
    let messages = read(&mut command)?;
    let executable = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == test).then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executable.with_context(|| format!("cargo built the test {test} and did not say where"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // A program that runs cannot be written over, but its name can be given to another.
    let _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    if from.starts_with(target_dir()) {
        // What debuggers want is most of a program; where there is no `strip`, the archive is larger.
        let _ = Command::new("strip").arg(to).status();
    }
    Ok(())
}
