//! PyTorch's steps, by `torch_gpu_step.py`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Target;
use crate::programs::{Clock, Programs, run};
use crate::timing::Case;

/// PyTorch's ways, the cheapest to try first.
const WAYS: [(&str, &str); 5] = [
    ("eager", "eager, channels-last"),
    ("graph", "eager, channels-last, CUDA graph"),
    ("default", "torch.compile"),
    ("reduce-overhead", "torch.compile, reduce-overhead"),
    ("max-autotune", "torch.compile, max-autotune"),
];

/// Longest for one way; compilation takes most of it.
const LIMIT: Duration = Duration::from_secs(75);

/// `RESNET_TORCH_PYTHON`, or python3.
pub(crate) fn usual_python() -> PathBuf {
    std::env::var_os("RESNET_TORCH_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// Seconds per step in each way, or why there are none.
pub(crate) fn all(
    target: Target,
    case: &Case,
    programs: &Programs,
    python: &Path,
    clock: &Clock,
) -> Vec<(&'static str, Result<f64, String>)> {
    // Without a device there is nothing to capture, and compiling says nothing.
    let ways = if target == Target::Emulator { &WAYS[..1] } else { &WAYS[..] };
    let time = |way: &str| -> Result<f64> {
        let limit = clock.left().min(LIMIT);
        if limit < Duration::from_secs(5) {
            bail!("not run: the time was over");
        }
        one(target, case, way, programs, python, limit)
    };
    ways.iter().map(|&(way, name)| (name, time(way).map_err(|error| format!("{error:#}")))).collect()
}

fn one(
    target: Target,
    case: &Case,
    way: &str,
    programs: &Programs,
    python: &Path,
    limit: Duration,
) -> Result<f64> {
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
    command.args(["--precision", if case.bf16 { "bf16" } else { "f32" }]);
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
