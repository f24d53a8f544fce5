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

/// Fashion-MNIST, in the folder.
const DATA: &str = "fashion-mnist";

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
    /// Pack without Fashion-MNIST; the tutorial's run is then left out
    #[arg(long)]
    without_data: bool,
}

/// Builds everything and runs the check on this machine.
pub(crate) fn check(args: Vec<OsString>) -> Result<()> {
    let folder = build()?;
    if let Err(error) = carry(&folder) {
        eprintln!("the tutorial's run will fail: {error:#}");
    }
    let mut command = Command::new(folder.join(CHECK));
    command.args(args);
    run(super::wheels::lend(&mut command))
}

/// Builds everything and packs it.
pub(crate) fn pack(args: Args) -> Result<()> {
    if args.with_nvrtc && super::wheels::installed().is_none() {
        bail!("NVRTC is not here; `cargo xtask cuda-wheels` fetches it");
    }
    let folder = build()?;
    if args.without_data {
        let _ = fs::remove_dir_all(folder.join(DATA)); // of an earlier call, if there was one
    } else {
        carry(&folder).context(
            "the archive would lack the set; `cargo xtask data fashion-mnist` fetches it, `--without-data` packs without",
        )?;
    }
    let libraries = folder.join("nvidia");
    if libraries.exists() {
        fs::remove_dir_all(&libraries).with_context(|| format!("cannot remove {}", libraries.display()))?;
    }
    if let Some(installed) = super::wheels::installed().filter(|_| args.with_nvrtc) {
        announce(Command::new("cp").arg("-r").arg(installed).arg(&libraries))?;
    }
    let (parent, name) = (folder.parent().unwrap_or(&folder), folder.file_name().unwrap_or_default());
    announce(Command::new("tar").arg("-czf").arg(&args.file).arg("-C").arg(parent).arg(name))?;
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .with_context(|| format!("cannot list {}", folder.display()))?;
    files.sort();
    for file in &files {
        println!(
            "{:>10}  {}",
            mebibytes(bytes_of(file)),
            file.file_name().unwrap_or_default().to_string_lossy()
        );
    }
    let packed = bytes_of(&args.file);
    println!("{:>10}  {}, packed", mebibytes(packed), args.file.display());
    if packed > MOST_BYTES {
        println!("That is more than the 64 MiB that some machines take at a time.");
    }
    let nvrtc = if args.with_nvrtc { "in the archive" } else { "from PyTorch's wheels or a CUDA toolkit" };
    println!(
        "\nBeside it, the machine with the GPU needs:\n\
         - Linux on {} with {};\n\
         - NVIDIA's driver for CUDA 12.0 or newer;\n\
         - NVRTC 12 or 13: {nvrtc};\n\
         - for a comparison: a Python with torch and torchvision, which RESNET_TORCH_PYTHON names; cuDNN comes with it.\n\
         \n    tar -xzf {}\n    {}/run --md results.md",
        std::env::consts::ARCH,
        c_library(&folder.join(CHECK))?,
        args.file.file_name().unwrap_or_default().to_string_lossy(),
        name.to_string_lossy()
    );
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Bytes of a file, or of everything in a folder; 0 of what cannot be read, because this is only printed.
fn bytes_of(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| bytes_of(&entry.path())).sum(),
        Err(_) => fs::metadata(path).map_or(0, |file| file.len()),
    }
}

/// The C library that a program asks for: the newest of the versions that stand in it as `GLIBC_2.34`.
fn c_library(program: &Path) -> Result<String> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    const NAME: &[u8] = b"GLIBC_2.";
    let versions =
        bytes.windows(NAME.len() + 3).filter(|window| window.starts_with(NAME)).filter_map(|window| {
            let digits: String = window[NAME.len()..]
                .iter()
                .map(|&b| char::from(b))
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse::<u32>().ok()
        });
    Ok(versions.max().map_or_else(|| "any C library".to_owned(), |minor| format!("glibc 2.{minor} or newer")))
}

/// What the folder is started with: libraries that were packed are found without being installed, and those of PyTorch's Python.
const RUN: &str = "#!/bin/sh\n\
    # The GPU check from its folder. Arguments are those of `cargo xtask gpu-check`.\n\
    here=$(cd \"$(dirname \"$0\")\" && pwd)\n\
    if [ -d \"$here/nvidia\" ]; then\n    \
    export RESNET_CUDA_LIBRARIES=\"${RESNET_CUDA_LIBRARIES:+$RESNET_CUDA_LIBRARIES:}$here/nvidia\"\nfi\n\
    wheels=$(\"${RESNET_TORCH_PYTHON:-python3}\" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null)\n\
    if [ -n \"$wheels\" ]; then\n    \
    export RESNET_CUDA_LIBRARIES=\"${RESNET_CUDA_LIBRARIES:+$RESNET_CUDA_LIBRARIES:}$wheels\"\nfi\n\
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

/// The set for the tutorial's run goes into the folder; the check knows where sets lie.
fn carry(folder: &Path) -> Result<()> {
    announce(Command::new(folder.join(CHECK)).arg("--carry").arg(folder.join(DATA)))
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
