//! The contract between what is computed and how: [`Backend`].
//!
//! A backend is a value: one in-order queue on one device, with its scratch and caches as ordinary fields.
//! It knows ops and buffers; it knows no networks, no parameters by name and no training loop.
//! There are few ops and they are coarse, drawn where CPU and GPU libraries independently draw the fused boundary.
//! Nothing is composed silently: what a backend cannot do it refuses by name.
//!
//! Rules every implementation keeps, checked by the conformance suite:
//! - Buffers carry no shape. Each op says what its buffers hold; a buffer may hold different tensors at different times.
//! - A buffer that is too short is refused with [`Error::Length`] before anything is written.
//! - A safe method cannot corrupt memory, whatever buffers it is given.
//! - The same call on the same values gives the same bits, for any number of threads.
//! - `Set` overwrites whatever was there; `Add` adds. Nothing outside the described tensor is written.
//! - After [`Backend::prepare`] no op allocates, and none waits for the device but `download` and `synchronize`.

use crate::op::{
    AvgPool, BatchNorm, Combine, Conv2d, Gather, Ingest, LossScale, MaxPool, Op, Optimizer,
    SoftmaxCrossEntropy, Targets,
};
use crate::{
    Accumulate, DType, Error, Finish, GradOut, GradSource, HostData, HostDataMut, Param, Result, Source,
    TensorDesc,
};

/// How a backend sums the products of a convolution, for whoever bounds its error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// Sums of products in any order, every operation at least as exact as f32's.
    #[default]
    Sums,
    /// Winograd's algorithm `F(tile × tile, 3 × 3)` in f32: outputs in tiles that begin at the first pixel, transforms of columns
    /// and rows in any order. The finite points are 0, ±1 for tiles of 2; 0, ±1, 2 for tiles of 3; 0, ±1, ½, −2 for tiles of 4.
    /// Backward-data tiles the gradient it writes; backward-weight takes tiles of `dy` for filters.
    Winograd {
        /// Outputs along one axis: 2, 3 or 4.
        tile: usize,
    },
    /// Sums of products in any order, whose operands are split into pieces of bf16, each the nearest to what the ones before
    /// leave of the number. Products of pieces are exact, and added up in f32, in chains of at most 512 terms; the chains are
    /// added in f32. Subnormal numbers may be taken for zero.
    Pieces {
        /// Products of pieces that stand for one product: 3, of the two largest pieces but for the smallest with the smallest,
        /// or 6, of three pieces but for those below the last place of f32.
        products: usize,
    },
}

/// Running mean and variance of a normalisation, one table row each.
#[derive(Debug)]
pub struct Running<'a, Buf> {
    /// Running mean.
    pub mean: &'a mut Buf,
    /// Running variance.
    pub var: &'a mut Buf,
}

/// Names a part of a step that is the same every time, for [`Backend::recorded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordingKey(pub u64);

/// Computes ops on one device. See the [module](crate::backend) for the rules.
pub trait Backend {
    /// Memory on the device: opaque, owned, without a shape.
    type Buffer: std::fmt::Debug;

    /// A short name: `cpu`, `cuda`, `reference`.
    fn name(&self) -> &'static str;

    /// One line for people: the device, its threads or driver, the kernels chosen.
    fn describe(&self) -> String;

    /// Whether activations of this type can be computed with.
    fn supports(&self, dtype: DType) -> bool;

    /// Bytes a buffer needs to hold this tensor in the backend's own layout. Never zero.
    fn buffer_bytes(&self, desc: &TensorDesc) -> usize;

    /// Allocates a buffer of zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], naming what was asked and what is free.
    fn alloc(&mut self, bytes: usize) -> Result<Self::Buffer>;

