//! The table beside other frameworks.

use std::fmt::Write;

use super::case::Case;
use super::contenders::Part;
use super::measure::{Rounds, Times, Timing};

/// One case and how everybody did.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) timings: Vec<Timing>,
}

/// A table of all ratios, then every program's times case by case, in Markdown.
pub(crate) fn markdown(how: Rounds, backend: &str, rows: &[Row]) -> String {
    let mut out = intro(how, backend);
    if rows.iter().flat_map(|row| &row.timings).any(|timing| timing.part == Part::Torch) {
        out.push_str(
            "PyTorch counts with the fastest way to run it; ways that lose the first round by a wide margin run no more. \
             What torch.compile takes to compile is told and not counted.\n",
        );
    }
    if rows.iter().flat_map(|row| &row.timings).any(|timing| timing.part == Part::Peer) {
        out.push_str(
            "Other frameworks in Rust run one round; where a step takes more than five seconds, it is one step after one that is not counted.\n",
        );
    }
    out.push('\n');
    out.push_str(&ratios(rows));
    // Writing into a `String` cannot fail.
    for Row { case, timings } in rows {
        let _ = writeln!(out, "\n### {case}\n");
        let _ = writeln!(out, "| program | rounds | median s | min s | images/s | peak memory MiB |");
        let _ = writeln!(out, "|---|--:|--:|--:|--:|--:|");
        for Timing { name, times, .. } in timings {
            let Ok(times) = times else {
                let _ = writeln!(out, "| {name} | – | – | – | – | – |");
                continue;
            };
            let memory =
                times.peak_rss_bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string());
            let Times { rounds, median_s, min_s, images_per_s, compile_s, .. } = times;
            let compiled = compile_s.map(|s| format!(" (compiled in {s:.0} s)")).unwrap_or_default();
            let _ = writeln!(
                out,
                "| {name}{compiled} | {rounds} | {median_s:.4} | {min_s:.4} | {images_per_s:.0} | {memory} |"
            );
        }
        for (name, why) in timings.iter().filter_map(|t| Some((&t.name, t.times.as_ref().err()?))) {
            let _ = writeln!(out, "\n{name}: {why}.");
        }
    }
    out
}

/// What a step is and how often it was timed.
pub(crate) fn intro(how: Rounds, backend: &str) -> String {
    let Rounds { rounds, steps, threads, .. } = how;
    format!(
        "A training step is forward, loss, backward and SGD with momentum. Backend {backend}, {threads} thread{}.\n\
         {rounds} round{} of {steps} step{}, programs in turn; a time is the median of the rounds' medians.\n",
        plural(threads),
        plural(rounds),
        plural(steps),
    )
}

/// The frameworks besides this project, in the order in which they first occur.
pub(crate) fn others(rows: &[Row]) -> Vec<&str> {
    let mut others: Vec<&str> = vec![];
    for timing in rows.iter().flat_map(|row| &row.timings) {
        let name = framework(timing);
        if timing.part != Part::Ours && !others.contains(&name) {
            others.push(name);
        }
    }
    others
}

/// How many times faster `resnet` is than each other framework at its best, and what part of PyTorch's memory it takes.
fn ratios(rows: &[Row]) -> String {
    let mut out = String::new();
    let others = others(rows);
    let _ = write!(out, "| case | resnet s |");
    for name in &others {
        let _ = write!(out, " {name} s | times faster |");
    }
    let with_torch = others.contains(&"torch");
    let (title, rule) = if with_torch { (" memory of PyTorch's |", "--:|") } else { ("", "") };
    let _ = writeln!(out, "{title}\n|---|--:|{}{rule}", "--:|--:|".repeat(others.len()));
    for Row { case, timings } in rows {
        let Some(ours) = fastest(timings, "resnet") else { continue };
        let _ = write!(out, "| {case} | {:.4} |", ours.median_s);
        for name in &others {
            match fastest(timings, name) {
                Some(other) => {
                    let _ =
                        write!(out, " {:.4} | **{:.2}** |", other.median_s, other.median_s / ours.median_s);
                }
                None => out.push_str(" – | – |"),
            }
        }
        if with_torch {
            let memory = fastest(timings, "torch")
                .and_then(|torch| Some((ours.peak_rss_bytes?, torch.peak_rss_bytes?)));
            let _ = match memory {
                Some((ours, torch)) => write!(out, " {:.2} |", ours as f64 / torch as f64),
                None => write!(out, " – |"),
            };
        }
        out.push('\n');
    }
    out
}

