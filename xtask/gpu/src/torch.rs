//! PyTorch's steps, by `torch_gpu_step.py`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Target;
use crate::cases::Case;
use crate::programs::{Clock, Programs, run};

/// One of PyTorch's ways, for people.
pub(crate) fn name(way: &str) -> String {
    match way {
        "eager" => "eager, channels-last".into(),
        "graph" => "eager, channels-last, CUDA graph".into(),
        "default" => "torch.compile".into(),
        mode => format!("torch.compile, {mode}"),
    }
}

/// Longest for one way; compilation takes most of it.
const LIMIT: Duration = Duration::from_secs(75);

/// `RESNET_TORCH_PYTHON`, or python3.
pub(crate) fn usual_python() -> PathBuf {
    std::env::var_os("RESNET_TORCH_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// Seconds per step in one way.
pub(crate) fn one(
    target: Target,
    case: &Case,
    way: &str,
    programs: &Programs,
    python: &Path,
    clock: &Clock,
) -> Result<f64> {
    let limit = clock.left().min(LIMIT);
    if limit < Duration::from_secs(5) {
        bail!("not run: the time was over");
    }
    let mut command = Command::new(python);
    command.arg(programs.file("torch_gpu_step.py")?).args(["--way", way, "--arch", case.arch]);
    let numbers = [
        ("--channels", case.channels),
        ("--size", case.size),
        ("--classes", case.classes),
        ("--batch", case.batch),
    ];
    for (name, value) in numbers {
        command.arg(name).arg(value.to_string());
    }
    command.args(["--precision", case.precision.name()]);
    if case.infer {
        command.arg("--infer");
    }
    match target {
        Target::Device(ordinal) => {
            command.args(["--device", "cuda"]).env("CUDA_VISIBLE_DEVICES", ordinal.to_string());
        }
        Target::Emulator => {
            command.args(["--device", "cpu"]);
        }
    }
    let output = run(&mut command, limit)?;
    if !output.success {
        bail!("failed: {}", output.tail(1));
    }
    let line = output.stdout.lines().last().unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(line).context("printed no JSON")?;
    json["seconds_per_step"].as_f64().context("printed no time")
}
