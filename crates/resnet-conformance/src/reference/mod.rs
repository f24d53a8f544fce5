//! The executable specification: every op of [`Backend`] in plain loops.
//!
//! One file per op or two, forward and backward side by side:
//! `conv2d`, `combine` (with ingest), `pool`, `norm`, `loss`, `update`;
//! `source` evaluates what an op reads and finishes the gradient it writes; [`buffer`] is memory.
//!
//! `Reference` alone computes in f64.
//! `Reference<f32>` is the simplest honest backend; the bounds are tested on it.
//! `Reference<Bounded>` runs the same loops and also knows how far f32 arithmetic may be off, see [`bound`](crate::bound).

pub mod buffer;
mod combine;
pub(crate) mod conv2d;
mod loss;
mod norm;
mod pool;
mod source;
mod update;

use std::marker::PhantomData;

use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, Ingest, MaxPool, Op, Optimizer, SoftmaxCrossEntropy, Targets,
};
use resnet_core::{
    Accumulate, Arithmetic, Backend, DType, Finish, GradOut, GradSource, HostData, HostDataMut, Param,
    Result, Running, Source, TensorDesc,
};

use crate::bound::Bounded;
use crate::number::Number;
pub use buffer::Buffer;

/// The reference backend.
#[derive(Clone, Copy, Debug)]
pub struct Reference<T = f64> {
    /// What the intervals of a convolution must hold.
    arithmetic: Arithmetic,
    number: PhantomData<T>,
}

// A derived impl would ask for `T: Default`.
impl<T> Default for Reference<T> {
    fn default() -> Self {
        Self { arithmetic: Arithmetic::Sums, number: PhantomData }
    }
}

impl Reference {
    /// The reference in f64.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Reference<Bounded> {
    /// The reference that also bounds the error of f32 arithmetic.
    pub fn bounded() -> Self {
        Self::default()
    }

    /// The same for a convolution that a backend computes with this arithmetic.
    pub fn bounding(arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..Self::default() }
    }
}

impl<T: Number> Backend for Reference<T> {
    type Buffer = Buffer<T>;

