//! `cargo xtask gpu-check`: everything that takes a GPU, in one run, with one results file.
//!
//! It checks that kernels compute what they must and then how fast they are beside PyTorch.
//! What is missing (a device, PyTorch, a tool) is named in the results, and the rest goes on.
//! The program finds what it runs beside itself, so a folder made by `cargo xtask gpu-pack` works on a machine without Rust
//! and without a network.
//!
//! Results are written after every step. A step runs in a process of its own, so one that fails, breaks or hangs costs no other.
//! `--only` runs some parts, so that one command can stay within a limit of the machine.
//!
//! Modules in reading order:
//! - `programs`: what lies beside this program, and running it with a time limit.
//! - `report`: the results file. `apart`: a step in its own process.
//! - `machine`: device, driver and versions.
//! - `suites`: conformance, laws of tensor cores, memory checking. `parity`: the worst error of every op.
//! - `training`: five steps on the device, on the CPU and in f64 from the same weights.
//! - `seed`: the tutorial's whole run, its accuracy and its time.
//! - `cases`: the rows of the table of times. `rows`: which is measured when. `timing`: steps of ours, `torch`: of PyTorch's, in turn.
//! - `roofline`: where a step's time goes, beside what it could take.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

mod apart;
mod cases;
mod machine;
mod parity;
mod programs;
mod report;
mod roofline;
mod rows;
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
    /// Do one step and write what it found to this file; the program starts itself so
    #[arg(long, value_name = "FILE", hide = true)]
    step: Option<PathBuf>,
    /// PyTorch's ways that a step times
    #[arg(long, value_name = "WAY", value_delimiter = ',', hide = true)]
    ways: Vec<String>,
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
    /// Five training steps beside f64
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

impl Args {
    fn target(&self) -> Target {
        if self.rehearse { Target::Emulator } else { Target::Device(self.device) }
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// The share of the time by which a part is over: the parts before it and its own, by their worth among those that are wanted.
    fn share(&self, part: Part) -> f64 {
        let worth = |last: Part| -> f64 {
            ORDER
                .iter()
                .take_while(|(part, _)| *part != last)
                .chain(ORDER.iter().filter(|(part, _)| *part == last))
                .filter(|(part, _)| self.wants(*part))
                .map(|(_, worth)| worth)
                .sum()
        };
        worth(part) / worth(Part::Rows)
    }
}

/// The parts in their order, and seconds for each where there are nine minutes. What a part leaves of its time is the next ones'.
/// Rows come last, because they take whatever time there is.
const ORDER: [(Part, f64); 7] = [
    (Part::Suites, 170.0),
    (Part::Memory, 20.0),
    (Part::Parity, 20.0),
    (Part::Steps, 30.0),
    (Part::Seed, 40.0),
    (Part::Roofline, 20.0),
    (Part::Rows, 240.0),
];

/// Runs everything and writes the results. Whether nothing failed.
fn check(args: &Args) -> Result<bool> {
    if let Some(folder) = &args.carry {
        Programs::find(args.programs.as_deref())?.verify()?;
        return seed::carry(folder).map(|()| true);
    }
    let clock = Clock::start(Duration::from_secs_f64(60.0 * args.minutes.clamp(0.0, 600.0)));
    let target = args.target();
    let programs = Programs::find(args.programs.as_deref())?;
    let python = args.python.clone().unwrap_or_else(torch::usual_python);
    if let Some(file) = &args.step {
        let found = step(args, &programs, &python, &clock);
        let found = found.unwrap_or_else(|error| (Outcome::Failed(format!("{error:#}")), String::new()));
        return apart::leave(file, &found).map(|()| true);
    }
    programs.verify()?;
    let mut report = Report::new(target, &args.md);
    if !machine::describe(&mut report, target, &programs, &python) {
        report.add("Everything else", Outcome::left_out("there is no device to run it on"), "");
    } else {
        for (part, _) in ORDER.into_iter().filter(|(part, _)| args.wants(*part)) {
            run_part(&mut report, args, part, &programs, &clock);
        }
    }

    println!("{}", report.markdown());
    report.write().with_context(|| format!("cannot write {}", args.md.display()))?;
    eprintln!("written to {}", args.md.display());
    Ok(report.passed())
}

/// A part, step by step. What uses the device in this program runs in a process of its own.
fn run_part(report: &mut Report, args: &Args, part: Part, programs: &Programs, clock: &Clock) {
    let (target, share) = (args.target(), args.share(part));
    let mut apart = |title: &str, which: &[(&str, &str)]| {
        report.step(title, || apart::step(args, part, which, clock.left_of(share)));
    };
    match part {
        Part::Suites => suites::run_all(report, target, programs, clock, share),
        Part::Memory => {
            report.step("Memory checking", || suites::memory(programs, target, clock, share));
        }
        Part::Parity => apart("Worst error of every op", &[]),
        Part::Steps => apart("Five training steps beside f64", &[]),
        Part::Seed => seed::PRECISIONS
            .iter()
            .for_each(|name| apart(&format!("The tutorial's run, {name}"), &[("row", name)])),
        Part::Roofline => apart("Share of the roofline's floor", &[]),
        Part::Rows => rows::run_all(report, args, clock),
    }
}

/// One step, in its own process.
fn step(args: &Args, programs: &Programs, python: &Path, clock: &Clock) -> Result<(Outcome, String)> {
    let (target, row) = (args.target(), args.row.as_deref().unwrap_or_default());
    match args.only.first().context("--step goes with --only")? {
        Part::Suites | Part::Memory => bail!("these parts are programs of their own"),
        Part::Parity => parity::table(target),
        Part::Steps => training::compare(target),
        Part::Seed => seed::run(target, programs, row),
        Part::Roofline => roofline::table(target),
        Part::Rows => {
            let case = cases::of(target).iter().find(|case| case.title() == row);
            let case = case.with_context(|| format!("there is no row `{row}`"))?;
            let measured = timing::measure(target, case, &args.ways, programs, python, clock)?;
            Ok((Outcome::Passed, serde_json::to_string(&measured)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_the_time_of_those_that_are_wanted() {
        let all = Args::parse_from(["gpu-check"]);
        let shares: Vec<f64> = ORDER.iter().map(|(part, _)| all.share(*part)).collect();
        assert!(shares.is_sorted() && shares[0] > 0.2 && shares[6] == 1.0, "{shares:?}");
        let some = Args::parse_from(["gpu-check", "--only", "steps,rows"]);
        assert_eq!((some.share(Part::Steps), some.share(Part::Rows)), (30.0 / 270.0, 1.0));
        assert_eq!(Args::parse_from(["gpu-check", "--only", "suites"]).share(Part::Suites), 1.0);
    }
}
