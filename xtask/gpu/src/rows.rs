//! The table of times, in rounds: every row by the ways that need no compilation first, then what compiles, by its worth.
//!
//! Compiling a network takes PyTorch up to a minute, and trying all kernels longer; five ways of seven rows do not fit a few minutes when
//! its caches are cold. So the time goes first to a figure for every row, then to better ones for the rows that matter most,
//! and what it did not suffice for is named. A round of a row is a process of its own.

use std::fmt::Write;
use std::time::Duration;

use crate::cases::{self, Case};
use crate::programs::Clock;
use crate::report::{Outcome, Report};
use crate::timing::{Measured, OWN_CHOICES, Seconds};
use crate::{Args, Part, apart, torch};

/// What is tried in a round, and the time without which it is not begun.
struct Round {
    ways: &'static [&'static str],
    least: Duration,
}

const fn round(ways: &'static [&'static str], least: u64) -> Round {
    Round { ways, least: Duration::from_secs(least) }
}

const ROUNDS: [Round; 5] = [
    round(&["eager", "graph"], 15),
    round(&["reduce-overhead"], 25),
    round(&["default"], 25),
    round(&["max-autotune"], 40),
    round(&[OWN_CHOICES], 15),
];
/// Longest for a round of a row.
const LIMIT: Duration = Duration::from_secs(100);

/// A row and what is known of it.
struct Row {
    case: Case,
    measured: Measured,
    /// Rounds that gave nothing: why.
    lost: Vec<String>,
    seconds: f64,
}

pub(crate) fn run_all(report: &mut Report, args: &Args, clock: &Clock) {
    let wanted = |case: &&Case| args.row.as_deref().is_none_or(|text| case.title().contains(text));
    let new = |case: &Case| Row { case: *case, measured: Measured::default(), lost: vec![], seconds: 0.0 };
    let mut rows: Vec<Row> = cases::of(args.target()).iter().filter(wanted).map(new).collect();
    report.put("Steps beside PyTorch's", Outcome::Passed, summary(&rows), 0.0);
    for round in ROUNDS {
        for i in 0..rows.len() {
            let row = &mut rows[i];
            let ways: Vec<&str> = round.ways.iter().copied().filter(|way| row.case.has(way)).collect();
            if ways.is_empty() {
                continue;
            }
            let (title, left) = (row.case.title(), clock.left());
            let before = report.seconds();
            eprintln!("== {title}: {}", ways.join(", "));
            if left < round.least {
                row.lost.push(format!("{}: not run, the time was over", ways.join(", ")));
            } else {
                let which = [("row", title.as_str()), ("ways", &ways.join(","))];
                let found = apart::step(args, Part::Rows, &which, left.min(LIMIT));
                row.take(&ways, found);
            }
            row.seconds += report.seconds() - before;
            eprintln!("   {}", row.outcome().text());
            report.put(&title, row.outcome(), row.body(), row.seconds);
            report.put("Steps beside PyTorch's", Outcome::Passed, summary(&rows), 0.0);
        }
    }
}

impl Row {
    /// Adds what a round found.
    fn take(&mut self, ways: &[&str], found: anyhow::Result<(Outcome, String)>) {
        let why = match found {
            Ok((Outcome::Passed, body)) => match serde_json::from_str::<Measured>(&body) {
                Ok(new) => {
                    let known = &mut self.measured;
                    known.ours.extend(new.ours);
                    known.theirs.extend(new.theirs);
                    known.choices.extend(new.choices);
                    known.chosen = new.chosen;
                    return;
                }
                Err(error) => error.to_string(),
            },
            Ok((outcome, _)) => outcome.text(),
            Err(error) => format!("{error:#}"),
        };
        self.lost.push(format!("{}: {why}", ways.join(", ")));
    }

