use std::path::Path;

use crate::Error;
use crate::metrics::{EpochRecord, StepRecord};

/// Hears what happens while it happens. Closures that take an [`Event`] are observers.
pub trait Observer {
    /// Something happened.
    fn on(&mut self, event: &Event<'_>);
}

impl<F: FnMut(&Event<'_>)> Observer for F {
    fn on(&mut self, event: &Event<'_>) {
        self(event);
    }
}

/// What happens in a run. The trainer prints nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The loss was looked at.
    Step(&'a Progress),
    /// A line of the log.
    Log(&'a StepRecord),
    /// An evaluation goes on.
    Testing {
        /// Batches done.
        done: usize,
        /// Batches in all.
        total: usize,
    },
    /// An epoch ended.
    Epoch(&'a EpochRecord),
    /// A checkpoint was written and verified.
    Saved {
        /// Its directory.
        path: &'a Path,
        /// How long it took.
        seconds: f64,
    },
    /// Something failed that is no reason to stop: a checkpoint could not be written, the log or the best weights neither.
    Warning(&'a Error),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps of the run.
    pub total_steps: u64,
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Steps done in this epoch.
    pub step_in_epoch: u64,
    /// Steps of this epoch.
    pub steps_in_epoch: u64,
    /// Mean loss since the last look.
    pub loss: f64,
    /// Mean loss of the epoch so far.
    pub epoch_loss: f64,
    /// Accuracy of the epoch so far.
    pub epoch_accuracy: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Pictures per second of this epoch.
    pub images_per_s: f64,
    /// Seconds of training left in the run, at this rate.
    pub seconds_left: f64,
}