    fn name(&self) -> &'static str {
        "reference"
    }

    fn describe(&self) -> String {
        "reference: plain loops in f64, one thread".to_owned()
    }

    /// All types: the reference keeps an activation in f64, rounded to its type where that is not f32.
    fn supports(&self, _dtype: DType) -> bool {
        true
    }

    fn buffer_bytes(&self, desc: &TensorDesc) -> usize {
        buffer::numbers(desc).max(1) * size_of::<T>()
    }

    fn alloc(&mut self, bytes: usize) -> Result<Self::Buffer> {
        Buffer::zeros(bytes)
    }

    fn upload(&mut self, desc: &TensorDesc, src: HostData<'_>, dst: &mut Self::Buffer) -> Result<()> {
        buffer::upload(desc, src, dst)
    }

    fn download(&mut self, desc: &TensorDesc, src: &Self::Buffer, dst: HostDataMut<'_>) -> Result<()> {
        buffer::download(desc, src, dst)
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }

    /// The reference allocates as it goes and needs no scratch.
    fn prepare(&mut self, _ops: &[Op]) -> Result<usize> {
        Ok(0)
    }

    fn ingest(
        &mut self,
        op: &Ingest,
        pixels: &Self::Buffer,
        affine: &Self::Buffer,
        x: &mut Self::Buffer,
    ) -> Result<()> {
        combine::ingest(op, pixels, affine, x)
    }

    fn conv2d(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Self::Buffer>,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        y: &mut Self::Buffer,
        sums: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        conv2d::forward(op, self.arithmetic, x, w, bias, y, sums)
    }

    fn finishes(&self, _op: &Conv2d) -> bool {
        true
    }

    fn conv2d_finished(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Self::Buffer>,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        finish: Finish<'_, Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()> {
        conv2d::finished(op, self.arithmetic, x, w, bias, finish, y)
    }

    fn conv2d_backward_data(
        &mut self,
        op: &Conv2d,
        dy: GradSource<'_, Self::Buffer>,
        w: &Self::Buffer,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        conv2d::backward_data(op, self.arithmetic, dy, w, dx)
    }

    fn conv2d_backward_weight(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Self::Buffer>,
        dy: GradSource<'_, Self::Buffer>,
        dw: &mut Self::Buffer,
        dbias: Option<&mut Self::Buffer>,
        accumulate: Accumulate,
    ) -> Result<()> {
        conv2d::backward_weight(op, self.arithmetic, x, dy, dw, dbias, accumulate)
    }

    fn combine(
        &mut self,
        op: &Combine,
        x: Source<'_, Self::Buffer>,
        z: &mut Self::Buffer,
        sums: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        combine::forward(op, x, z, sums)
    }

    fn combine_backward(
        &mut self,
        op: &Combine,
        dz: GradSource<'_, Self::Buffer>,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        combine::backward(op, dz, dx)
    }

    fn max_pool(
        &mut self,
        op: &MaxPool,
        x: Source<'_, Self::Buffer>,
        y: &mut Self::Buffer,
        index: Option<&mut Self::Buffer>,
        sums: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        pool::max_forward(op, x, y, index, sums)
    }

    fn max_pool_backward(
        &mut self,
        op: &MaxPool,
        dy: GradSource<'_, Self::Buffer>,
        index: &Self::Buffer,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        pool::max_backward(op, dy, index, dx)
    }

    fn avg_pool(&mut self, op: &AvgPool, x: Source<'_, Self::Buffer>, y: &mut Self::Buffer) -> Result<()> {
        pool::avg_forward(op, x, y)
    }

    fn avg_pool_backward(
        &mut self,
        op: &AvgPool,
        dy: GradSource<'_, Self::Buffer>,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        pool::avg_backward(op, dy, dx)
    }

    fn norm_finish(
        &mut self,
        op: &BatchNorm,
        sums: &Self::Buffer,
        gamma: &Self::Buffer,
        beta: &Self::Buffer,
        running: Running<'_, Self::Buffer>,
        affine: &mut Self::Buffer,
        moments: &mut Self::Buffer,
    ) -> Result<()> {
        norm::finish(op, sums, gamma, beta, running, affine, moments)
    }

    fn norm_frozen(
        &mut self,
        op: &BatchNorm,
        running_mean: &Self::Buffer,
        running_var: &Self::Buffer,
        gamma: &Self::Buffer,
        beta: &Self::Buffer,
        affine: &mut Self::Buffer,
    ) -> Result<()> {
        norm::frozen(op, running_mean, running_var, gamma, beta, affine)
    }

    fn norm_frozen_backward(
        &mut self,
        op: &BatchNorm,
        affine: &Self::Buffer,
        coeffs: &mut Self::Buffer,
    ) -> Result<()> {
        norm::frozen_backward(op, affine, coeffs)
    }

    fn norm_backward_finish(
        &mut self,
        op: &BatchNorm,
        sums: &Self::Buffer,
        moments: &Self::Buffer,
        gamma: &Self::Buffer,
        dgamma: &mut Self::Buffer,
        dbeta: &mut Self::Buffer,
        accumulate: Accumulate,
        coeffs: &mut Self::Buffer,
    ) -> Result<()> {
        norm::backward_finish(op, sums, moments, gamma, dgamma, dbeta, accumulate, coeffs)
    }

    fn softmax_cross_entropy(
        &mut self,
        op: &SoftmaxCrossEntropy,
        logits: &Self::Buffer,
        targets: Targets<'_, Self::Buffer>,
        scalars: &Self::Buffer,
        dlogits: Option<&mut Self::Buffer>,
        metrics: &mut Self::Buffer,
        accumulate: Accumulate,
    ) -> Result<()> {
        loss::softmax_cross_entropy(op, logits, targets, scalars, dlogits, metrics, accumulate)
    }

    fn grad_norm(&mut self, params: &[Param<Self::Buffer>], norm: &mut Self::Buffer) -> Result<()> {
        update::grad_norm(params, norm)
    }

    fn update(
        &mut self,
        rule: &Optimizer,
        scalars: &Self::Buffer,
        norm: Option<&Self::Buffer>,
        params: &mut [Param<Self::Buffer>],
    ) -> Result<()> {
        update::update(rule, scalars, norm, params)
    }
}
