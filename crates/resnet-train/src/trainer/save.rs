//! Checkpoints of a run: when, what, and back again.

use std::time::Instant;

use resnet_core::Backend;

use super::{Event, Observer, Run, Trainer};
use crate::checkpoint::{
    Best, FORMAT, Found, STATE, State, Store, Sums, TENSORS, read_tensors, write_tensors,
};
use crate::run::RunDir;
use crate::{Error, Result};

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Position {
    pub(super) step: u64,
    pub(super) epoch: u64,
    pub(super) epoch_sums: Sums,
    pub(super) log_sums: Sums,
    pub(super) epoch_seconds: f64,
    pub(super) best: Option<Best>,
}

impl Position {
    /// Pictures per second of this epoch.
    pub(super) fn images_per_s(&self) -> f64 {
        self.epoch_sums.count as f64 / self.epoch_seconds.max(f64::MIN_POSITIVE)
    }
}

/// When the next checkpoint is due.
#[derive(Debug)]
pub(super) struct Saving {
    store: Store,
    /// Step and epoch of the last save, by this process or the one before. A run that was stopped while an epoch was tested
    /// has saved the step, but not yet the end of the epoch.
    saved: Option<(u64, u64)>,
    /// After a failure: when to try again, and how many steps to wait after the next failure.
    retry: Option<(u64, u64)>,
}

/// What happens if a run cannot go on bit for bit: other recipe, other data, other backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResumePolicy {
    /// It is refused, naming every difference.
    #[default]
    Exact,
    /// It goes on from the saved weights with what is given now. The network and the optimizer must be the same.
    Inexact,
}

/// Where a resumed run goes on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Resumed {
    /// Steps done; 0 if there was no checkpoint yet.
    pub step: u64,
    /// Newer checkpoints that did not verify. They were left in place.
    pub rejected: Vec<Error>,
    /// What is not as it was, under [`ResumePolicy::Inexact`].
    pub differences: Vec<String>,
    /// Bytes of the log that were there when the checkpoint was written, and are not now.
    pub lost_log_bytes: u64,
}

