use crate::{Error, Result};

/// Batch normalisation, split into the part that needs the whole batch and the part that each reader does by itself.
///
/// # Shapes
/// All tensors are tables over `c` channels; `m` is the number of values each channel was summed over (`n·h·w`).
///
/// # Semantics
/// With batch mean `μ` and **biased** batch variance `σ²` (divided by `m`):
/// ```text
/// inv_std = 1 / sqrt(σ² + eps)
/// scale   = γ · inv_std              shift = β − scale · μ
/// running_mean ← (1 − momentum) · running_mean + momentum · μ
/// running_var  ← (1 − momentum) · running_var  + momentum · σ² · m / (m − 1)     (σ² alone if `unbiased` is off or m = 1)
/// ```
/// Backward, with the masked gradient `g` of the normalised value and the raw tensor `y`:
/// ```text
/// dβ = Σ g          dγ = inv_std · (Σ g·y − μ · Σ g)
/// dy = A·g + B·y + C,   A = γ·inv_std,   B = −γ·inv_std²·dγ / m,   C = −A·dβ/m − B·μ
/// ```
/// Frozen: `scale = γ / sqrt(running_var + eps)`, `shift = β − scale · running_mean`; backward `dy = scale·g`.
///
/// PyTorch keeps the unbiased variance in `running_var`; Keras 3 and Paddle keep the biased one.
///
/// # Source
/// Ioffe & Szegedy, *Batch Normalization*, 2015, algorithm 1 and section 3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    c: usize,
    m: usize,
    eps: f32,
    momentum: f32,
    unbiased: bool,
}

impl BatchNorm {
    /// Describes a normalisation of `c` channels over `m` values each.
    /// `momentum` is the weight of the new batch, as PyTorch writes it (Keras and Paddle write `1 − momentum`).
    ///
    /// # Errors
    /// [`Error::Invalid`] if `c` or `m` is zero, `eps` is not positive or `momentum` is outside `0..=1`.
    pub fn new(c: usize, m: usize, eps: f32, momentum: f32, unbiased: bool) -> Result<Self> {
        if c == 0 || m == 0 {
            return Err(Error::invalid(
                "batch norm",
                format!("{c} channels over {m} values: both must be at least 1"),
            ));
        }
        if !(eps > 0.0 && eps.is_finite() && (0.0..=1.0).contains(&momentum)) {
            return Err(Error::invalid(
                "batch norm",
                format!("eps {eps} must be positive and momentum {momentum} within 0 and 1"),
            ));
        }
        Ok(Self { c, m, eps, momentum, unbiased })
    }

    /// Channels.
    pub fn c(&self) -> usize {
        self.c
    }
    /// Values per channel.
    pub fn m(&self) -> usize {
        self.m
    }
    /// Added to the variance.
    pub fn eps(&self) -> f32 {
        self.eps
    }
    /// Weight of the new batch in the running statistics.
    pub fn momentum(&self) -> f32 {
        self.momentum
    }
    /// Whether the running variance takes the unbiased estimate.
    pub fn unbiased(&self) -> bool {
        self.unbiased
    }
}
