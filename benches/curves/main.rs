//! `cargo xtask curves`: whole training runs laid over PyTorch's, from the same weights on the same batches.
//!
//! For every seed a recipe is trained here, in every way asked for, and what it was fed is written down: the weights at the
//! start, every batch after augmentation, the learning rate of every step. `baseline/torch_curve.py` then trains on exactly
//! that, several times, with sums in other orders.
//! What comes out is a table and a picture of the losses. How far a run here may be from PyTorch's is what PyTorch's runs are
//! from each other: see `apart.rs`.
//!
//! - `main.rs`: the arguments and the order of the work.
//! - `ways.rs`: in which ways either side is run.
//! - `ours.rs`: the run on this project's side, and what it hands over.
//! - `kept.rs`: finished runs on disk, so that a run that was stopped goes on.
//! - `apart.rs`: how far curves are apart.
//! - `report.rs`: the table and the picture.
#![forbid(unsafe_code)]

mod apart;
mod kept;
mod ours;
mod report;
mod ways;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;
use kept::Kept;
use resnet_cpu::CpuBackend;
use resnet_train::recipe::Recipe;
use serde::{Deserialize, Serialize};
use ways::{Order, Way};

/// Train a recipe here and in PyTorch, from the same weights on the same batches, and lay the losses over each other.
///
/// Writes curves.svg and curves.md. The batches of one seed are kept in a temporary folder while it is trained:
/// all pictures times the epochs, as bytes. Every finished run is kept in the output folder, and one that was stopped goes on there;
/// after a change to the program, choose another folder.
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
    /// In which ways it is trained here; the first one comes first in the table
    #[arg(long, value_enum, value_delimiter = ',', default_value = "f32,strict,bf16")]
    ways: Vec<Way>,
    /// Threads of both programs; as many as the machine has where it is not given
    #[arg(long)]
    threads: Option<usize>,
    /// Folder for curves.svg, curves.md and the runs
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
#[derive(Clone, Debug, Deserialize, Serialize)]
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

/// A run and what it is called in the table.
struct Named {
    name: String,
    run: Run,
}

/// A seed and what became of it on both sides.
struct Seed {
    seed: u64,
    ours: Vec<Named>,
    torch: Vec<Named>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut recipe = Recipe::load(&args.recipe)?;
    recipe.train.epochs = args.epochs.unwrap_or(recipe.train.epochs);
    recipe.train.max_steps = args.max_steps.or(recipe.train.max_steps);
    ours::refuse_what_torch_is_not_told(&recipe)?;
    let ways = ways::without_twins(&args.ways)?;
    let threads = args.threads.map_or_else(|| std::thread::available_parallelism().map(usize::from), Ok)?;
    let mut seeds = Vec::new();
    for seed in 0..args.seeds {
        recipe.train.seed = seed;
        seeds.push(one_seed(&args, &recipe, &ways, threads)?);
    }
    let write = |name: &str, text: String| {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let table = report::markdown(&args.recipe, &recipe, threads, &seeds);
    println!("{table}");
    write("curves.md", table)?;
    write("curves.svg", report::picture(&args.recipe, &seeds)?)?;
    eprintln!("written to {}", args.out.display());
    Ok(())
}

/// Everything of one seed that is not there yet.
fn one_seed(args: &Args, recipe: &Recipe, ways: &[Way], threads: usize) -> Result<Seed> {
    let seed = recipe.train.seed;
    let kept = Kept::open(&args.out.join("runs"), recipe, threads)?;
    let folder = tempfile::tempdir().context("no temporary folder for the batches")?;
    let say = |name: &str, run: &Run| {
        eprintln!("seed {seed}: {name} {:.4} in {:.1} s", run.accuracy, run.seconds);
    };
    let train = |way: Way| -> Result<Run> {
        let backend = CpuBackend::with_kernel(Some(threads), way.kernel())?;
        ours::train(backend, &way.of(recipe), folder.path())
    };
    let mut ours = Vec::new();
    for way in ways {
        let name = way.to_string();
        let run = kept.or_else(&name, || train(*way))?;
        say(&name, &run);
        ours.push(Named { name, run });
    }
    let orders = Order::all(threads);
    let fed = folder.path().join(ours::LAST).exists();
    if !fed && orders.iter().any(|order| !kept.has(&order.to_string())) {
        // What PyTorch is fed went with the temporary folder; it is the same for every way.
        train(ways[0])?;
    }
    let mut torch_runs = Vec::new();
    for order in &orders {
        let name = order.to_string();
        let run = kept.or_else(&name, || torch(args, folder.path(), order))?;
        say(&name, &run);
        torch_runs.push(Named { name, run });
    }
    Ok(Seed { seed, ours, torch: torch_runs })
}

/// Lets PyTorch train on what lies in the folder.
fn torch(args: &Args, folder: &Path, order: &Order) -> Result<Run> {
    let mut command = Command::new(&args.python);
    command.arg(&args.script).arg(folder).args(["--threads", &order.threads.to_string()]);
    command.args(["--memory-format", order.memory_format]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", args.python.display()))?;
    if !output.status.success() {
        bail!("{} failed: {}", args.script.display(), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("{} said {line:?}", args.script.display()))
}
