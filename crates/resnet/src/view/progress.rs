//! How far something is: a bar in a terminal, a line now and then elsewhere. Both on stderr.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Progress through a known number of steps.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: String,
    n: u64,
    last_line: Instant,
}

impl Progress {
    /// Begins at step `first` of `n`: something resumed starts in the middle.
    pub(crate) fn new(what: impl Into<String>, first: u64, n: u64) -> Self {
        let what = what.into();
        let bar = ProgressBar::with_draw_target(Some(n), ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:18.cyan/dim} {pos}/{len}  {wide_msg}")
        {
            bar.set_style(style.progress_chars("━╾─"));
        }
        bar.set_prefix(what.clone());
        bar.set_position(first);
        Self { bar, what, n, last_line: Instant::now() }
    }

    /// `done` steps are done; `note` says how it goes.
    pub(crate) fn at(&mut self, done: u64, note: &str) {
        if !self.bar.is_hidden() {
            self.bar.set_message(note.to_owned());
            self.bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_EVERY && done < self.n {
            self.last_line = Instant::now();
            eprintln!("{} {done}/{}  {note}", self.what, self.n);
        }
    }

    /// Prints something without tearing the bar.
    pub(crate) fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Removes the bar.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
