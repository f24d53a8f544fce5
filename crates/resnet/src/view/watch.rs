//! What a run looks like while it trains.

use std::path::PathBuf;

use resnet::plot;
use resnet_train::metrics::{History, Record};
use resnet_train::trainer::{self, Event, Observer};

use super::number;
use super::output::say;
use super::progress::Progress;

/// Shows progress on stderr, epochs on stdout, and keeps the picture of the curves up to date.
pub(crate) struct Watch {
    /// Everything logged so far, an interrupted part included.
    pub(crate) history: History,
    title: String,
    steps_per_epoch: u64,
    /// Where the curves are drawn; nowhere if there is no run directory.
    curves: Option<PathBuf>,
    progress: Option<Progress>,
    /// The epoch whose bar is shown; 0 for a test.
    shown: u64,
    save_seconds: Option<f64>,
    n_steps: u64,
    is_first: bool,
}

impl Watch {
    /// Watches a run that begins, or goes on after `history`.
    pub(crate) fn new(
        title: String,
        steps_per_epoch: u64,
        curves: Option<PathBuf>,
        history: History,
    ) -> Self {
        Self {
            history,
            title,
            steps_per_epoch,
            curves,
            progress: None,
            shown: 0,
            save_seconds: None,
            n_steps: 0,
            is_first: true,
        }
    }

    /// For runs after the first one: what holds for all of them is not said again.
    pub(crate) fn again(mut self, again: bool) -> Self {
        self.is_first = !again;
        self
    }

    /// Removes the bar, before something else is printed.
    pub(crate) fn clear(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
    }

    fn step(&mut self, p: &trainer::Progress) {
        if self.progress.is_none() || self.shown != p.epoch {
            self.clear();
            let first = p.step_in_epoch.saturating_sub(1);
            self.progress = Some(Progress::new(format!("epoch {}", p.epoch), first, p.steps_in_epoch));
            self.shown = p.epoch;
        }
        self.n_steps += 1;
        if let Some(progress) = &mut self.progress {
            let left = number::clock(p.seconds_left);
            let note = format!(
                "{left} left  loss {:.4}  acc {:.3}  {:.0} img/s",
                p.epoch_loss, p.epoch_accuracy, p.images_per_s
            );
            progress.at(p.step_in_epoch, &note);
        }
        self.say_how_long_a_stop_takes(p);
    }

    /// Once, so that people can compare it with the grace of their launcher.
    fn say_how_long_a_stop_takes(&mut self, p: &trainer::Progress) {
        const SETTLED: u64 = 5;
        if self.n_steps != SETTLED || !self.is_first {
            return;
        }
        let Some(save) = self.save_seconds.take() else { return };
        let step = p.seconds_left / (p.total_steps - p.step).max(1) as f64;
        let line =
            format!("Ctrl-C saves and stops within about {} (step + save)", number::seconds(step + save));
        self.tell(&line);
    }

    /// A line on stderr, above the bar.
    fn tell(&self, line: &str) {
        match &self.progress {
            Some(progress) => progress.above(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn draw(&self) {
        let Some(path) = &self.curves else { return };
        let drawn = plot::training(&self.title, &self.history, self.steps_per_epoch)
            .map_err(anyhow::Error::new)
            .and_then(|svg| Ok(std::fs::write(path, svg)?));
        if let Err(e) = drawn {
            self.tell(&format!("warning: {}: cannot draw: {e}", path.display()));
        }
    }
}

impl Observer for Watch {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(progress) => self.step(progress),
            Event::Log(record) => self.history.push(Record::Step((*record).clone())),
            Event::Testing { done, total } => {
                if self.shown != 0 {
                    self.clear();
                    self.shown = 0;
                }
                let progress =
                    self.progress.get_or_insert_with(|| Progress::new("testing", 0, *total as u64));
                progress.at(*done as u64, "");
            }
            Event::Epoch(record) => {
                self.clear();
                say(record);
                self.history.push(Record::Epoch((*record).clone()));
                self.draw();
            }
            Event::Saved { seconds, .. } => self.save_seconds = Some(*seconds),
            Event::Warning(e) => self.tell(&format!("warning: {e}")),
            _ => {}
        }
    }
}
