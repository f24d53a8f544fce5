//! `accuracy`: whether every way to compute trains to the same accuracy, over several seeds.
//!
//! `resnet compare` does each way's runs, in a folder of its own, and goes on where it was stopped. This puts them side by side.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::busy::Busy;
use super::{contenders, machine};
use crate::shell::{announce, read};

/// Chooses the CPU's kernels.
const KERNEL: &str = "RESNET_CPU_KERNEL";

/// A way to compute: its name, its kernels, and the precision of activations.
struct Way {
    name: &'static str,
    kernel: &'static str,
    precision: &'static str,
}

const WAYS: [Way; 4] = [
    Way { name: "f32", kernel: "auto", precision: "f32" },
    Way { name: "f32, strict", kernel: "strict", precision: "f32" },
    Way { name: "f32, high", kernel: "high", precision: "f32" },
    Way { name: "bf16", kernel: "auto", precision: "bf16" },
];

/// Takes minutes to hours; stopped and started again, it goes on where it was.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A shipped recipe, or the path of one
    #[arg(default_value = "fashion-mnist-28")]
    recipe: String,
    /// The network
    #[arg(long, default_value = "resnet18")]
    arch: String,
    /// Runs of each way, with seeds that follow each other
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Passes over the training pictures, instead of the recipe's
    #[arg(long)]
    epochs: Option<u64>,
    /// Folder of the runs, to go on in
    #[arg(long, default_value = "target/accuracy")]
    out: PathBuf,
    /// Write the table to this Markdown file, with the command, the hardware and the versions
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
}

/// What `resnet compare` leaves, as far as it is read here.
#[derive(Deserialize)]
struct Comparison {
    device: String,
    networks: Vec<Network>,
}

#[derive(Deserialize)]
struct Network {
    runs: Vec<Trial>,
}

#[derive(Clone, Copy, Deserialize)]
struct Trial {
    seed: u64,
    test_accuracy: Option<f64>,
    test_loss: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let program = contenders::build("cpu")?;
    let mut busy = Busy::default();
    busy.sample();
    let mut text = head(args);
    let plain = device(&program, WAYS[0].kernel)?;
    for way in &WAYS {
        // Without tiles of AMX, `high` is what `auto` is.
        if way.kernel != WAYS[0].kernel && device(&program, way.kernel)? == plain {
            text += &format!(
                "| {} | the same as f32 on this machine, which has no tiles of AMX | | |\n",
                way.name
            );
            continue;
        }
        text += &row(way.name, &compare(args, way, &program)?)?;
    }
    text += &machine::foot(&busy, None)?;
    println!("{text}");
    if let Some(path) = &args.md {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written to {}", path.display());
    }
    Ok(())
}

fn head(args: &Args) -> String {
    let epochs = args.epochs.map(|n| format!(", {n} epochs")).unwrap_or_default();
    format!(
        "Recipe {}, {}{epochs}, {} seeds: test accuracy after the last epoch, the same weights and order of pictures for every row.\n\n\
         | computed in | test accuracy, mean ± standard deviation | by seed | test loss |\n|---|--:|--:|--:|\n",
        args.recipe, args.arch, args.seeds
    )
}

/// What the backend says of itself with these kernels.
fn device(program: &Path, kernel: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Measured {
        device: String,
    }
    let mut command = Command::new(program);
    command.env(KERNEL, kernel).args(["bench", "--json", "--backend", "cpu", "--arch", "resnet8-cifar"]);
    command.args(["--channels", "1", "--size", "8", "--batch", "1", "--steps", "1", "--infer"]);
    let text = read(&mut command)?;
    Ok(serde_json::from_str::<Measured>(&text).with_context(|| format!("in {text:?}"))?.device)
}

/// The runs of one way, those that are missing trained now.
fn compare(args: &Args, way: &Way, program: &Path) -> Result<Comparison> {
    let folder = args.out.join(way.name.replace(", ", "-"));
    let mut command = Command::new(program);
    command.env(KERNEL, way.kernel).args(["compare", &args.recipe, "--backend", "cpu", "--arch", &args.arch]);
    command.args(["--seeds", &args.seeds.to_string(), "--precision", way.precision, "--out"]).arg(&folder);
    command.args(args.epochs.iter().flat_map(|n| ["--epochs".to_owned(), n.to_string()]));
    announce(&mut command)?;
    let path = folder.join("compare.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn row(name: &str, found: &Comparison) -> Result<String> {
    let [Network { runs }] = found.networks.as_slice() else { bail!("{name}: one network wanted") };
    let column = |value: fn(&Trial) -> Option<f64>| -> Result<Vec<f64>> {
        let values: Option<Vec<f64>> = runs.iter().map(value).collect();
        values.with_context(|| format!("{name}: a run was not evaluated"))
    };
    let (accuracy, loss) = (column(|run| run.test_accuracy)?, column(|run| run.test_loss)?);
    let mut by_seed = String::new();
    for (Trial { seed, .. }, accuracy) in runs.iter().zip(&accuracy) {
        let comma = if by_seed.is_empty() { "" } else { ", " };
        // Writing into a `String` cannot fail.
        let _ = write!(by_seed, "{comma}{seed}: {accuracy:.4}");
    }
    Ok(format!(
        "| {name} ({}) | {} | {by_seed} | {} |\n",
        found.device,
        mean_and_spread(&accuracy),
        mean_and_spread(&loss)
    ))
}

fn mean_and_spread(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return format!("{mean:.4}");
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    format!("{mean:.4} ± {:.4}", variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_what_compare_leaves() {
        let json = r#"{"command": "x", "data": "y", "device": "a CPU", "networks": [{"name": "resnet18", "runs": [
            {"seed": 0, "test_accuracy": 0.91, "test_loss": 0.3, "parameters": 1},
            {"seed": 1, "test_accuracy": 0.92, "test_loss": 0.2, "parameters": 1}]}]}"#;
        let mut found: Comparison = serde_json::from_str(json).expect("read");
        let wanted = "| bf16 (a CPU) | 0.9150 ± 0.0071 | 0: 0.9100, 1: 0.9200 | 0.2500 ± 0.0707 |\n";
        assert_eq!(row("bf16", &found).expect("a row"), wanted);
        found.networks[0].runs[1].test_accuracy = None;
        assert!(row("bf16", &found).is_err());
    }
}
