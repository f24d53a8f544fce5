use crate::TensorDesc;

/// The rule by which an update changes the parameters. Plain data; the numbers that change every step are in [`StepScalars`].
///
/// For each trainable parameter `p` with gradient `g` (already clipped), learning rate `η = lr · lr_scale` and weight decay
/// `λ` (zero for a parameter that is exempt), all element by element:
///
/// ```text
/// Sgd    g ← g + λ·p;  v ← momentum·v + g;  p ← p − η·v            (Nesterov: p ← p − η·(g + momentum·v))
/// Adam   g ← g + λ·p;  m ← m + (1−β₁)(g − m);  v ← β₂·v + (1−β₂)·g²
///        p ← p − η/c₁ · m / (sqrt(v)/sqrt(c₂) + eps)               c₁ = 1 − β₁ᵗ, c₂ = 1 − β₂ᵗ
/// AdamW  p ← p − η·λ·p, then as Adam without λ
/// ```
///
/// The velocity starts at zero, so the first SGD step is `v = g`. These are PyTorch's forms (`torch.optim.SGD`, `Adam`, `AdamW`).
/// Other libraries write the learning rate inside the velocity, which is the same only while the rate is constant.
///
/// # Source
/// Sutskever et al. 2013 (Nesterov); Kingma & Ba, *Adam*, 2014, algorithm 1; Loshchilov & Hutter, *Decoupled Weight Decay*, 2017.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Share of the velocity that is kept.
        momentum: f32,
        /// Whether the step looks ahead.
        nesterov: bool,
        /// λ.
        weight_decay: f32,
    },
    /// Adam with L2 regularisation.
    Adam {
        /// β₁.
        beta1: f32,
        /// β₂.
        beta2: f32,
        /// Added to the denominator.
        eps: f32,
        /// λ.
        weight_decay: f32,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// β₁.
        beta1: f32,
        /// β₂.
        beta2: f32,
        /// Added to the denominator.
        eps: f32,
        /// λ.
        weight_decay: f32,
    },
}

impl Optimizer {
    /// How many state tensors of its own size each parameter needs.
    pub fn n_states(&self) -> usize {
        match self {
            Optimizer::Sgd { momentum, .. } => usize::from(*momentum != 0.0),
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => 2,
        }
    }

    /// The bias corrections c₁ and c₂ of step `t`, counted from 1. Ones for SGD.
    pub fn bias_corrections(&self, t: u64) -> (f32, f32) {
        match *self {
            Optimizer::Sgd { .. } => (1.0, 1.0),
            Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
                let c = |beta: f32| (1.0 - power(f64::from(beta), t)) as f32;
                (c(beta1), c(beta2))
            }
        }
    }
}

/// `base` multiplied by itself, by squaring, so that a device that does the same gets the same bits.
fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent % 2 == 1 {
            result *= square;
        }
        square *= square;
        exponent /= 2;
    }
    result
}

/// The numbers that change every step. They live in a small device buffer, so that a recorded step can be replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepScalars {
    /// Learning rate.
    pub lr: f32,
    /// Adam's c₁ of this step.
    pub correction1: f32,
    /// Adam's c₂ of this step.
    pub correction2: f32,
    /// Mixing weight λ of the first label.
    pub lambda: f32,
    /// Factor on the gradient of the loss: 1 over the number of micro-batches, times a loss scale where there is one.
    pub grad_scale: f32,
    /// Largest global gradient norm; infinite where gradients are not clipped.
    pub max_norm: f32,
    /// Undoes a loss scale: gradients, and the norm that is compared with `max_norm`, are multiplied by it as they are read.
    /// 1 where the loss is not scaled.
    pub unscale: f32,
    /// The number of this step, from 1 on, steps that were left out among them; whole numbers up to 2²⁴.
    /// By then the corrections of any β below 1 − 10⁻⁵ are 1 in f32.
    pub step: f32,
}

impl StepScalars {
    /// Step `t` of a rule, counted from 1, with everything else as by default.
    pub fn of_step(rule: &Optimizer, t: u64) -> Self {
        let (correction1, correction2) = rule.bias_corrections(t);
        Self { correction1, correction2, step: t as f32, ..Self::default() }
    }

    /// The buffer: a table of one row and eight columns.
    pub fn desc() -> TensorDesc {
        TensorDesc::table(1, 8)
    }

    /// The buffer's content, in the order of the fields.
    pub fn to_array(&self) -> [f32; 8] {
        [
            self.lr,
            self.correction1,
            self.correction2,
            self.lambda,
            self.grad_scale,
            self.max_norm,
            self.unscale,
            self.step,
        ]
    }

    /// The inverse of [`StepScalars::to_array`].
    pub fn from_array(a: [f32; 8]) -> Self {
        Self {
            lr: a[0],
            correction1: a[1],
            correction2: a[2],
            lambda: a[3],
            grad_scale: a[4],
            max_norm: a[5],
            unscale: a[6],
            step: a[7],
        }
    }
}

impl Default for StepScalars {
    fn default() -> Self {
        Self {
            lr: 0.0,
            correction1: 1.0,
            correction2: 1.0,
            lambda: 1.0,
            grad_scale: 1.0,
            max_norm: f32::INFINITY,
            unscale: 1.0,
            step: 1.0,
        }
    }
}
