//! `cargo xtask gpu-check`: everything that takes a GPU, in one run, with one results file.
//!
//! It checks that kernels compute what they must and then how fast they are beside PyTorch.
//! What is missing (a device, PyTorch, a tool) is named in the results, and the rest goes on.
//! The program finds what it runs beside itself, so a folder made by `cargo xtask gpu-pack` works on a machine without Rust
//! and without a network.
//!
//! Results are written after every step, and a step that fails stops no other.
//! `--only` runs some parts, so that one command can stay within a limit of the machine.
//!
//! Modules in reading order:
//! - `programs`: what lies beside this program, and running it with a time limit.
//! - `report`: the results file.
//! - `machine`: device, driver and versions.
//! - `suites`: conformance, laws of tensor cores, memory checking. `parity`: the worst error of every op.
//! - `training`: five steps on the CPU and on the device from the same weights.
//! - `seed`: the tutorial's whole run, its accuracy and its time.
//! - `timing`: steps of ours, `torch`: of PyTorch's, in turn. `roofline`: where a step's time goes, beside what it could take.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

mod machine;
mod parity;
mod programs;
mod report;
mod roofline;
mod seed;
mod suites;
mod timing;
mod torch;
mod training;

use programs::{Clock, Programs};
use report::{Outcome, Report};

/// Check the CUDA backend on this machine's device and time it beside PyTorch.
#[derive(Parser)]
#[command(name = "cargo xtask gpu-check", bin_name = "cargo xtask gpu-check")]
struct Args {
    /// The results, as Markdown
    #[arg(long, value_name = "FILE", default_value = "gpu-check.md")]
    md: PathBuf,
    /// Number of the device
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// A Python that has torch and torchvision [default: RESNET_TORCH_PYTHON, or python3]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Minutes for everything; what does not fit is named and left out
    #[arg(long, default_value_t = 9.0)]
    minutes: f64,
    /// Only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Only rows of the table of times whose title has this in it, such as `resnet50 3×224² batch 256 bf16`
    #[arg(long, value_name = "TEXT")]
    row: Option<String>,
    /// Run the emulator in place of a device, on small cases: whether this program itself works
    #[arg(long)]
    rehearse: bool,
    /// Copy Fashion-MNIST into this folder for a machine without it, and end; `cargo xtask gpu-pack` calls this
    #[arg(long, value_name = "FOLDER", hide = true)]
    carry: Option<PathBuf>,
    /// Where the programs lie that this one runs [default: beside it]
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
}

/// A part of the check. The machine is described in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Conformance, tensor cores against f64 and against ordinary units, with each choice of kernels
    Suites,
    /// Memory checking on small cases
    Memory,
    /// The worst error of every op, beside the CPU's
    Parity,
    /// Five training steps beside the CPU
    Steps,
    /// The tutorial's whole run
    Seed,
    /// Times beside PyTorch's
    Rows,
    /// The share of the roofline's floor, stage by stage
    Roofline,
}

/// What to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Device(usize),
    Emulator,
}

fn main() -> ExitCode {
    match check(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything and writes the results. Whether nothing failed.
fn check(args: &Args) -> Result<bool> {
    if let Some(folder) = &args.carry {
        return seed::carry(folder).map(|()| true);
    }
    let clock = Clock::start(Duration::from_secs_f64(60.0 * args.minutes.clamp(0.1, 600.0)));
    let target = if args.rehearse { Target::Emulator } else { Target::Device(args.device) };
    let programs = Programs::find(args.programs.as_deref())?;
    let python = args.python.clone().unwrap_or_else(torch::usual_python);
    let mut report = Report::new(target, &args.md);
    let wanted = |part: Part| args.only.is_empty() || args.only.contains(&part);

    let found = machine::describe(&mut report, target, &programs, &python);
    if found {
        if wanted(Part::Suites) {
            suites::run_all(&mut report, target, &programs, &clock);
        }
        if wanted(Part::Memory) {
            report.step("Memory checking", || suites::memory(&programs, target, &clock));
        }
        if wanted(Part::Parity) {
            report.step("Worst error of every op", || parity::table(target));
        }
        if wanted(Part::Steps) {
            report.step("Five training steps beside the CPU", || training::compare(target));
        }
        if wanted(Part::Seed) {
            seed::run_all(&mut report, target, &programs);
        }
        if wanted(Part::Rows) {
            timing::table(&mut report, target, args.row.as_deref(), &programs, &python, &clock);
        }
        if wanted(Part::Roofline) {
            report.step("Share of the roofline's floor", || roofline::table(target));
        }
    } else {
        report.add("Everything else", Outcome::left_out("there is no device to run it on"), "");
    }

    println!("{}", report.markdown());
    report.write().with_context(|| format!("cannot write {}", args.md.display()))?;
    eprintln!("written to {}", args.md.display());
    Ok(report.passed())
}
