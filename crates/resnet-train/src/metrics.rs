//! `metrics.jsonl`: one line of JSON per log interval and per epoch.
//!
//! Everything but the field `time` of a line is the same for the same recipe, data and backend, interrupted or not.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// Every `run.log_every` steps, and at the end of an epoch.
    Step(StepRecord),
    /// After every epoch.
    Epoch(EpochRecord),
}

/// The steps since the last line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps done.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Learning rate of the last of these steps.
    pub lr: f64,
    /// Mean training loss.
    pub loss: f64,
    /// Training accuracy.
    pub accuracy: f64,
    /// Norm of all gradients of the last step, before clipping. Where the recipe clips.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grad_norm: Option<f64>,
    /// Norm of the gradients of the first stage in the last step. Where the recipe asks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grad_norm_first_stage: Option<f64>,
    /// Norm of the gradients of the last stage in the last step. Where the recipe asks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grad_norm_last_stage: Option<f64>,
    /// By the wall clock.
    pub time: StepTime,
}

/// What the clock says about steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Seconds this epoch has trained.
    pub epoch_seconds: f64,
    /// Pictures per second of this epoch.
    pub images_per_s: f64,
}

/// An epoch, displayed as `epoch 1, loss 0.3995, train acc 0.853, test acc 0.849, 50.2 s, 1195 img/s`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Mean training loss, each batch with the weights it met.
    pub loss: f64,
    /// Training accuracy, alike.
    pub train_accuracy: f64,
    /// Result of the evaluation, in epochs that have one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test: Option<TestRecord>,
    /// By the wall clock.
    pub time: EpochTime,
}

/// Result of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestRecord {
    /// Mean loss, without label smoothing.
    pub loss: f64,
    /// Share of pictures whose class comes first.
    pub accuracy: f64,
    /// Share of pictures whose class is among the first five.
    pub top5: f64,
    /// Whether it is the best so far.
    pub is_best: bool,
}

/// What the clock says about an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochTime {
    /// Seconds of training.
    pub seconds: f64,
    /// Pictures trained per second.
    pub images_per_s: f64,
    /// Seconds of evaluation.
    pub test_seconds: f64,
}

impl fmt::Display for EpochRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, loss {:.4}, train acc {:.3}", self.epoch, self.loss, self.train_accuracy)?;
        if let Some(test) = &self.test {
            write!(f, ", test acc {:.3}", test.accuracy)?;
        }
        write!(f, ", {:.1} s, {:.0} img/s", self.time.seconds, self.time.images_per_s)
    }
}

/// All lines of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Log intervals, in order.
    pub steps: Vec<StepRecord>,
    /// Epochs, in order.
    pub epochs: Vec<EpochRecord>,
}

impl History {
    /// Adds a line.
    pub fn push(&mut self, record: Record) {
        match record {
            Record::Step(step) => self.steps.push(step),
            Record::Epoch(epoch) => self.epochs.push(epoch),
        }
    }

    /// Reads a log. A last line that was cut by a crash is left out.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] naming the line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        let mut history = History::default();
        for (i, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n')) {
            let record = serde_json::from_str(line).map_err(|e| {
                Error::format(&format!("{}:{}", path.display(), i + 1), e.to_string(), "a record")
            })?;
            history.push(record);
        }
        Ok(history)
    }
}

/// A log that is being written.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    /// Opens a log and cuts it to `bytes`. A shorter one is as it is.
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Self> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io(path, "open"))?;
        let len = file.metadata().map_err(Error::io(path, "open"))?.len().min(bytes);
        file.set_len(len).map_err(Error::io(path, "cut"))?;
        file.seek(SeekFrom::Start(len)).map_err(Error::io(path, "open"))?;
        Ok(Self { path: path.to_owned(), file, bytes: len })
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a line, whole or not at all.
    pub(crate) fn append(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record).map_err(|e| Error::invalid("metrics", e.to_string()))?;
        line.push(b'\n');
        if let Err(e) = self.file.write_all(&line) {
            // Take back what was written of it; if that fails too, the next resume cuts it.
            self.file.set_len(self.bytes).ok();
            self.file.seek(SeekFrom::Start(self.bytes)).ok();
            return Err(Error::io(&self.path, "write")(e));
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Returns when all lines are on the disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path, "sync"))
    }
}
