//! The training loop: one screen, one direction. A step itself is [`TrainingStep`].
//!
//! Reading order: this file is the loop; `observe` says what it tells while it runs; `setup` builds it from a recipe;
//! `look` reads the loss and writes the log; `finish` ends an epoch; `scaling` follows the loss scale of half precision; `save` writes and restores checkpoints.

mod finish;
mod look;
mod observe;
mod save;
mod scaling;
mod setup;

pub use observe::{Event, Observer, Progress};
pub use save::{ResumePolicy, Resumed};

use std::collections::HashMap;
use std::time::Instant;

use resnet_core::op::StepScalars;
use resnet_core::{Accumulate, Backend, Executor, Graph, Params, Pass, Plan, RecordingKey, TrainingStep};

use crate::checkpoint::Best;
use crate::data::{Dataset, Epoch};
use crate::feed::Feed;
use crate::metrics::Log;
use crate::recipe::Recipe;
use crate::run::RunDir;
use crate::schedule::Horizon;
use crate::{Error, Result};
use look::Window;
use resnet_core::zoo::ResNetSpec;
use save::Position;

/// Trains one network on one device.
#[derive(Debug)]
pub struct Trainer<B: Backend> {
    backend: B,
    recipe: Recipe,
    data: Dataset,
    data_fingerprint: String,
    spec: ResNetSpec,
    graph: Graph,
    horizon: Horizon,
    train_feed: Feed<B>,
    test_feed: Feed<B>,
    params: Params<B>,
    net: Executor<B>,
    test_net: Executor<B>,
    training: TrainingStep<B>,
    at: Position,
    /// Whether the weights that the recipe wants to start from have not been given, nor a checkpoint.
    lacks_start: bool,
    window: Window,
    /// What was recorded, by what it does besides what it reads from the device: network, rule, and which parameters move are
    /// fixed for the life of a trainer.
    recordings: HashMap<Pass, RecordingKey>,
    /// The same for a batch of an evaluation.
    test_key: RecordingKey,
    run: Option<Run>,
}

/// What a run with a directory has besides.
#[derive(Debug)]
struct Run {
    dir: RunDir,
    log: Log,
    saving: save::Saving,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// All epochs are done.
    Finished {
        /// The best evaluation.
        best: Option<Best>,
    },
    /// It was asked to stop, and can be resumed where there is a run directory.
    Stopped {
        /// Steps done.
        step: u64,
    },
}

impl<B: Backend> Trainer<B> {
    /// Trains until the recipe's end, or until `stop` answers true: then the step is finished, the state saved, and that
    /// is all.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if loss or weights are no numbers any more; a first or last save that fails; what the loader
    /// and the backend return. Other saves that fail are told to the observer, and training goes on.
    pub fn train(&mut self, observer: &mut dyn Observer, stop: &dyn Fn() -> bool) -> Result<Outcome> {
        if self.lacks_start {
            return Err(Error::invalid(
                "finetune.weights",
                "the recipe starts from weights, but none were given",
            ));
        }
        self.first_save(observer)?;
        while self.at.step < self.horizon.total_steps || self.at.epoch_sums.count > 0 {
            let stopped = self.train_epoch(observer, stop)? || self.finish_epoch(observer, stop)?;
            if stopped {
                self.last_save(observer)?;
                return Ok(Outcome::Stopped { step: self.at.step });
            }
        }
        self.last_save(observer)?;
        Ok(Outcome::Finished { best: self.at.best })
    }

