use std::path::Path;

use resnet_core::op::{LossScaleState, Metrics};
use serde::{Deserialize, Serialize};

use super::manifest;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// Where a run stands, and what it must be for that to mean anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`FORMAT`](super::FORMAT).
    pub format: u32,
    /// Steps done. Also Adam's t.
    pub step: u64,
    /// The epoch that is running, counted from 0.
    pub epoch: u64,
    /// What this epoch has summed so far.
    pub epoch_sums: Sums,
    /// What was summed since the last line of the log.
    pub log_sums: Sums,
    /// Seconds this epoch has trained so far.
    pub epoch_seconds: f64,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// The loss scale, in half precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScaleState>,
    /// Length of the log.
    pub metrics_bytes: u64,
    /// The recipe. A run goes on with the same, `[run]` excepted.
    pub recipe: Recipe,
    /// Fingerprint of the data.
    pub data: String,
    /// Name of the backend: another one rounds differently.
    pub backend: String,
}

/// Sums over training pictures. Each picture is counted with the weights it was computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// Sum of losses.
    pub loss: f64,
    /// Pictures whose class was right.
    pub hits: u64,
    /// Pictures.
    pub count: u64,
}

impl Sums {
    /// Adds what a device summed.
    pub fn add(&mut self, metrics: &Metrics) {
        self.loss += f64::from(metrics.loss_sum);
        self.hits += metrics.hits as u64;
        self.count += metrics.count as u64;
    }

    /// Mean loss.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.count as f64
    }

    /// Share of hits.
    pub fn accuracy(&self) -> f64 {
        self.hits as f64 / self.count as f64
    }
}

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The epoch it came after, counted from 1.
    pub epoch: u64,
    /// The step it came after.
    pub step: u64,
    /// Test accuracy.
    pub accuracy: f64,
    /// Test loss, which decides between equal accuracies.
    pub loss: f64,
}

impl State {
    /// Reads what [`State::to_json`] wrote. `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for another version, naming both, and for unknown or missing fields.
    pub fn parse(path: &Path, json: &[u8]) -> Result<Self> {
        manifest::versioned(super::STATE, json).map_err(|why| Error::checkpoint(path, why))
    }

    /// As JSON. Every number survives exactly.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming `path` if it cannot be written.
    pub fn to_json(&self, path: &Path) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::checkpoint(path, e.to_string()))
    }
}
