//! Looking at the loss: the only place where a step waits for the device.

use std::collections::VecDeque;
use std::time::Instant;

use resnet_core::{Accumulate, Backend, ParamId, Part};

use super::{Event, Observer, Progress, Trainer};
use crate::checkpoint::Sums;
use crate::metrics::{Record, StepRecord, StepTime};
use crate::{Error, Result};

/// What the device has summed since the last look.
#[derive(Debug, Default)]
pub(super) struct Window {
    has_sums: bool,
    /// The last mean losses, the oldest first.
    last_losses: VecDeque<f64>,
}

impl Window {
    const N_LOSSES: usize = 5;

    /// How the next loss goes to the device's sums.
    pub(super) fn accumulate(&mut self) -> Accumulate {
        if std::mem::replace(&mut self.has_sums, true) { Accumulate::Add } else { Accumulate::Set }
    }

    fn remember(&mut self, loss: f64) {
        self.last_losses.push_back(loss);
        if self.last_losses.len() > Self::N_LOSSES {
            self.last_losses.pop_front();
        }
    }
}

impl<B: Backend> Trainer<B> {
    /// Looks at the loss after every `check_every` steps of an epoch and at its end, and writes the log where that is due.
    /// Answers whether it looked.
    pub(super) fn look_if_due(&mut self, clock: &mut Instant, observer: &mut dyn Observer) -> Result<bool> {
        let ends = self.at.step == self.end_of_epoch();
        if !ends && !self.at.step.is_multiple_of(self.recipe.run.check_every) {
            return Ok(false);
        }
        let metrics = self.net.metrics(&mut self.backend)?;
        self.at.epoch_seconds += clock.elapsed().as_secs_f64();
        self.window.has_sums = false;
        let mut sums = Sums::default();
        if metrics.non_finite == 0.0 && metrics.loss_sum.is_finite() {
            sums.add(&metrics);
            self.at.epoch_sums.add(&metrics);
            self.at.log_sums.add(&metrics);
        } else if !self.tries_smaller_scale()? {
            return Err(self.non_finite("the loss"));
        }
        self.window.remember(sums.mean_loss());
        let progress = self.progress(sums.mean_loss());
        observer.on(&Event::Step(&progress));
        // Nothing to tell of steps that were all left out.
        let due = ends || self.at.step.is_multiple_of(self.recipe.run.log_every);
        if due && self.at.log_sums.count > 0 {
            let record = self.step_record()?;
            observer.on(&Event::Log(&record));
            self.append(Record::Step(record), observer);
            self.at.log_sums = Sums::default();
        }
        Ok(true)
    }

    pub(super) fn non_finite(&self, what: &str) -> Error {
        let last_losses = self.window.last_losses.iter().copied().collect();
        Error::NonFinite { step: self.at.step, what: what.to_owned(), lr: self.last_lr(), last_losses }
    }

    fn progress(&self, loss: f64) -> Progress {
        let (at, horizon) = (&self.at, self.horizon);
        let first = at.epoch * horizon.steps_per_epoch;
        let images_per_s = at.images_per_s();
        Progress {
            step: at.step,
            total_steps: horizon.total_steps,
            epoch: at.epoch + 1,
            step_in_epoch: at.step - first,
            steps_in_epoch: self.end_of_epoch() - first,
            loss,
            epoch_loss: at.epoch_sums.mean_loss(),
            epoch_accuracy: at.epoch_sums.accuracy(),
            lr: self.last_lr(),
            images_per_s,
            seconds_left: (horizon.total_steps - at.step) as f64 * self.recipe.train.batch as f64
                / images_per_s,
        }
    }

    fn step_record(&mut self) -> Result<StepRecord> {
        let norm = self.training.norm(&mut self.backend)?;
        let scale = self.last_loss_scale()?;
        let stages = self.recipe.run.grad_norms;
        let last = format!("layer{}.", self.spec.depths.len());
        Ok(StepRecord {
            step: self.at.step,
            epoch: self.at.epoch + 1,
            lr: self.last_lr(),
            loss: self.at.log_sums.mean_loss(),
            accuracy: self.at.log_sums.accuracy(),
            grad_norm: norm.map(|norm| f64::from(norm / scale)).filter(|norm| norm.is_finite()),
            grad_norm_first_stage: stages.then(|| self.stage_norm("layer1.", scale)).transpose()?,
            grad_norm_last_stage: stages.then(|| self.stage_norm(&last, scale)).transpose()?,
            time: StepTime { epoch_seconds: self.at.epoch_seconds, images_per_s: self.at.images_per_s() },
        })
    }

    /// Norm of the gradients of all parameters whose name starts so, computed on the host in f64. `scale`: the loss scale in them.
    fn stage_norm(&mut self, prefix: &str, scale: f32) -> Result<f64> {
        let mut sum = 0.0;
        for id in (0..self.params.list.len()).map(ParamId) {
            if self.params.list[id.0].grad.is_some() && self.params.specs()[id.0].name.starts_with(prefix) {
                let gradient = self.params.read(&mut self.backend, id, Part::Grad)?;
                sum += gradient.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            }
        }
        Ok(sum.sqrt() / f64::from(scale))
    }

    /// Adds a line to the log. One that cannot be written is no reason to stop.
    pub(super) fn append(&mut self, record: Record, observer: &mut dyn Observer) {
        if let Some(run) = &mut self.run
            && let Err(e) = run.log.append(&record)
        {
            observer.on(&Event::Warning(&e));
        }
    }
}
