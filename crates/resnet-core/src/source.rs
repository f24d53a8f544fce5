//! Tensors as ops read and write them: raw in memory, normalised when read.
//!
//! A convolution writes its raw output once and sums its batch statistics in the same pass.
//! The next reader applies normalisation, residual and ReLU while it loads, so the normalised activation never has to exist in memory.
//! Backward mirrors it: the gradient of a raw tensor is `A·dz + B·y + C` per channel, evaluated while it is loaded.
//! (Jung et al., *Restructuring Batch Normalization to Accelerate CNN Training*, MLSys 2019.)

/// How an op reads a tensor: `value = act(scale[c]·raw + shift[c] + residual)`.
///
/// The residual may itself be a scaled raw tensor: `scale_r[c]·raw_r + shift_r[c]`.
/// Without an affine the raw value is taken as it is; without a residual nothing is added.
/// Forward and backward must evaluate a source in the same way, so that the ReLU mask agrees bit for bit.
#[derive(Debug)]
pub struct Source<'a, Buf> {
    /// What lies in memory.
    pub raw: &'a Buf,
    /// Scale and shift per channel ([`TensorDesc::affine`](crate::TensorDesc::affine)).
    pub affine: Option<&'a Buf>,
    /// What is added before the activation.
    pub residual: Option<Residual<'a, Buf>>,
    /// Whether `max(0, ·)` is applied last. A NaN stays a NaN.
    pub relu: bool,
}

/// The second operand of a residual addition.
#[derive(Debug)]
pub struct Residual<'a, Buf> {
    /// What lies in memory, of the same shape as the first operand.
    pub raw: &'a Buf,
    /// Scale and shift per channel: the normalisation of a projection shortcut.
    pub affine: Option<&'a Buf>,
}

/// How a convolution lets go of what it computed, `v`: it writes `act(scale[c]·v + shift[c] + residual)`.
///
/// The mirror image of [`Source`], for a network whose normalisations are fixed: what a block ends with is applied before the
/// result is stored, and whoever reads it reads it as it lies in memory.
#[derive(Debug)]
pub struct Finish<'a, Buf> {
    /// Scale and shift per channel ([`TensorDesc::affine`](crate::TensorDesc::affine)).
    pub affine: Option<&'a Buf>,
    /// What is added before the activation.
    pub residual: Option<Residual<'a, Buf>>,
    /// Whether `max(0, ·)` is applied last. A NaN stays a NaN.
    pub relu: bool,
}

/// How an op reads the gradient of a raw tensor: `dy = A[c]·dz + B[c]·y + C[c]`, or plain `dz`.
#[derive(Debug)]
pub struct GradSource<'a, Buf> {
    /// Gradient of the normalised value, already masked by the activation; or of the tensor itself.
    pub dz: &'a Buf,
    /// Present where a normalisation stands between the tensor and `dz`.
    pub norm: Option<GradNorm<'a, Buf>>,
}

/// The backward pass of a normalisation, folded into a load.
#[derive(Debug)]
pub struct GradNorm<'a, Buf> {
    /// A, B and C per channel ([`TensorDesc::coeffs`](crate::TensorDesc::coeffs)).
    pub coeffs: &'a Buf,
    /// The raw tensor that was normalised.
    pub y: &'a Buf,
}

/// Whether a gradient is written or added to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accumulate {
    /// The first writer sets. What was in the buffer does not matter, not even a NaN.
    Set,
    /// Later writers add.
    Add,
}

/// Where a backward op leaves the gradient of its input, and what it does before it lets go.
///
/// With `g` the gradient the op computes, it writes
/// `dx = mask ⊙ (g + [dx if accumulate is Add] + [add])`, then takes the sums of the `dx` it wrote.
#[derive(Debug)]
pub struct GradOut<'a, Buf> {
    /// The gradient buffer, of the shape of the op's input.
    pub dx: &'a mut Buf,
    /// Whether `dx` already holds a contribution.
    pub accumulate: Accumulate,
    /// A further contribution: the gradient of the identity branch.
    pub add: Option<&'a Buf>,
    /// Keep the gradient where this value is `> 0`, set it to zero elsewhere. The backward pass of a ReLU.
    /// The source's own `relu` flag does not matter.
    pub mask: Option<Source<'a, Buf>>,
    /// Sums over `n`, `h`, `w` for the normalisations that the gradient goes through next.
    /// Two where the masked gradient flows both to a main branch and to a projection shortcut.
    pub sums: [Option<GradSums<'a, Buf>>; 2],
}

/// `Σ dx` and `Σ dx·y` per channel, for [`Backend::norm_backward_finish`](crate::Backend::norm_backward_finish).
#[derive(Debug)]
pub struct GradSums<'a, Buf> {
    /// The raw tensor that was normalised.
    pub y: &'a Buf,
    /// Its [`moments`](crate::TensorDesc::moments): a backend may sum `dx·(y − mean)` instead, which cancels less.
    pub moments: &'a Buf,
    /// Where the sums go ([`TensorDesc::sums`](crate::TensorDesc::sums)); always set, never added to.
    pub sums: &'a mut Buf,
}

impl<'a, Buf> Source<'a, Buf> {
    /// Reads a tensor as it lies in memory.
    pub fn raw(raw: &'a Buf) -> Self {
        Source { raw, affine: None, residual: None, relu: false }
    }
}

impl<'a, Buf> GradSource<'a, Buf> {
    /// Reads a gradient as it lies in memory.
    pub fn raw(dz: &'a Buf) -> Self {
        GradSource { dz, norm: None }
    }
}

impl<'a, Buf> GradOut<'a, Buf> {
    /// Writes the plain gradient.
    pub fn set(dx: &'a mut Buf) -> Self {
        GradOut { dx, accumulate: Accumulate::Set, add: None, mask: None, sums: [None, None] }
    }
}

// Derived impls would ask for `Buf: Copy`; these are references.
impl<Buf> Clone for Source<'_, Buf> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Buf> Copy for Source<'_, Buf> {}
impl<Buf> Clone for Finish<'_, Buf> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Buf> Copy for Finish<'_, Buf> {}
impl<Buf> Clone for Residual<'_, Buf> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Buf> Copy for Residual<'_, Buf> {}
impl<Buf> Clone for GradSource<'_, Buf> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Buf> Copy for GradSource<'_, Buf> {}
impl<Buf> Clone for GradNorm<'_, Buf> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Buf> Copy for GradNorm<'_, Buf> {}