    /// Trains what is left of the epoch. Answers whether it was stopped.
    fn train_epoch(&mut self, observer: &mut dyn Observer, stop: &dyn Fn() -> bool) -> Result<bool> {
        if self.at.step == self.end_of_epoch() {
            return Ok(false); // the run was stopped while the epoch was tested
        }
        let first = self.at.step - self.at.epoch * self.horizon.steps_per_epoch;
        let n_parts = self.recipe.train.micro_batches;
        let mut batches = self.train_feed.epoch(self.at.epoch, first as usize * n_parts)?;
        let mut n_valid = self.put_next(&mut batches)?;
        let mut clock = Instant::now();
        while self.at.step < self.end_of_epoch() {
            let scalars = self.scalars();
            self.net.set_scalars(&mut self.backend, &scalars)?;
            for part in 0..n_parts {
                let last = part + 1 == n_parts;
                self.run_part(n_valid, part, last)?;
                // Before anybody waits for this part, so that the way to the device overlaps with it.
                if !(last && self.at.step + 1 == self.end_of_epoch()) {
                    n_valid = self.put_next(&mut batches)?;
                }
            }
            self.at.step += 1;
            if self.look_if_due(&mut clock, observer)? {
                self.save_if_due(observer)?;
                if stop() {
                    return Ok(true);
                }
                clock = Instant::now();
            }
        }
        Ok(false)
    }

    /// Sends the next batch on its way, after everything issued so far. How many of its pictures count.
    fn put_next(&mut self, batches: &mut Epoch) -> Result<usize> {
        let batch = batches.next().ok_or_else(|| Error::invalid("loader", "ended before the epoch"))??;
        self.train_feed.put(&mut self.backend, &mut self.net, &batch)?;
        self.net.put_labels(&mut self.backend, &batch.labels, None)?;
        Ok(batch.n_valid)
    }

    /// Forward, loss and backward of one part of a batch; after the last part, gradients to weights.
    /// Only uploads differ from step to step, so the rest is recorded where the backend can do that.
    fn run_part(&mut self, n_valid: usize, part: usize, last: bool) -> Result<()> {
        let gradients = if part == 0 { Accumulate::Set } else { Accumulate::Add };
        let pass = Pass { metrics: self.window.accumulate(), gradients, n_valid, updates: last };
        let Self { backend, net, params, training, recordings, train_feed, .. } = self;
        let key = *recordings.entry(pass).or_insert_with(|| backend.new_recording());
        backend.recorded(key, |backend| {
            training.compute(backend, net, params, pass, |net, backend| train_feed.ingest(backend, net))
        })?;
        Ok(())
    }

    /// The numbers of the step to come. Which steps were left out is known on the device alone.
    fn scalars(&self) -> StepScalars {
        StepScalars {
            lr: self.lr(self.at.step) as f32,
            grad_scale: 1.0 / self.recipe.train.micro_batches as f32,
            max_norm: self.recipe.train.clip_norm.map_or(f32::INFINITY, |v| v as f32),
            ..StepScalars::of_step(self.training.rule(), self.at.step + 1)
        }
    }

    /// The learning rate of a step, counted from 0.
    fn lr(&self, step: u64) -> f64 {
        self.recipe.schedule.lr(self.recipe.optimizer.lr(), step, self.horizon)
    }

    /// The learning rate of the last step.
    fn last_lr(&self) -> f64 {
        self.lr(self.at.step.saturating_sub(1))
    }

    /// The step after which the epoch ends, or the run.
    fn end_of_epoch(&self) -> u64 {
        ((self.at.epoch + 1) * self.horizon.steps_per_epoch).min(self.horizon.total_steps)
    }

    /// The network.
    pub fn spec(&self) -> &ResNetSpec {
        &self.spec
    }

    /// The network's layers.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Memory and work of a step, for printing before the first one.
    pub fn plan(&self) -> &Plan {
        self.net.plan()
    }

    /// The effective recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Where the training pictures come from, for printing; `None` for a backend that never keeps pictures on its device.
    pub fn feeding(&self) -> Option<String> {
        let keeps = self.train_feed.is_on_device() || self.backend.room_for_pictures() > 0;
        keeps.then(|| self.train_feed.describe())
    }

    /// The data.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// The backend, for printing what it is.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Steps of an epoch and of the run.
    pub fn horizon(&self) -> Horizon {
        self.horizon
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.at.step
    }

    /// The best evaluation so far.
    pub fn best(&self) -> Option<Best> {
        self.at.best
    }

    /// All parameters on the host, in the order of [`Graph::params`], each in file order.
    ///
    /// # Errors
    /// Device errors.
    pub fn values(&mut self) -> Result<Vec<Vec<f32>>> {
        Ok(self.params.values(&mut self.backend)?)
    }
}
