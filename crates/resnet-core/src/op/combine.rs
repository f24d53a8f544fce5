use crate::{DType, Error, Result, TensorDesc};

/// Writes the value of a [`Source`](crate::Source) where it must exist in memory: a block's output.
///
/// # Shapes
/// Input, residual and output are all `n × h × w × c` activations.
///
/// # Semantics
/// Forward: `z = act(scale·raw + shift + residual)`, and the batch sums of `z` where the next normalisation wants them.
/// Backward: writes a [`GradSource`](crate::GradSource) through a [`GradOut`](crate::GradOut):
/// `dx = mask ⊙ (A·dz + B·y + C + add)`. It is needed where a gradient has several parts, as in pre-activation networks.
///
/// # Cost
/// One read and one write of an activation, two reads with a residual.
///
/// # Source
/// He et al., *Deep Residual Learning for Image Recognition*, 2015, eq. 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Combine {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    dtype: DType,
}

impl Combine {
    /// Describes a pass over an activation of `n × h × w × c`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an extent is zero.
    pub fn new(n: usize, h: usize, w: usize, c: usize, dtype: DType) -> Result<Self> {
        if n == 0 || h == 0 || w == 0 || c == 0 {
            return Err(Error::invalid("combine", format!("extents {n}×{h}×{w}×{c} must all be at least 1")));
        }
        Ok(Self { n, h, w, c, dtype })
    }

    /// Input and output alike.
    pub fn desc(&self) -> TensorDesc {
        TensorDesc::activation(self.dtype, self.n, self.h, self.w, self.c)
    }
    /// Channels.
    pub fn c(&self) -> usize {
        self.c
    }
    /// Pixels over the whole batch.
    pub fn rows(&self) -> usize {
        self.n * self.h * self.w
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
}
