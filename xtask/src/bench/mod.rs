//! `bench`: criterion's benches of single kernels, or whole steps: beside other frameworks', with more threads, with real loading.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, ValueEnum};

use crate::shell::{announce, cargo};

pub(crate) mod accuracy;
mod busy;
mod case;
mod contenders;
mod limits;
mod loading;
mod machine;
mod measure;
mod report;
mod scaling;
mod torch;

use contenders::Peer;

/// What to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// PyTorch from PyPI, in an environment of its own under the target folder
    Torch,
    /// Burn on its flex backend, built under the target folder on first use; ResNet-18, -34, -50 and -20 only
    Burn,
    /// Candle, alike
    Candle,
}

#[derive(clap::Args)]
#[command(group(ArgGroup::new("whole").args(["against", "threads", "loading"]).multiple(true)))]
pub(crate) struct Args {
    /// Time the whole step beside other frameworks'
    #[arg(long, value_enum, value_delimiter = ',')]
    against: Vec<Against>,
    #[command(flatten)]
    cases: case::CaseArgs,
    /// Time the whole step with so many threads, as many as the machine has where it is not given;
    /// several numbers make a table of how it scales
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    threads: Vec<u16>,
    /// Time the training step on pictures that are read and augmented meanwhile, beside synthetic ones.
    /// Without a set of data: the sample of Fashion-MNIST for grey pictures, else JPEG files that are made for it
    #[arg(long, value_name = "SET", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["against", "infer"])]
    loading: Option<String>,
    /// Steps that are counted in a run, after two that are not
    #[arg(long, default_value_t = 3, requires = "whole", value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    /// How often every program runs; other frameworks in Rust run once
    #[arg(long, default_value_t = 3, requires = "whole", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// A program that runs longer is stopped, and the table says so
    #[arg(long, default_value_t = 10, requires = "against", value_parser = clap::value_parser!(u64).range(1..))]
    limit_minutes: u64,
    /// The backend, and with it PyTorch's device
    #[arg(long, default_value = "cpu", value_parser = crate::hand_over::BACKENDS, requires = "whole")]
    backend: String,
    /// Leave torch.compile out; it takes most of a minute for each case and needs a C++ compiler on the CPU
    #[arg(long, requires = "against")]
    no_compile: bool,
    /// Write the table to this Markdown file, with the command, the hardware and the versions
    #[arg(long, value_name = "FILE", requires = "whole")]
    md: Option<PathBuf>,
    /// Say where the time of a step goes on the CPU and how far each part is from what the machine can do;
    /// what follows `--` goes to that program, for example `--help` or `--md FILE`
    #[arg(long, conflicts_with = "whole")]
    roofline: bool,
    /// Arguments for criterion, for example the name of a bench
    #[arg(last = true, conflicts_with = "whole")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    if args.roofline {
        return crate::hand_over::package("resnet-benches", "roofline", args.rest);
    }
    if args.against.is_empty() && args.threads.is_empty() && args.loading.is_none() {
        return announce(cargo().args(["bench", "-p", "resnet-benches", "--"]).args(&args.rest));
    }
    let text = whole_steps(&args)?;
    println!("{text}");
    if let Some(path) = &args.md {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written to {}", path.display());
    }
    Ok(())
}

/// The tables of whole steps that were asked for, with where and how they were measured.
fn whole_steps(args: &Args) -> Result<String> {
    let threads: Vec<usize> = match args.threads.as_slice() {
        [] => {
            vec![
                std::thread::available_parallelism().context("cannot tell how many threads there are")?.get(),
            ]
        }
        some => some.iter().map(|n| usize::from(*n)).collect(),
    };
    let [rounds, steps] = [args.rounds, args.steps].map(usize::from);
    let limit = Duration::from_secs(60 * args.limit_minutes);
    let how = |threads| measure::Rounds { rounds, steps, threads, limit };
    let resnet = contenders::resnet(&contenders::build(&args.backend)?, &args.backend);
    let mut busy = busy::Busy::default();
    let mut python = None;

    let mut text = String::new();
    if let Some(set) = &args.loading {
        let [threads] = threads[..] else { bail!("--loading takes one number of threads") };
        text += &loading::table(&resnet, args.cases.training(), how(threads), set, &mut busy)?;
    } else {
        python = args.against.contains(&Against::Torch).then(torch::python).transpose()?;
        let mut contenders = vec![resnet];
        if let Some(python) = &python {
            contenders.extend(contenders::torch(python, &args.backend, !args.no_compile));
        }
        for (against, peer) in [(Against::Burn, Peer::Burn), (Against::Candle, Peer::Candle)] {
            if args.against.contains(&against) {
                contenders.push(contenders::peer(peer)?);
            }
        }
        let mut tables = Vec::new();
        for &threads in &threads {
            let mut rows = Vec::new();
            for case in args.cases.cases() {
                let timings = measure::interleave(&contenders, &case, how(threads), &mut busy)?;
                rows.push(report::Row { case, timings });
            }
            tables.push((threads, rows));
        }
        if tables.len() > 1 {
            text += &scaling::table(&tables);
        }
        for (threads, rows) in &tables {
            text += &report::markdown(how(*threads), &args.backend, rows);
        }
    }
    text += &machine::foot(&busy, python.as_deref())?;
    Ok(text)
}

/// Whole runs laid over PyTorch's. Help needs no PyTorch.
pub(crate) fn curves(mut args: Vec<OsString>) -> Result<()> {
    let help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    if !help && !args.iter().any(|arg| arg.to_string_lossy().starts_with("--python")) {
        args.extend(["--python".into(), torch::python()?.into()]);
    }
    crate::hand_over::package("resnet-benches", "curves", args)
}
