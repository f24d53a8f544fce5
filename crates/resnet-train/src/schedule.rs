//! The learning rate over time: a pure function of the step.
//!
//! It is evaluated at every step, not once per epoch. During a warm-up of `w` steps the rate rises linearly, from
//! `peak / w` at the first step to `peak` at the last one (Goyal et al. 2017, *Accurate, Large Minibatch SGD*, section 2.2).

use serde::{Deserialize, Serialize};

/// Table `[schedule]`: `name` chooses it, and with it the other fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Schedule {
    /// The same rate after the warm-up.
    Constant(Constant),
    /// Multiplied by a factor at each milestone. He et al. 2015, section 3.4.
    Step(Step),
    /// Half a cosine from the peak to the end, without restarts. Loshchilov & Hutter, *SGDR*, 2016, equation 5.
    Cosine(Cosine),
}

/// Fields of `name = "constant"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Constant {
    /// Epochs of linear rise; parts of an epoch are fine.
    pub warmup_epochs: f64,
}

/// Fields of `name = "step"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Epochs of linear rise; parts of an epoch are fine.
    pub warmup_epochs: f64,
    /// Epochs, counted from the start of the run, after which the rate is multiplied.
    pub milestones: Vec<f64>,
    /// What it is multiplied by.
    pub factor: f64,
}

/// Fields of `name = "cosine"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// Epochs of linear rise; parts of an epoch are fine.
    pub warmup_epochs: f64,
    /// The rate at the end of the run, as a part of the peak.
    pub final_factor: f64,
}

impl Default for Step {
    /// The three drops of the ImageNet recipe.
    fn default() -> Self {
        Self { warmup_epochs: 0.0, milestones: vec![30.0, 60.0, 90.0], factor: 0.1 }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule::Cosine(Cosine { warmup_epochs: 1.0, final_factor: 0.0 })
    }
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Steps of one epoch.
    pub steps_per_epoch: u64,
    /// Steps of the run.
    pub total_steps: u64,
}

impl Schedule {
    /// Epochs of linear rise.
    pub fn warmup_epochs(&self) -> f64 {
        match self {
            Schedule::Constant(s) => s.warmup_epochs,
            Schedule::Step(s) => s.warmup_epochs,
            Schedule::Cosine(s) => s.warmup_epochs,
        }
    }

    /// The rate of a step, counted from 0. `peak` is the largest one.
    pub fn lr(&self, peak: f64, step: u64, horizon: Horizon) -> f64 {
        let to_steps = |epochs: f64| (epochs * horizon.steps_per_epoch as f64).round() as u64;
        let warmup = to_steps(self.warmup_epochs());
        if step < warmup {
            return peak * (step + 1) as f64 / warmup as f64;
        }
        match self {
            Schedule::Constant(_) => peak,
            Schedule::Step(s) => {
                let passed = s.milestones.iter().filter(|m| to_steps(**m) <= step).count();
                peak * s.factor.powi(passed as i32)
            }
            Schedule::Cosine(s) => {
                let span = horizon.total_steps.saturating_sub(warmup).max(1);
                let along = ((step - warmup) as f64 / span as f64).min(1.0);
                let fall = 0.5 * (1.0 + (std::f64::consts::PI * along).cos());
                peak * (s.final_factor + (1.0 - s.final_factor) * fall)
            }
        }
    }
}
