//! Running every contender in turn and keeping what each said.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::busy::Busy;
use super::case::Case;
use super::contenders::{Contender, Part, command};
use crate::shell::{read, show};

/// After the first round a way to run PyTorch that took this much longer than its fastest is not run again.
const OUT_OF_THE_RACE: f64 = 1.15;

/// The last line a contender prints. It may hold more.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) median_s: f64,
    pub(crate) min_s: f64,
    pub(crate) images_per_s: f64,
    pub(crate) peak_rss_bytes: Option<u64>,
}

/// What the rounds of one contender add up to.
#[derive(Debug, PartialEq)]
pub(crate) struct Timing {
    pub(crate) name: String,
    pub(crate) part: Part,
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
}

/// How often, with how many threads.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) rounds: usize,
    pub(crate) steps: usize,
    pub(crate) threads: usize,
}

/// Runs all contenders that can in turn, and notes before each round how busy the machine is without them.
pub(crate) fn interleave(
    contenders: &[Contender],
    case: &Case,
    how: Rounds,
    busy: &mut Busy,
) -> Result<Vec<Timing>> {
    let taking_part: Vec<&Contender> = contenders.iter().filter(|contender| contender.can(case)).collect();
    let mut runs = vec![Vec::new(); taking_part.len()];
    let mut in_the_race = vec![true; taking_part.len()];
    for round in 1..=how.rounds {
        busy.sample();
        for (i, contender) in taking_part.iter().enumerate().filter(|(i, _)| in_the_race[*i]) {
            let measurement = run(contender, case, how)?;
            eprintln!(
                "{case}, round {round}/{}: {} median {:.4} s, min {:.4} s",
                how.rounds, contender.name, measurement.median_s, measurement.min_s
            );
            runs[i].push(measurement);
        }
        if round == 1 {
            let firsts: Vec<(Part, f64)> =
                taking_part.iter().zip(&runs).map(|(c, runs)| (c.part, runs[0].median_s)).collect();
            in_the_race = still_in_the_race(&firsts);
        }
    }
    Ok(taking_part.iter().zip(runs).map(|(contender, runs)| summarise(contender, case, &runs)).collect())
}

/// Slow ways to run PyTorch cannot become its best. Peers, whose steps can take minutes, run once.
fn still_in_the_race(firsts: &[(Part, f64)]) -> Vec<bool> {
    let torch = firsts.iter().filter(|(part, _)| *part == Part::Torch).map(|(_, median)| *median);
    let fastest = torch.fold(f64::INFINITY, f64::min);
    firsts.iter().map(|(part, median)| *part != Part::Torch || *median <= OUT_OF_THE_RACE * fastest).collect()
}

fn run(contender: &Contender, case: &Case, how: Rounds) -> Result<Measurement> {
    let mut command = command(contender, case, how.steps, how.threads);
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

fn summarise(contender: &Contender, case: &Case, runs: &[Measurement]) -> Timing {
    let median_s = median(runs.iter().map(|run| run.median_s).collect());
    Timing {
        name: contender.name.clone(),
        part: contender.part,
        rounds: runs.len(),
        median_s,
        min_s: runs.iter().map(|run| run.min_s).fold(f64::INFINITY, f64::min),
        images_per_s: case.batch as f64 / median_s,
        peak_rss_bytes: runs.iter().map(|run| run.peak_rss_bytes).max().flatten(),
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
    use crate::bench::contenders::resnet;

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
    fn rounds_are_summarised() {
        let contender = resnet(std::path::Path::new("resnet"), "cpu");
        let case = Case {
            arch: "resnet18".into(),
            channels: 1,
            size: 28,
            classes: 10,
            batch: 256,
            infer: false,
            precision: "f32".into(),
        };
        let run = |median_s, min_s, peak_rss_bytes| Measurement {
            median_s,
            min_s,
            images_per_s: 1.0,
            peak_rss_bytes,
        };
        let runs = [run(3.0, 2.0, Some(5)), run(1.0, 0.5, Some(9)), run(2.0, 1.5, None)];
        let timing = summarise(&contender, &case, &runs);
        assert_eq!((timing.median_s, timing.min_s, timing.peak_rss_bytes), (2.0, 0.5, Some(9)));
        assert_eq!((timing.images_per_s, timing.rounds), (128.0, 3));
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }

    #[test]
    fn only_slow_ways_to_run_pytorch_drop_out() {
        let firsts = [
            (Part::Ours, 9.0),
            (Part::Torch, 1.0),
            (Part::Torch, 1.1),
            (Part::Torch, 1.2),
            (Part::Peer, 30.0),
        ];
        assert_eq!(still_in_the_race(&firsts), [true, true, true, false, true]);
    }
}