    /// The median of ours.
    fn ours(&self) -> Option<f64> {
        let mut all = self.measured.ours.clone();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    /// PyTorch's fastest way.
    fn best(&self) -> Option<(&str, f64)> {
        let times =
            self.measured.theirs.iter().filter_map(|(way, time)| Some((way.as_str(), *time.as_ref().ok()?)));
        times.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn outcome(&self) -> Outcome {
        match (self.ours(), self.best()) {
            (None, _) => Outcome::Failed(self.lost.first().cloned().unwrap_or_default()),
            (Some(_), None) => Outcome::left_out("PyTorch gave no time to compare with"),
            (Some(_), Some(_)) => Outcome::Passed,
        }
    }

    fn body(&self) -> String {
        let mut text = String::from("| | ms per step | pictures per second |\n|---|--:|--:|\n");
        let mut line = |name: String, time: &Seconds| {
            let cells = match time {
                Ok(seconds) => format!("{:.3} | {:.0}", 1e3 * seconds, self.case.batch as f64 / seconds),
                Err(why) => format!("{} | ", why.replace(['\n', '|'], " ")),
            };
            let _ = writeln!(text, "| {name} | {cells} |"); // a string takes everything
        };
        if let Some(ours) = self.ours() {
            line("**resnet**".into(), &Ok(ours));
        }
        for (way, time) in &self.measured.theirs {
            line(format!("PyTorch, {}", torch::name(way)), time);
        }
        for (choice, time) in &self.measured.choices {
            line(format!("resnet, {choice}"), time);
        }
        let fold =
            |pick: fn(f64, f64) -> f64| self.measured.ours.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        let (least, most, n) = (1e3 * fold(f64::min), 1e3 * fold(f64::max), self.measured.ours.len());
        let _ = writeln!(text, "\nOurs is the median of {n} times, {least:.3} to {most:.3} ms.");
        for why in &self.lost {
            let _ = writeln!(text, "\nNot measured, {}.", why.replace('\n', " "));
        }
        if !self.measured.chosen.is_empty() {
            text.push_str("\nWhat computes the convolutions:\n\n");
            for chosen in &self.measured.chosen {
                let _ = writeln!(text, "- {chosen}");
            }
        }
        text
    }
}

/// All rows at a glance.
fn summary(rows: &[Row]) -> String {
    let mut text = String::from(
        "A step on pictures that lie on the device; details are below.\n\n\
         | case | ms | pictures per second | PyTorch's best, ms | its way | times as fast | aim |\n|---|--:|--:|--:|---|--:|--:|\n",
    );
    for row in rows {
        let (ours, best) = (row.ours(), row.best());
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
        };
        let way = best.map_or_else(|| "–".to_owned(), |(way, _)| torch::name(way));
        let ratio = best.zip(ours).map(|((_, best), ours)| best / ours);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {way} | {} | {:.2} |",
            row.case.title(),
            number(ours.map(|seconds| 1e3 * seconds), 3),
            number(ours.map(|seconds| row.case.batch as f64 / seconds), 0),
            number(best.map(|(_, seconds)| 1e3 * seconds), 3),
            number(ratio, 2),
            row.case.goal
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    #[test]
    fn a_row_keeps_what_it_has_when_a_round_is_lost() {
        let case = cases::of(Target::Device(0))[0];
        let mut row = Row { case, measured: Measured::default(), lost: vec![], seconds: 0.0 };
        assert!(matches!(row.outcome(), Outcome::Failed(_)));
        let theirs = vec![("eager".to_owned(), Ok(0.04)), ("graph".to_owned(), Err("no | graph".to_owned()))];
        let measured = Measured { ours: vec![0.03, 0.02, 0.025], theirs, ..Measured::default() };
        let body = serde_json::to_string(&measured).expect("is JSON");
        row.take(&["eager", "graph"], Ok((Outcome::Passed, body)));
        row.take(&["default"], Err(anyhow::anyhow!("the device fell off")));
        assert_eq!(
            (row.outcome(), row.ours(), row.best()),
            (Outcome::Passed, Some(0.025), Some(("eager", 0.04)))
        );
        let body = row.body();
        assert!(body.contains("| **resnet** | 25.000 | 10240 |"), "{body}");
        assert!(body.contains("CUDA graph | no   graph |  |"), "{body}");
        assert!(body.contains("Not measured, default: the device fell off."), "{body}");
        let summary = summary(&[row]);
        assert!(
            summary.contains("| 25.000 | 10240 | 40.000 | eager, channels-last | 1.60 | 1.25 |"),
            "{summary}"
        );
    }

    /// Every way of a row belongs to one round.
    #[test]
    fn no_way_is_forgotten() {
        for case in cases::of(Target::Device(0)).iter().chain(cases::of(Target::Emulator)) {
            for way in case.ways {
                assert_eq!(ROUNDS.iter().filter(|round| round.ways.contains(way)).count(), 1, "{way}");
            }
        }
    }
}