    /// Copies dense host data into a buffer.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the data has another element count or type than the tensor.
    fn upload(&mut self, desc: &TensorDesc, src: HostData<'_>, dst: &mut Self::Buffer) -> Result<()>;

    /// Copies a tensor into dense host memory, after all ops issued before.
    ///
    /// # Errors
    /// As [`Backend::upload`].
    fn download(&mut self, desc: &TensorDesc, src: &Self::Buffer, dst: HostDataMut<'_>) -> Result<()>;

    /// Waits until all ops issued so far are done.
    fn synchronize(&mut self) -> Result<()>;

    /// A key that no other caller of this backend has.
    fn new_recording(&mut self) -> RecordingKey {
        RecordingKey(0)
    }

    /// Runs a part of a step that issues the same ops on the same buffers every time it is run under this key.
    /// A backend may note what it issues once and repeat that later without calling `step` again, which spares the host's work.
    ///
    /// So `step` only issues ops: it allocates nothing, moves nothing between host and device, and waits for nothing.
    /// What changes from step to step (pixels, labels, [`StepScalars`](crate::op::StepScalars)) is uploaded outside, into the
    /// same buffers; everything else that `step` depends on is part of what the key stands for.
    ///
    /// # Errors
    /// What `step` returns; device errors.
    fn recorded(&mut self, key: RecordingKey, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()>
    where
        Self: Sized,
    {
        let _ = key;
        step(self)
    }

    /// The error of an op that this backend has not written.
    fn unsupported(&self, what: &str) -> Error {
        Error::Unsupported { backend: self.name(), what: what.into() }
    }

    /// Picks algorithms and sizes scratch for every op that a step will issue, and returns the scratch in bytes.
    /// May be called again; later calls extend what earlier ones prepared.
    fn prepare(&mut self, ops: &[Op]) -> Result<usize>;

    /// Whether the backend would rather read a materialised value than a source with an affine or a ReLU at this op.
    fn prefers_materialised(&self, _consumer: &Op) -> bool {
        false
    }

    /// What was chosen for the ops that were prepared, and what is worth knowing about it: lines for people, none where there is no choice.
    fn choices(&self) -> Vec<String> {
        Vec::new()
    }

    /// How it sums an op's products. Plainly, unless it says otherwise.
    fn arithmetic(&self, _op: &Op) -> Arithmetic {
        Arithmetic::Sums
    }

    /// Bytes to normalised activations. `affine`: scale and shift per channel.
    fn ingest(
        &mut self,
        op: &Ingest,
        pixels: &Self::Buffer,
        affine: &Self::Buffer,
        x: &mut Self::Buffer,
    ) -> Result<()>;

    /// Bytes it would give to pictures that stay on the device, for [`Backend::gather`].
    /// 0 from a backend that has no use for that: its pictures come batch by batch.
    fn room_for_pictures(&self) -> usize {
        0
    }

    /// [`Gather`]: a batch out of pictures that lie on the device. `picks`: see [`Pick`](crate::op::Pick).
    /// Only a backend with [`Backend::room_for_pictures`] is asked for it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] from a backend that has not written it.
    fn gather(
        &mut self,
        op: &Gather,
        pictures: &Self::Buffer,
        picks: &Self::Buffer,
        affine: &Self::Buffer,
        x: &mut Self::Buffer,
    ) -> Result<()> {
        let _ = (op, pictures, picks, affine, x);
        Err(self.unsupported("batches out of pictures on the device (gather)"))
    }

    /// [`Conv2d`], forward: raw output and, where asked, its batch sums.
    fn conv2d(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Self::Buffer>,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        y: &mut Self::Buffer,
        sums: Option<&mut Self::Buffer>,
    ) -> Result<()>;

    /// Whether a convolution may be asked to end with more than its bias ([`Backend::conv2d_finished`]).
    fn finishes(&self, _op: &Conv2d) -> bool {
        false
    }

    /// [`Conv2d`], forward, whose result is normalised, added to and activated before it is stored, rounded once.
    /// Only a backend that [finishes](Backend::finishes) the op is asked for it, and only for inference.
    ///
    /// # Errors
    /// [`Error::Unsupported`] from a backend that has not written it.
    fn conv2d_finished(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Self::Buffer>,
        w: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        finish: Finish<'_, Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()> {
        let _ = (op, x, w, bias, finish, y);
        Err(self.unsupported("convolutions that end with normalisation, residual and ReLU (conv2d_finished)"))
    }

    /// [`Conv2d`], gradient of the source's value, then the epilogue of [`GradOut`].
    fn conv2d_backward_data(
        &mut self,
        op: &Conv2d,
        dy: GradSource<'_, Self::Buffer>,
        w: &Self::Buffer,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()>;

    /// [`Conv2d`], gradient of the kernels and, where there is one, of the bias (`Σ dy`).
    fn conv2d_backward_weight(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Self::Buffer>,
        dy: GradSource<'_, Self::Buffer>,
        dw: &mut Self::Buffer,
        dbias: Option<&mut Self::Buffer>,
        accumulate: Accumulate,
    ) -> Result<()>;

    /// Whether [`Backend::conv2d_backward`] is more than its two parts one after the other: both gradients from one reading
    /// of what they have in common.
    fn joins_backward(&self, _op: &Conv2d) -> bool {
        false
    }

    /// [`Conv2d`], both gradients: [`Backend::conv2d_backward_weight`] and [`Backend::conv2d_backward_data`] of the same `dy`.
    /// What one of them writes is read by neither. `accumulate` applies to `dw` and `dbias`.
    ///
    /// # Errors
    /// As theirs.
    fn conv2d_backward(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Self::Buffer>,
        dy: GradSource<'_, Self::Buffer>,
        w: &Self::Buffer,
        dx: GradOut<'_, Self::Buffer>,
        dw: &mut Self::Buffer,
        dbias: Option<&mut Self::Buffer>,
        accumulate: Accumulate,
    ) -> Result<()> {
        self.conv2d_backward_weight(op, x, dy, dw, dbias, accumulate)?;
        self.conv2d_backward_data(op, dy, w, dx)
    }

    /// [`Combine`], forward.
    fn combine(
        &mut self,
        op: &Combine,
        x: Source<'_, Self::Buffer>,
        z: &mut Self::Buffer,
        sums: Option<&mut Self::Buffer>,
    ) -> Result<()>;

    /// [`Combine`], backward: materialises a gradient that has several parts.
    fn combine_backward(
        &mut self,
        op: &Combine,
        dz: GradSource<'_, Self::Buffer>,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()>;

    /// [`MaxPool`], forward. `index` is written where a backward pass will follow.
    fn max_pool(
        &mut self,
        op: &MaxPool,
        x: Source<'_, Self::Buffer>,
        y: &mut Self::Buffer,
        index: Option<&mut Self::Buffer>,
        sums: Option<&mut Self::Buffer>,
    ) -> Result<()>;

    /// [`MaxPool`], gradient of the source's value, then the epilogue of [`GradOut`].
    fn max_pool_backward(
        &mut self,
        op: &MaxPool,
        dy: GradSource<'_, Self::Buffer>,
        index: &Self::Buffer,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()>;

    /// [`AvgPool`], forward.
    fn avg_pool(&mut self, op: &AvgPool, x: Source<'_, Self::Buffer>, y: &mut Self::Buffer) -> Result<()>;

    /// [`AvgPool`], gradient of the source's value, then the epilogue of [`GradOut`].
    fn avg_pool_backward(
        &mut self,
        op: &AvgPool,
        dy: GradSource<'_, Self::Buffer>,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()>;

    /// [`BatchNorm`] with batch statistics: sums to affine and moments, and the running statistics moved along.
    fn norm_finish(
        &mut self,
        op: &BatchNorm,
        sums: &Self::Buffer,
        gamma: &Self::Buffer,
        beta: &Self::Buffer,
        running: Running<'_, Self::Buffer>,
        affine: &mut Self::Buffer,
        moments: &mut Self::Buffer,
    ) -> Result<()>;

    /// [`BatchNorm`] with running statistics: the affine that inference reads with.
    fn norm_frozen(
        &mut self,
        op: &BatchNorm,
        running_mean: &Self::Buffer,
        running_var: &Self::Buffer,
        gamma: &Self::Buffer,
        beta: &Self::Buffer,
        affine: &mut Self::Buffer,
    ) -> Result<()>;

    /// [`BatchNorm`] with running statistics, backward: `A = scale`, `B = C = 0`.
    /// Only a network with frozen normalisations asks for it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] from a backend that has not written it.
    fn norm_frozen_backward(
        &mut self,
        op: &BatchNorm,
        affine: &Self::Buffer,
        coeffs: &mut Self::Buffer,
    ) -> Result<()> {
        let _ = (op, affine, coeffs);
        Err(self.unsupported("training with frozen normalisations (norm_frozen_backward)"))
    }

    /// [`BatchNorm`], backward: sums to `dgamma`, `dbeta` and the coefficients A, B, C.
    /// `accumulate` applies to `dgamma` and `dbeta`; the coefficients are of this batch alone.
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
    ) -> Result<()>;

    /// [`SoftmaxCrossEntropy`]: gradient of the logits where asked, and metrics set or added.
    /// `scalars`: [`StepScalars`](crate::op::StepScalars).
    fn softmax_cross_entropy(
        &mut self,
        op: &SoftmaxCrossEntropy,
        logits: &Self::Buffer,
        targets: Targets<'_, Self::Buffer>,
        scalars: &Self::Buffer,
        dlogits: Option<&mut Self::Buffer>,
        metrics: &mut Self::Buffer,
        accumulate: Accumulate,
    ) -> Result<()>;

    /// [`LossScale`], before a step: multiplies `grad_scale` of the step's scalars by the scale, divides `unscale` by it, and puts in the
    /// bias corrections of as many steps as were not left out
    /// ([`LossScaleState::scaled`](crate::op::LossScaleState::scaled)).
    /// Only training in half precision asks for it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] from a backend that has not written it.
    fn scale_loss(
        &mut self,
        rule: &Optimizer,
        state: &Self::Buffer,
        scalars: &mut Self::Buffer,
    ) -> Result<()> {
        let _ = (rule, state, scalars);
        Err(self.unsupported("a loss scale (scale_loss)"))
    }

    /// [`LossScale`], after a step: the scale of the next one. `norm`: what [`Backend::grad_norm`] left.
    ///
    /// # Errors
    /// [`Error::Unsupported`] from a backend that has not written it.
    fn adapt_loss_scale(
        &mut self,
        rule: &LossScale,
        norm: &Self::Buffer,
        state: &mut Self::Buffer,
    ) -> Result<()> {
        let _ = (rule, norm, state);
        Err(self.unsupported("a loss scale (adapt_loss_scale)"))
    }

    /// Square root of the sum of squares over all gradients present, into a table of one row and one column.
    fn grad_norm(&mut self, params: &[Param<Self::Buffer>], norm: &mut Self::Buffer) -> Result<()>;

    /// One step of the optimizer over the whole list: parameters with a gradient and a non-zero `lr_scale` move.
    ///
    /// Gradients are multiplied by the step's `unscale` as they are read, and with `norm` given also by
    /// `min(1, max_norm / (unscale · norm + 1e-6))` (`torch.nn.utils.clip_grad_norm_`). If `norm` is not finite nothing is changed, optimizer state included.
    fn update(
        &mut self,
        rule: &Optimizer,
        scalars: &Self::Buffer,
        norm: Option<&Self::Buffer>,
        params: &mut [Param<Self::Buffer>],
    ) -> Result<()>;
}
