//! `bench`: criterion's benches of single kernels, or the whole step side by side with PyTorch's.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::shell::{announce, cargo};

mod busy;
mod measure;
mod report;
mod torch;

/// What to compare with.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    /// PyTorch from PyPI, in an environment of its own under the target folder
    Torch,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Time the whole step beside another framework's
    #[arg(long, value_enum)]
    against: Option<Against>,
    #[command(flatten)]
    case: Case,
    /// How often every program runs
    #[arg(long, default_value_t = 3, requires = "against")]
    rounds: usize,
    /// Also run torch.compile, which needs a C++ compiler on the CPU
    #[arg(long, requires = "against")]
    compile: bool,
    /// Write the table to this Markdown file, with the command, the hardware and the versions
    #[arg(long, value_name = "FILE", requires = "against")]
    md: Option<PathBuf>,
    /// Arguments for criterion, for example the name of a bench
    #[arg(last = true, conflicts_with = "against")]
    criterion: Vec<OsString>,
}

/// What is computed, in the words of `resnet bench`.
#[derive(Clone, clap::Args)]
struct Case {
    /// Networks that both sides know, by torchvision's names
    #[arg(long, default_value = "resnet18", value_delimiter = ',', requires = "against")]
    arch: Vec<String>,
    /// Input channels
    #[arg(long, default_value_t = 1, requires = "against")]
    channels: usize,
    /// Input sizes in pixels
    #[arg(long, default_value = "28,96", value_delimiter = ',', requires = "against")]
    size: Vec<usize>,
    /// Classes
    #[arg(long, default_value_t = 10, requires = "against")]
    classes: usize,
    /// Pictures in a batch
    #[arg(long, default_value_t = 256, requires = "against")]
    batch: usize,
    /// Steps that are counted in a run, after two that are not
    #[arg(long, default_value_t = 3, requires = "against")]
    steps: usize,
    /// Threads of each program; as many as the machine has where it is not given
    #[arg(long, requires = "against")]
    threads: Option<usize>,
    /// Time inference instead of training
    #[arg(long, requires = "against")]
    infer: bool,
    /// Precision of activations; PyTorch's bf16 is autocast
    #[arg(long, default_value = "f32", value_parser = ["f32", "bf16"], requires = "against")]
    precision: String,
    /// The backend, and with it PyTorch's device
    #[arg(long, default_value = "cpu", value_parser = crate::hand_over::BACKENDS, requires = "against")]
    backend: String,
}

pub(crate) fn run(args: Args) -> Result<()> {
    match args.against {
        None => announce(cargo().args(["bench", "-p", "resnet-benches", "--"]).args(&args.criterion)),
        Some(Against::Torch) => against_torch(&args),
    }
}

fn against_torch(args: &Args) -> Result<()> {
    let case = &args.case;
    if args.rounds == 0 || case.steps == 0 || case.threads == Some(0) {
        bail!("--rounds, --steps and --threads must be at least 1");
    }
    let threads = match case.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism().context("cannot tell how many threads there are")?.get(),
    };
    let python = torch::python()?;
    let resnet = measure::build(&case.backend)?;
    let contenders = measure::contenders(&resnet, &python, &case.backend, args.compile);

    let mut busy = busy::Busy::default();
    let mut rows = Vec::new();
    for arch in &case.arch {
        for &size in &case.size {
            let step = measure::Step { arch, size, threads, case };
            let timings = measure::interleave(&contenders, &step, args.rounds, &mut busy)?;
            rows.push(report::Row { arch, size, timings });
        }
    }
    let text = report::markdown(args, threads, &rows, &busy, &report::Machine::read(&python)?);
    println!("{text}");
    if let Some(path) = &args.md {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written to {}", path.display());
    }
    Ok(())
}