impl<B: Backend> Trainer<B> {
    /// Writes this run to a new directory from now on.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn start_in(&mut self, dir: RunDir) -> Result<()> {
        dir.save_recipe(&self.recipe)?;
        let log = dir.log(0)?;
        self.attach(dir, log, None);
        Ok(())
    }

    /// Goes on with the run in a directory, from its newest good checkpoint.
    ///
    /// # Errors
    /// [`Error::Inexact`] under [`ResumePolicy::Exact`]; [`Error::Checkpoint`] if checkpoints are there and none is good;
    /// a checkpoint of another network.
    pub fn resume_from(&mut self, dir: RunDir, policy: ResumePolicy) -> Result<Resumed> {
        let store = dir.store(self.recipe.run.keep);
        store.sweep()?;
        let newest = store.newest()?;
        let Some(found) = newest.found else {
            if let Some(why) = newest.rejected.into_iter().next() {
                return Err(why);
            }
            self.start_in(dir)?;
            return Ok(Resumed { step: 0, rejected: vec![], differences: vec![], lost_log_bytes: 0 });
        };
        let state = State::parse(&found.path, file(&found, STATE)?)?;
        let differences = self.differences(&state)?;
        if policy == ResumePolicy::Exact && !differences.is_empty() {
            return Err(Error::Inexact { differences });
        }
        read_tensors(&mut self.backend, &mut self.params, file(&found, TENSORS)?)
            .map_err(|e| Error::checkpoint(&found.path, e.to_string()))?;
        self.lacks_start = false;
        dir.save_recipe(&self.recipe)?;
        let log = dir.log(state.metrics_bytes)?;
        let lost_log_bytes = state.metrics_bytes - log.bytes();
        self.restore_loss_scale(state.loss_scale)?;
        self.restore(&state);
        self.attach(dir, log, Some((self.at.step, self.at.epoch)));
        Ok(Resumed { step: state.step, rejected: newest.rejected, differences, lost_log_bytes })
    }

    fn attach(&mut self, dir: RunDir, log: crate::metrics::Log, saved: Option<(u64, u64)>) {
        let store = dir.store(self.recipe.run.keep);
        self.run = Some(Run { dir, log, saving: Saving { store, saved, retry: None } });
    }

    fn restore(&mut self, state: &State) {
        // Under an inexact resume the epoch may be cut otherwise than before; the step decides.
        let per_epoch = self.horizon.steps_per_epoch;
        let pending = state.epoch_sums.count > 0;
        let epoch = if pending { state.step.saturating_sub(1) } else { state.step } / per_epoch;
        self.at = Position {
            step: state.step,
            epoch,
            epoch_sums: state.epoch_sums,
            log_sums: state.log_sums,
            epoch_seconds: state.epoch_seconds,
            best: state.best,
        };
    }

    fn differences(&self, state: &State) -> Result<Vec<String>> {
        let mut found = self.recipe.differences(&state.recipe)?;
        if state.data != self.data_fingerprint {
            found.push(format!("data: {}, {} in the checkpoint", self.data_fingerprint, state.data));
        }
        if state.backend != self.backend.name() {
            found.push(format!("backend: {}, {} in the checkpoint", self.backend.name(), state.backend));
        }
        Ok(found)
    }

    /// Before the first step: disk, rights and quota show now, not after an epoch.
    pub(super) fn first_save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.at.step == 0 { self.last_save(observer) } else { Ok(()) }
    }

    /// A save that must succeed.
    pub(super) fn last_save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.run.as_ref().is_some_and(|run| run.saving.saved != Some((self.at.step, self.at.epoch))) {
            self.write_checkpoint(observer)?;
        }
        Ok(())
    }

    /// Saves every `save_every` steps, and where an earlier try failed.
    pub(super) fn save_if_due(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Some(run) = &self.run else { return Ok(()) };
        let (every, last) = (self.recipe.run.save_every, run.saving.saved.map_or(0, |s| s.0));
        // Looks may be rarer than saves: the first look after a multiple counts.
        let due = every > 0 && self.at.step / every > last / every;
        match run.saving.retry {
            Some((at, _)) if self.at.step >= at => self.save(observer),
            None if due => self.save(observer),
            _ => Ok(()),
        }
    }

    /// A save that may fail: then the old checkpoints stay, and it is tried again some steps later.
    pub(super) fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        const FIRST_WAIT: u64 = 10;
        match self.write_checkpoint(observer) {
            Err(e @ Error::NonFinite { .. }) => Err(e),
            Err(e) => {
                observer.on(&Event::Warning(&e));
                let step = self.at.step;
                if let Some(run) = &mut self.run {
                    let wait = run.saving.retry.map_or(FIRST_WAIT, |(_, wait)| wait.saturating_mul(2));
                    run.saving.retry = Some((step.saturating_add(wait), wait));
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn write_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.run.is_none() {
            return Ok(());
        }
        let started = Instant::now();
        let loss_scale = self.loss_scale()?;
        let tensors = write_tensors(&mut self.backend, &self.params)?;
        let tensors = tensors.map_err(|name| self.non_finite(&name))?;
        let Some(run) = &mut self.run else { return Ok(()) };
        run.log.sync()?; // the checkpoint says how long the log is
        let at = &self.at;
        let state = State {
            format: FORMAT,
            step: at.step,
            epoch: at.epoch,
            epoch_sums: at.epoch_sums,
            log_sums: at.log_sums,
            epoch_seconds: at.epoch_seconds,
            best: at.best,
            loss_scale,
            metrics_bytes: run.log.bytes(),
            recipe: self.recipe.clone(),
            data: self.data_fingerprint.clone(),
            backend: self.backend.name().to_owned(),
        };
        let json = state.to_json(run.dir.path())?;
        let best = at.best.map(|b| b.step);
        let path = run.saving.store.save(at.step, &[(TENSORS, &tensors), (STATE, &json)], best)?;
        run.saving.saved = Some((at.step, at.epoch));
        run.saving.retry = None;
        observer.on(&Event::Saved { path: &path, seconds: started.elapsed().as_secs_f64() });
        Ok(())
    }
}

fn file<'a>(found: &'a Found, name: &str) -> Result<&'a [u8]> {
    let file = found.content.iter().find(|(n, _)| n == name);
    file.map(|(_, bytes)| bytes.as_slice())
        .ok_or_else(|| Error::checkpoint(&found.path, format!("has no {name}")))
}
