use resnet_core::op::Optimizer;
use serde::{Deserialize, Serialize};

/// Table `[optimizer]`: the rule of the update. `name` chooses it, and with it the other fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum OptimizerRecipe {
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam with L2 regularisation.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(Adam),
}

/// Fields of `name = "sgd"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Largest learning rate of the schedule.
    pub lr: f64,
    /// Share of the velocity that is kept.
    pub momentum: f64,
    /// Whether the step looks ahead. Needs a momentum.
    pub nesterov: bool,
    /// Pull of the weights towards zero.
    pub weight_decay: f64,
    /// Whether weight decay also applies to normalisations and biases.
    pub decay_norm_and_bias: bool,
}

/// Fields of `name = "adam"` and `name = "adamw"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Largest learning rate of the schedule.
    pub lr: f64,
    /// Share of the first moment that is kept.
    pub beta1: f64,
    /// Share of the second moment that is kept.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Pull of the weights towards zero.
    pub weight_decay: f64,
    /// Whether weight decay also applies to normalisations and biases.
    pub decay_norm_and_bias: bool,
}

impl Default for Sgd {
    /// He et al. 2015, section 3.4, with Nesterov's step; the rate is for a batch of about 128.
    fn default() -> Self {
        Self { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-4, decay_norm_and_bias: false }
    }
}

impl Default for Adam {
    /// Kingma & Ba 2014, algorithm 1.
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decay_norm_and_bias: false }
    }
}

impl Default for OptimizerRecipe {
    fn default() -> Self {
        OptimizerRecipe::Sgd(Sgd::default())
    }
}

impl OptimizerRecipe {
    /// The rule, as backends take it.
    pub fn rule(&self) -> Optimizer {
        match self {
            OptimizerRecipe::Sgd(s) => Optimizer::Sgd {
                momentum: s.momentum as f32,
                nesterov: s.nesterov,
                weight_decay: s.weight_decay as f32,
            },
            OptimizerRecipe::Adam(a) => Optimizer::Adam {
                beta1: a.beta1 as f32,
                beta2: a.beta2 as f32,
                eps: a.eps as f32,
                weight_decay: a.weight_decay as f32,
            },
            OptimizerRecipe::AdamW(a) => Optimizer::AdamW {
                beta1: a.beta1 as f32,
                beta2: a.beta2 as f32,
                eps: a.eps as f32,
                weight_decay: a.weight_decay as f32,
            },
        }
    }

    /// Largest learning rate of the schedule.
    pub fn lr(&self) -> f64 {
        match self {
            OptimizerRecipe::Sgd(s) => s.lr,
            OptimizerRecipe::Adam(a) | OptimizerRecipe::AdamW(a) => a.lr,
        }
    }

    /// Whether weight decay also applies to normalisations and biases.
    pub fn decay_norm_and_bias(&self) -> bool {
        match self {
            OptimizerRecipe::Sgd(s) => s.decay_norm_and_bias,
            OptimizerRecipe::Adam(a) | OptimizerRecipe::AdamW(a) => a.decay_norm_and_bias,
        }
    }
}