/// The first word of the name: all ways to run PyTorch are PyTorch.
fn framework(timing: &Timing) -> &str {
    timing.name.split(' ').next().unwrap_or_default()
}

/// The times of a framework's fastest way that has any.
pub(crate) fn fastest<'a>(timings: &'a [Timing], name: &str) -> Option<&'a Times> {
    let of_that_name = timings.iter().filter(|timing| framework(timing) == name);
    of_that_name
        .filter_map(|timing| timing.times.as_ref().ok())
        .min_by(|a, b| a.median_s.total_cmp(&b.median_s))
}

pub(crate) fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::limits::Failure;
    use std::time::Duration;

    fn timing(name: &str, part: Part, median_s: f64, peak_rss_bytes: Option<u64>) -> Timing {
        let times = Times {
            rounds: 3,
            median_s,
            min_s: median_s,
            images_per_s: 1.0,
            peak_rss_bytes,
            compile_s: None,
        };
        Timing { name: name.into(), part, times: Ok(times) }
    }

    #[test]
    fn ratios_are_against_the_best() {
        let failed = Timing {
            times: Err(Failure::Failed("no compiler".into())),
            ..timing("torch compile, channels_last", Part::Torch, 0.1, None)
        };
        let timings = vec![
            timing("resnet", Part::Ours, 0.5, Some(10)),
            timing("torch eager, nchw", Part::Torch, 2.0, Some(30)),
            timing("torch compile, nchw", Part::Torch, 1.0, Some(40)),
            failed,
        ];
        let other = Row {
            case: Case::small(),
            timings: vec![timing("resnet", Part::Ours, 0.5, None), timing("burn", Part::Peer, 5.0, None)],
        };
        let text = ratios(&[Row { case: Case::small(), timings }, other]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "| case | resnet s | torch s | times faster | burn s | times faster | memory of PyTorch's |"
        );
        assert!(lines[2].ends_with("| 0.5000 | 1.0000 | **2.00** | – | – | 0.25 |"), "{}", lines[2]);
        assert!(lines[3].ends_with("| 0.5000 | – | – | 5.0000 | **10.00** | – |"), "{}", lines[3]);
        let alone = Row { case: Case::small(), timings: vec![timing("resnet", Part::Ours, 0.5, None)] };
        assert!(ratios(&[alone]).starts_with("| case | resnet s |\n|---|--:|\n"));
    }

    #[test]
    fn who_has_no_times_is_named_with_the_reason() {
        let stopped = Timing {
            times: Err(Failure::TooLong(Duration::from_secs(90))),
            ..timing("candle", Part::Peer, 0.1, None)
        };
        let rows = [Row {
            case: Case::small(),
            timings: vec![timing("resnet", Part::Ours, 0.5, None), stopped.clone()],
        }];
        let how = Rounds { rounds: 1, steps: 1, threads: 2, limit: Duration::from_secs(90) };
        let text = markdown(how, "cpu", &rows);
        assert!(text.contains("| candle | – | – | – | – | – |\n"), "{text}");
        assert!(text.contains("\ncandle: stopped after 1.5 minutes.\n"), "{text}");
        let first = text.lines().find(|line| line.starts_with("| resnet18")).expect("a row");
        assert!(first.ends_with("| 0.5000 | – | – |"), "{first}");
    }
}
