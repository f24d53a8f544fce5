//! `bench`: criterion's benches of single kernels, or the whole step side by side with other frameworks'.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::shell::{announce, cargo};

mod busy;
mod case;
mod contenders;
mod measure;
mod report;
mod torch;

use contenders::Peer;

/// What to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// PyTorch from PyPI, in an environment of its own under the target folder
    Torch,
    /// Burn on its flex backend, built under the target folder on first use; ResNet-18, -34 and -50 only
    Burn,
    /// Candle, alike
    Candle,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Time the whole step beside other frameworks'
    #[arg(long, value_enum, value_delimiter = ',')]
    against: Vec<Against>,
    #[command(flatten)]
    cases: case::CaseArgs,
    /// Steps that are counted in a run, after two that are not
    #[arg(long, default_value_t = 3, requires = "against")]
    steps: usize,
    /// How often every program runs
    #[arg(long, default_value_t = 3, requires = "against")]
    rounds: usize,
    /// Threads of each program; as many as the machine has where it is not given
    #[arg(long, requires = "against")]
    threads: Option<usize>,
    /// The backend, and with it PyTorch's device
    #[arg(long, default_value = "cpu", value_parser = crate::hand_over::BACKENDS, requires = "against")]
    backend: String,
    /// Also run torch.compile, which needs a C++ compiler on the CPU
    #[arg(long, requires = "against")]
    compile: bool,
    /// Write the table to this Markdown file, with the command, the hardware and the versions
    #[arg(long, value_name = "FILE", requires = "against")]
    md: Option<PathBuf>,
    /// Say where the time of a step goes on the CPU and how far each part is from what the machine can do;
    /// what follows `--` goes to that program, for example `--help` or `--md FILE`
    #[arg(long, conflicts_with = "against")]
    roofline: bool,
    /// Arguments for criterion, for example the name of a bench
    #[arg(last = true, conflicts_with = "against")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    if args.roofline {
        return crate::hand_over::package("resnet-benches", "roofline", args.rest);
    }
    if args.against.is_empty() {
        return announce(cargo().args(["bench", "-p", "resnet-benches", "--"]).args(&args.rest));
    }
    if args.rounds == 0 || args.steps == 0 || args.threads == Some(0) {
        bail!("--rounds, --steps and --threads must be at least 1");
    }
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism().context("cannot tell how many threads there are")?.get(),
    };
    let python = args.against.contains(&Against::Torch).then(torch::python).transpose()?;
    let resnet = contenders::build(&args.backend)?;
    let mut contenders = vec![contenders::resnet(&resnet, &args.backend)];
    if let Some(python) = &python {
        contenders.extend(contenders::torch(python, &args.backend, args.compile));
    }
    for (against, peer) in [(Against::Burn, Peer::Burn), (Against::Candle, Peer::Candle)] {
        if args.against.contains(&against) {
            contenders.push(contenders::peer(peer)?);
        }
    }

    let rounds = measure::Rounds { rounds: args.rounds, steps: args.steps, threads };
    let mut busy = busy::Busy::default();
    let mut rows = Vec::new();
    for case in args.cases.cases() {
        let timings = measure::interleave(&contenders, &case, rounds, &mut busy)?;
        rows.push(report::Row { case, timings });
    }
    let machine = report::Machine::read(python.as_deref())?;
    let text = report::markdown(rounds, &args.backend, &rows, &busy, &machine);
    println!("{text}");
    if let Some(path) = &args.md {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written to {}", path.display());
    }
    Ok(())
}

/// Whole runs laid over PyTorch's. Help needs no PyTorch.
pub(crate) fn curves(mut args: Vec<OsString>) -> Result<()> {
    let help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    if !help && !args.iter().any(|arg| arg.to_string_lossy().starts_with("--python")) {
        args.extend(["--python".into(), torch::python()?.into()]);
    }
    crate::hand_over::package("resnet-benches", "curves", args)
}
