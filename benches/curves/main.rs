//! `cargo xtask curves`: whole training runs laid over PyTorch's, from the same weights on the same batches.
//!
//! For every seed a recipe is trained here, and what it was fed is written down: the weights at the start, every batch
//! after augmentation, the learning rate of every step. `baseline/torch_curve.py` then trains on exactly that.
//! What comes out is a table of test accuracies and a picture of the losses.
//!
//! - `main.rs`: the arguments and the order of the work.
//! - `ours.rs`: the run on this project's side, and what it hands over.
//! - `report.rs`: the table and the picture.
#![forbid(unsafe_code)]

mod ours;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;
use resnet_cpu::CpuBackend;
use resnet_train::recipe::Recipe;
use serde::Deserialize;

/// Train a recipe here and in PyTorch, from the same weights on the same batches, and lay the losses over each other.
///
/// Writes curves.svg and curves.md. The batches of one seed are kept in a temporary folder while it is trained:
/// all pictures times the epochs, as bytes.
#[derive(Parser)]
#[command(name = "cargo xtask curves", bin_name = "cargo xtask curves")]
struct Args {
    /// A shipped recipe, or the path of one
    #[arg(default_value = "fashion-mnist-28")]
    recipe: String,
    /// Runs, each with a seed of its own, from 0
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Passes over the training pictures, instead of the recipe's
    #[arg(long)]
    epochs: Option<u64>,
    /// Ends each run after this many steps
    #[arg(long)]
    max_steps: Option<u64>,
    /// Threads of both programs; as many as the machine has where it is not given
    #[arg(long)]
    threads: Option<usize>,
    /// Folder for curves.svg and curves.md
    #[arg(long, default_value = "target/curves")]
    out: PathBuf,
    /// A Python that has torch and torchvision
    #[arg(long)]
    python: PathBuf,
    /// PyTorch's side
    #[arg(long, default_value = "benches/baseline/torch_curve.py")]
    script: PathBuf,
}

/// One run, on either side.
#[derive(Clone, Debug, Deserialize)]
struct Run {
    /// Loss of every step.
    losses: Vec<f64>,
    /// Share of the test pictures that are classified right after the last step.
    accuracy: f64,
    /// Seconds of training, without the evaluation.
    seconds: f64,
    /// What trained it.
    by: String,
}

/// A seed and what became of it on both sides.
struct Pair {
    seed: u64,
    ours: Run,
    torch: Run,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut recipe = Recipe::load(&args.recipe)?;
    recipe.train.epochs = args.epochs.unwrap_or(recipe.train.epochs);
    recipe.train.max_steps = args.max_steps.or(recipe.train.max_steps);
    ours::refuse_what_torch_is_not_told(&recipe)?;
    let threads = args.threads.map_or_else(|| std::thread::available_parallelism().map(usize::from), Ok)?;
    let mut pairs = Vec::new();
    for seed in 0..args.seeds {
        recipe.train.seed = seed;
        let folder = tempfile::tempdir().context("no temporary folder for the batches")?;
        let ours = ours::train(CpuBackend::new(args.threads)?, &recipe, folder.path())?;
        eprintln!("seed {seed}: here {:.4} in {:.1} s", ours.accuracy, ours.seconds);
        let torch = torch(&args, folder.path(), threads)?;
        eprintln!("seed {seed}: PyTorch {:.4} in {:.1} s", torch.accuracy, torch.seconds);
        pairs.push(Pair { seed, ours, torch });
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let write = |name: &str, text: String| {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let table = report::markdown(&args.recipe, &recipe, threads, &pairs);
    println!("{table}");
    write("curves.md", table)?;
    write("curves.svg", report::picture(&args.recipe, &pairs)?)?;
    eprintln!("written to {}", args.out.display());
    Ok(())
}

/// Lets PyTorch train on what lies in the folder.
fn torch(args: &Args, folder: &Path, threads: usize) -> Result<Run> {
    let mut command = Command::new(&args.python);
    command.arg(&args.script).arg(folder).args(["--threads", &threads.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", args.python.display()))?;
    if !output.status.success() {
        bail!("{} failed: {}", args.script.display(), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("{} said {line:?}", args.script.display()))
}
