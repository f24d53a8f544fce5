//! Running every contender in turn and keeping what each said.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::busy::Busy;
use super::case::Case;
use super::contenders::{Contender, Part, command};
use super::limits::{self, Failure, Limits};
use crate::shell::show;

/// After the first round a way to run PyTorch that took this much longer than its fastest is not run again.
const OUT_OF_THE_RACE: f64 = 1.15;

/// The last line a contender prints. It may hold more.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) median_s: f64,
    pub(crate) min_s: f64,
    pub(crate) images_per_s: f64,
    pub(crate) peak_rss_bytes: Option<u64>,
    /// Seconds of compiling before everything else, which no time includes.
    #[serde(default)]
    pub(crate) compile_s: Option<f64>,
}

/// What the rounds of one contender add up to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timing {
    pub(crate) name: String,
    pub(crate) part: Part,
    /// Its times, or why it has none.
    pub(crate) times: Result<Times, Failure>,
}

/// The times of one contender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    /// Rounds it took part in.
    pub(crate) rounds: usize,
    /// Median over the rounds of each round's median.
    pub(crate) median_s: f64,
    /// The fastest step of all.
    pub(crate) min_s: f64,
    /// Pictures per second at the median.
    pub(crate) images_per_s: f64,
    /// The largest over the rounds, where the program can tell.
    pub(crate) peak_rss_bytes: Option<u64>,
    /// The longest over the rounds: the others find what the first has compiled.
    pub(crate) compile_s: Option<f64>,
}

/// How often, with how many threads.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) rounds: usize,
    pub(crate) steps: usize,
    pub(crate) threads: usize,
    /// After which a program is stopped.
    pub(crate) limit: Duration,
}

/// Runs all contenders that can in turn, and notes before each round how busy the machine is without them.
///
/// # Errors
/// This project's own program fails. Of the others that is said in their times.
pub(crate) fn interleave(
    contenders: &[Contender],
    case: &Case,
    how: Rounds,
    busy: &mut Busy,
) -> Result<Vec<Timing>> {
    let taking_part: Vec<&Contender> = contenders.iter().filter(|contender| contender.can(case)).collect();
    let mut runs = vec![Ok(Vec::new()); taking_part.len()];
    let mut in_the_race = vec![true; taking_part.len()];
    for round in 1..=how.rounds {
        busy.sample();
        for (i, contender) in taking_part.iter().enumerate().filter(|(i, _)| in_the_race[*i]) {
            let said = format!("{case}, round {round}/{}: {}", how.rounds, contender.name);
            match run(contender, case, how)? {
                Ok(times) => {
                    eprintln!("{said} median {:.4} s, min {:.4} s", times.median_s, times.min_s);
                    if let Ok(runs) = &mut runs[i] {
                        runs.push(times);
                    }
                }
                Err(why) if contender.part == Part::Ours => bail!("{said} {why}"),
                Err(why) => {
                    eprintln!("{said} {why}");
                    runs[i] = Err(why);
                }
            }
        }
        let so_far: Vec<(Part, Option<f64>)> = taking_part
            .iter()
            .zip(&runs)
            .map(|(c, runs)| (c.part, runs.as_ref().ok().and_then(|runs| Some(runs.first()?.median_s))))
            .collect();
        in_the_race = still_in_the_race(&so_far);
    }
    let summarise = |(contender, runs): (&&Contender, Result<Vec<Measurement>, Failure>)| Timing {
        name: contender.name.clone(),
        part: contender.part,
        times: runs.map(|runs| summarise(case, &runs)),
    };
    Ok(taking_part.iter().zip(runs).map(summarise).collect())
}

/// Who runs again, by the medians of the first round. Slow ways to run PyTorch cannot become its best.
/// Peers, whose steps can take minutes, run once, and whoever has failed does.
fn still_in_the_race(firsts: &[(Part, Option<f64>)]) -> Vec<bool> {
    let torch = firsts.iter().filter(|(part, _)| *part == Part::Torch).filter_map(|(_, median)| *median);
    let fastest = torch.fold(f64::INFINITY, f64::min);
    let stays = |(part, median): &(Part, Option<f64>)| match (part, median) {
        (Part::Ours, _) => true,
        (Part::Torch, Some(median)) => *median <= OUT_OF_THE_RACE * fastest,
        (Part::Torch, None) | (Part::Peer, _) => false,
    };
    firsts.iter().map(stays).collect()
}

/// One run within the limits. An error is a program that cannot be started.
pub(crate) fn run(contender: &Contender, case: &Case, how: Rounds) -> Result<Result<Measurement, Failure>> {
    let mut command = command(contender, case, how.steps, how.threads);
    Ok(limits::read(&mut command, Limits::now(how.limit))?.and_then(|text| {
        parse(&text)
            .map_err(|why| Failure::Failed(format!("`{}` printed no measurement, {why:#}", show(&command))))
    }))
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

pub(crate) fn summarise(case: &Case, runs: &[Measurement]) -> Times {
    let median_s = median(runs.iter().map(|run| run.median_s).collect());
    Times {
        rounds: runs.len(),
        median_s,
        min_s: runs.iter().map(|run| run.min_s).fold(f64::INFINITY, f64::min),
        images_per_s: case.batch as f64 / median_s,
        peak_rss_bytes: runs.iter().map(|run| run.peak_rss_bytes).max().flatten(),
        compile_s: runs.iter().filter_map(|run| run.compile_s).reduce(f64::max),
    }
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
        let wanted = Measurement {
            median_s: 0.5,
            min_s: 0.25,
            images_per_s: 512.0,
            peak_rss_bytes: Some(7),
            compile_s: None,
        };
        assert_eq!(parse(&format!("something said before\n{LINE}")).expect("fine"), wanted);
        assert!(parse("").is_err());
        assert!(parse(&LINE.replace("0.25", "-1")).is_err());
        assert!(parse(&LINE.replace("min_s", "max_s")).is_err());
    }

    #[test]
    fn rounds_are_summarised() {
        let case = Case { batch: 256, ..Case::small() };
        let run = |median_s, min_s, peak_rss_bytes| Measurement {
            median_s,
            min_s,
            images_per_s: 1.0,
            peak_rss_bytes,
            compile_s: peak_rss_bytes.map(|bytes| bytes as f64),
        };
        let runs = [run(3.0, 2.0, Some(5)), run(1.0, 0.5, Some(9)), run(2.0, 1.5, None)];
        let timing = summarise(&case, &runs);
        assert_eq!((timing.median_s, timing.min_s, timing.peak_rss_bytes), (2.0, 0.5, Some(9)));
        assert_eq!((timing.images_per_s, timing.rounds, timing.compile_s), (128.0, 3, Some(9.0)));
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }

    #[test]
    fn who_runs_again() {
        let firsts = [
            (Part::Ours, Some(9.0)),
            (Part::Torch, Some(1.0)),
            (Part::Torch, Some(1.1)),
            (Part::Torch, Some(1.2)),
            (Part::Torch, None),
            (Part::Peer, Some(0.5)),
            (Part::Peer, None),
        ];
        assert_eq!(still_in_the_race(&firsts), [true, true, true, false, false, false, false]);
    }
}
