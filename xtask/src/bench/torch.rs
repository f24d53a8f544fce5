//! A Python that has PyTorch: the one the user names, or an environment made under the target folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell::{announce, root, target_dir};

/// Names a Python that has torch and torchvision.
const PYTHON: &str = "RESNET_TORCH_PYTHON";

/// The script that PyTorch's side runs.
pub(crate) fn script() -> PathBuf {
    root().join("benches/baseline/torch_step.py")
}

/// The Python to use, with PyTorch installed into it if it is ours.
pub(crate) fn python() -> Result<PathBuf> {
    if let Some(python) = std::env::var_os(PYTHON).map(PathBuf::from) {
        if !has_torch(&python) {
            bail!("{PYTHON} is {}, which cannot import torch and torchvision", python.display());
        }
        return Ok(python);
    }
    let environment = target_dir().join("torch-venv");
    let python = environment.join("bin/python");
    if !has_torch(&python) {
        eprintln!("PyTorch is installed into {}, once", environment.display());
        install(&environment, &python).with_context(|| {
            format!("cannot prepare PyTorch; {PYTHON} can name a Python that has torch and torchvision")
        })?;
    }
    Ok(python)
}

fn install(environment: &Path, python: &Path) -> Result<()> {
    announce(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
    let requirements = root().join("benches/baseline/requirements.txt");
    announce(Command::new(python).args(["-m", "pip", "install", "--requirement"]).arg(requirements))?;
    if !has_torch(python) {
        bail!("torch was installed and cannot be imported by {}", python.display());
    }
    Ok(())
}

fn has_torch(python: &Path) -> bool {
    let mut import = Command::new(python);
    import.args(["-c", "import torch, torchvision"]).stdout(Stdio::null()).stderr(Stdio::null());
    import.status().is_ok_and(|status| status.success())
}
