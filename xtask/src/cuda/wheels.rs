//! `cuda-wheels`: NVIDIA's compiler (and cuDNN) from their Python wheels, for tests on machines without CUDA.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{announce, root, target_dir};

/// Names the folders with NVIDIA's libraries; the CUDA backend reads it.
pub(crate) const LIBRARIES: &str = "RESNET_CUDA_LIBRARIES";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also fetch cuDNN and cuBLAS, 790 MB
    #[arg(long)]
    cudnn: bool,
}

/// Installs the wheels into an environment below the target folder and prints the folder with the libraries.
pub(crate) fn run(args: Args) -> Result<()> {
    let environment = environment();
    let python = environment.join("bin/python");
    if !python.is_file() {
        announce(Command::new("python3").args(["-m", "venv"]).arg(&environment).stdout(std::io::stderr()))
            .context("cannot make a Python environment; it takes python3 with venv")?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).stdout(std::io::stderr());
    let crate_folder = root().join("crates/resnet-cuda");
    pip.arg("--requirement").arg(crate_folder.join("requirements.txt"));
    if args.cudnn {
        pip.arg("--requirement").arg(crate_folder.join("requirements-cudnn.txt"));
    }
    announce(&mut pip)?;
    let Some(folder) = installed() else {
        bail!("the wheels were installed and have no folder `nvidia` below {}", environment.display());
    };
    println!("{}", folder.display());
    Ok(())
}

fn environment() -> PathBuf {
    target_dir().join("cuda-venv")
}

/// The `nvidia` folder of what this task has installed, if it has.
pub(crate) fn installed() -> Option<PathBuf> {
    let pythons = std::fs::read_dir(environment().join("lib")).ok()?;
    let folders = pythons.flatten().map(|python| python.path().join("site-packages/nvidia"));
    folders.into_iter().find(|folder| folder.is_dir())
}

/// Lets a command find what was installed, unless it is told where to look.
pub(crate) fn lend(command: &mut Command) -> &mut Command {
    match installed() {
        Some(folder) if std::env::var_os(LIBRARIES).is_none() => command.env(LIBRARIES, folder),
        _ => command,
    }
}
