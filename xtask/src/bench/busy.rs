//! Whether anything else runs on the machine. A comparison on a busy machine says nothing about either program.

use std::time::Duration;

/// Above this share of the processors, in percent, the report carries a warning.
const QUIET_PERCENT: f64 = 5.0;

/// How long one look takes.
const LOOK: Duration = Duration::from_millis(500);

/// The busiest of several looks, in percent of all processors. Nothing where the system does not tell.
#[derive(Default)]
pub(crate) struct Busy {
    percent: Option<f64>,
}

impl Busy {
    /// Looks once, while nothing of ours runs.
    pub(crate) fn sample(&mut self) {
        let read = || std::fs::read_to_string("/proc/stat").ok().and_then(|stat| ticks(&stat));
        let Some(before) = read() else { return };
        std::thread::sleep(LOOK);
        let Some(after) = read() else { return };
        let percent = share(before, after);
        if percent > QUIET_PERCENT {
            eprintln!("warning: other programs use {percent:.0} % of the processors");
        }
        self.percent = Some(self.percent.map_or(percent, |most| most.max(percent)));
    }

    /// A line for the report.
    pub(crate) fn describe(&self) -> String {
        match self.percent {
            None => "How busy the machine was is not known on this system.".to_owned(),
            Some(percent) if percent <= QUIET_PERCENT => {
                format!(
                    "The machine was quiet: before the rounds, other programs used at most {percent:.0} % of it."
                )
            }
            Some(percent) => format!(
                "**Not a measurement:** before the rounds, other programs used up to {percent:.0} % of the processors."
            ),
        }
    }
}

/// Busy ticks and all ticks since the start, from the first line of Linux's `/proc/stat`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?; // idle, and waiting for input or output
    Some((all - idle, all))
}

fn share(before: (u64, u64), after: (u64, u64)) -> f64 {
    let (busy, all) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    if all == 0 { 0.0 } else { 100.0 * busy as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_linux() {
        let stat = "cpu  10 1 4 100 5 0 0 0 0 0\ncpu0 10 1 4 100 5 0 0 0 0 0\n";
        assert_eq!(ticks(stat), Some((15, 120)));
        assert_eq!(ticks("cpu x"), None);
        assert_eq!(ticks(""), None);
        assert_eq!(share((15, 120), (20, 140)), 25.0);
        assert_eq!(share((15, 120), (15, 120)), 0.0);
    }

    #[test]
    fn a_busy_machine_is_said_to_be() {
        assert!(Busy { percent: Some(40.0) }.describe().starts_with("**Not a measurement"));
        assert!(Busy { percent: Some(1.0) }.describe().starts_with("The machine was quiet"));
    }
}
