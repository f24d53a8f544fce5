//! Running every contender in turn and keeping what each said.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::busy::Busy;
use super::{Case, torch};
use crate::shell::{cargo, read, show};

/// One case of the table.
pub(crate) struct Step<'a> {
    pub(crate) arch: &'a str,
    pub(crate) size: usize,
    pub(crate) threads: usize,
    pub(super) case: &'a Case,
}

/// A program that can do the step.
pub(crate) struct Contender {
    /// Its name in the table.
    pub(crate) name: String,
    /// Whether it is what others are compared with.
    pub(crate) is_baseline: bool,
    program: Vec<String>,
}

/// The last line a contender prints. It may hold more.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) median_s: f64,
    pub(crate) min_s: f64,
    pub(crate) images_per_s: f64,
    pub(crate) peak_rss_bytes: Option<u64>,
}

/// What the rounds of one contender add up to.
pub(crate) struct Timing<'a> {
    pub(crate) contender: &'a Contender,
    /// Median over the rounds of each round's median.
    pub(crate) median_s: f64,
    /// The fastest step of all.
    pub(crate) min_s: f64,
    /// Pictures per second at the median.
    pub(crate) images_per_s: f64,
    /// The largest over the rounds, where the program can tell.
    pub(crate) peak_rss_bytes: Option<u64>,
}

/// Builds what will be timed and returns the program, so that no round waits for cargo.
pub(crate) fn build(backend: &str) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--release", "-p", "resnet", "--bin", "resnet"]);
    command.args([
        "--no-default-features",
        "--features",
        backend,
        "--message-format=json-render-diagnostics",
    ]);
    eprintln!("$ {}", show(&command));
    let messages = read(&mut command)?;
    executable(&messages).with_context(|| format!("`{}` built no program", show(&command)))
}

/// The program in cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    programs.next_back()
}

/// `resnet`, and PyTorch in both memory formats, eager and, where asked for, compiled.
pub(crate) fn contenders(resnet: &Path, python: &Path, backend: &str, compile: bool) -> Vec<Contender> {
    let mut program = vec![resnet.display().to_string()];
    program.extend(["bench", "--json", "--backend", backend].map(str::to_owned));
    let mut all = vec![Contender { name: "resnet".to_owned(), is_baseline: false, program }];

    let script = torch::script();
    let device = if backend == "cuda" { "cuda" } else { "cpu" };
    for compiled in [false, true].into_iter().filter(|&compiled| compile || !compiled) {
        for format in ["nchw", "channels_last"] {
            let mut program: Vec<String> = [python, script.as_path()].map(|p| p.display().to_string()).into();
            program.extend(["--device", device, "--memory-format", format].map(str::to_owned));
            program.extend(compiled.then(|| "--compile".to_owned()));
            let how = if compiled { "compile" } else { "eager" };
            all.push(Contender { name: format!("torch {how}, {format}"), is_baseline: true, program });
        }
    }
    all
}

/// Runs all contenders in turn, `rounds` times, and notes before each round how busy the machine is without them.
pub(crate) fn interleave<'a>(
    contenders: &'a [Contender],
    step: &Step<'_>,
    rounds: usize,
    busy: &mut Busy,
) -> Result<Vec<Timing<'a>>> {
    let mut measured = vec![Vec::new(); contenders.len()];
    for round in 1..=rounds {
        busy.sample();
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            let measurement = run(contender, step)?;
            eprintln!(
                "{} {}² round {round}/{rounds}: {} median {:.4} s, min {:.4} s",
                step.arch, step.size, contender.name, measurement.median_s, measurement.min_s
            );
            measured.push(measurement);
        }
    }
    Ok(contenders
        .iter()
        .zip(measured)
        .map(|(contender, runs)| summarise(contender, &runs, step.case.batch))
        .collect())
}

fn run(contender: &Contender, step: &Step<'_>) -> Result<Measurement> {
    let Step { arch, size, threads, case } = step;
    let Case { channels, classes, batch, steps, infer, precision, .. } = case;
    let numbers = [
        ("--channels", channels),
        ("--size", size),
        ("--classes", classes),
        ("--batch", batch),
        ("--steps", steps),
        ("--threads", threads),
    ];
    let mut command = Command::new(&contender.program[0]);
    command.args(&contender.program[1..]).args(["--arch", arch, "--precision", precision]);
    command.args(numbers.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
    command.args(infer.then_some("--infer"));
    let text = read(&mut command)?;
    parse(&text).with_context(|| format!("`{}` printed no measurement", show(&command)))
}

/// Reads the last line.
fn parse(text: &str) -> Result<Measurement> {
    let line = text.lines().last().unwrap_or_default();
    let measurement: Measurement = serde_json::from_str(line).with_context(|| format!("in {line:?}"))?;
    let Measurement { median_s, min_s, images_per_s, .. } = measurement;
    if ![median_s, min_s, images_per_s].iter().all(|value| value.is_finite() && *value > 0.0) {
        bail!("times must be positive, in {line:?}");
    }
    Ok(measurement)
}

fn summarise<'a>(contender: &'a Contender, runs: &[Measurement], batch: usize) -> Timing<'a> {
    let median_s = median(runs.iter().map(|run| run.median_s).collect());
    let min_s = runs.iter().map(|run| run.min_s).fold(f64::INFINITY, f64::min);
    let peak_rss_bytes = runs.iter().map(|run| run.peak_rss_bytes).max().flatten();
    Timing { contender, median_s, min_s, images_per_s: batch as f64 / median_s, peak_rss_bytes }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"{"median_s": 0.5, "min_s": 0.25, "images_per_s": 512.0, "peak_rss_bytes": 7, "more": "x"}"#;

    #[test]
    fn last_line_is_read_and_checked() {
        let wanted = Measurement { median_s: 0.5, min_s: 0.25, images_per_s: 512.0, peak_rss_bytes: Some(7) };
        assert_eq!(parse(&format!("something said before\n{LINE}")).expect("fine"), wanted);
        assert!(parse("").is_err());
        assert!(parse(&LINE.replace("0.25", "-1")).is_err());
        assert!(parse(&LINE.replace("min_s", "max_s")).is_err());
    }

    #[test]
    fn program_is_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"target/release/resnet"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("target/release/resnet")));
        assert_eq!(executable("not JSON"), None);
    }

    #[test]
    fn rounds_are_summarised() {
        let contender = Contender { name: "x".to_owned(), is_baseline: false, program: vec![] };
        let run = |median_s, min_s, peak_rss_bytes| Measurement {
            median_s,
            min_s,
            images_per_s: 1.0,
            peak_rss_bytes,
        };
        let timing = summarise(
            &contender,
            &[run(3.0, 2.0, Some(5)), run(1.0, 0.5, Some(9)), run(2.0, 1.5, None)],
            256,
        );
        assert_eq!((timing.median_s, timing.min_s, timing.peak_rss_bytes), (2.0, 0.5, Some(9)));
        assert_eq!(timing.images_per_s, 128.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }

    #[test]
    fn compiled_contenders_only_where_asked_for() {
        let names = |compile| -> Vec<String> {
            contenders(Path::new("resnet"), Path::new("python"), "cpu", compile)
                .into_iter()
                .map(|c| c.name)
                .collect()
        };
        assert_eq!(names(false), ["resnet", "torch eager, nchw", "torch eager, channels_last"]);
        assert_eq!(names(true).len(), 5);
    }
}
