//! [`Timed`]: any backend with a stopwatch, for finding out where a step's time goes.

mod traffic;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, Gather, Ingest, LossScale, MaxPool, Op, Optimizer,
    SoftmaxCrossEntropy, Targets,
};
use resnet_core::{
    Accumulate, Arithmetic, Backend, DType, Finish, GradOut, GradSource, HostData, HostDataMut, Param,
    RecordingKey, Result, Running, Source, TensorDesc,
};

pub use traffic::Work;
use traffic::{gradient, output, parameters, source, tensors};

/// Wraps a backend: every op is passed on, waited for and timed.
///
/// Waiting after each op hides nothing on a backend that computes while it is called, such as the CPU's.
/// On a device with a queue the sum is longer than an undisturbed step; the shares still tell where to look.
#[derive(Debug)]
pub struct Timed<B> {
    inner: B,
    spent: HashMap<Call, Spent>,
}

/// What was called: the method, and the shape of the work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The method of [`Backend`].
    pub method: &'static str,
    /// Extents, for people: `3×3 s1, 64→64, 28×28`.
    pub shape: String,
}

/// Time spent in equal calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How many there were.
    pub n_calls: usize,
    /// In all of them.
    pub time: Duration,
    /// Arithmetic and traffic of all of them.
    pub work: Work,
}

impl<B: Backend> Timed<B> {
    /// Starts with nothing spent.
    pub fn new(inner: B) -> Self {
        Self { inner, spent: HashMap::new() }
    }

    /// Forgets everything so far, warm-up steps for instance.
    pub fn reset(&mut self) {
        self.spent.clear();
    }

    /// Time per call, longest first.
    pub fn report(&self) -> Vec<(Call, Spent)> {
        let mut rows: Vec<_> = self.spent.iter().map(|(call, spent)| (call.clone(), *spent)).collect();
        rows.sort_by(|a, b| b.1.time.cmp(&a.1.time).then_with(|| a.0.shape.cmp(&b.0.shape)));
        rows
    }

    fn time<T>(
        &mut self,
        method: &'static str,
        shape: String,
        work: Work,
        call: impl FnOnce(&mut B) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        let answer = call(&mut self.inner)?;
        self.inner.synchronize()?;
        let spent = self.spent.entry(Call { method, shape }).or_default();
        spent.n_calls += 1;
        spent.time += start.elapsed();
        spent.work.flops += work.flops;
        spent.work.bytes += work.bytes;
        Ok(answer)
    }
}

fn conv_shape(op: &Conv2d) -> String {
    let groups = if op.groups() == 1 { String::new() } else { format!(" /{}", op.groups()) };
    format!("{}×{} s{}, {}→{}{groups}, {}×{}", op.r(), op.s(), op.stride(), op.c(), op.k(), op.p(), op.q())
}

fn conv_work(op: &Conv2d, bytes: usize) -> Work {
    Work { flops: 2 * op.macs(), bytes: bytes as u64 }
}

fn tensor_shape(d: &TensorDesc) -> String {
    format!("{}×{}×{}", d.c, d.h, d.w)
}

impl<B: Backend> Backend for Timed<B> {
    type Buffer = B::Buffer;

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn supports(&self, dtype: DType) -> bool {
        self.inner.supports(dtype)
    }

    fn buffer_bytes(&self, desc: &TensorDesc) -> usize {
        self.inner.buffer_bytes(desc)
    }

    fn alloc(&mut self, bytes: usize) -> Result<B::Buffer> {
        self.inner.alloc(bytes)
    }

    fn upload(&mut self, desc: &TensorDesc, src: HostData<'_>, dst: &mut B::Buffer) -> Result<()> {
        self.time("upload", tensor_shape(desc), Work::default(), |b| b.upload(desc, src, dst))
    }

    fn download(&mut self, desc: &TensorDesc, src: &B::Buffer, dst: HostDataMut<'_>) -> Result<()> {
        self.time("download", tensor_shape(desc), Work::default(), |b| b.download(desc, src, dst))
    }

    fn synchronize(&mut self) -> Result<()> {
        self.inner.synchronize()
    }

    fn new_recording(&mut self) -> RecordingKey {
        self.inner.new_recording()
    }

    /// Op by op every time: each is waited for, and within a recording there is nothing to wait for.
    fn recorded(&mut self, _key: RecordingKey, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        step(self)
    }

    fn prepare(&mut self, ops: &[Op]) -> Result<usize> {
        self.inner.prepare(ops)
    }

    fn arithmetic(&self, op: &Op) -> Arithmetic {
        self.inner.arithmetic(op)
    }

    fn room_for_pictures(&self) -> usize {
        self.inner.room_for_pictures()
    }

    fn gather(
        &mut self,
        op: &Gather,
        pictures: &B::Buffer,
        picks: &B::Buffer,
        affine: &B::Buffer,
        x: &mut B::Buffer,
    ) -> Result<()> {
        // A batch out of the pictures, not all of them.
        let bytes = tensors(&self.inner, &[op.ingest().pixels_desc(), op.ingest().x_desc()]);
        self.time("gather", tensor_shape(&op.ingest().x_desc()), Work::bytes(bytes), |b| {
            b.gather(op, pictures, picks, affine, x)
        })
    }

    fn choices(&self) -> Vec<String> {
        self.inner.choices()
    }

    fn prefers_materialised(&self, consumer: &Op) -> bool {
        self.inner.prefers_materialised(consumer)
    }

    fn ingest(
        &mut self,
        op: &Ingest,
        pixels: &B::Buffer,
        affine: &B::Buffer,
        x: &mut B::Buffer,
    ) -> Result<()> {
        let bytes = tensors(&self.inner, &[op.pixels_desc(), op.x_desc()]);
        self.time("ingest", tensor_shape(&op.x_desc()), Work::bytes(bytes), |b| {
            b.ingest(op, pixels, affine, x)
        })
    }

    fn conv2d(
        &mut self,
        op: &Conv2d,
        x: Source<'_, B::Buffer>,
        w: &B::Buffer,
        bias: Option<&B::Buffer>,
        y: &mut B::Buffer,
        sums: Option<&mut B::Buffer>,
    ) -> Result<()> {
        let bytes = source(&self.inner, &x, &op.x_desc()) + tensors(&self.inner, &[op.w_desc(), op.y_desc()]);
        self.time("conv2d", conv_shape(op), conv_work(op, bytes), |b| b.conv2d(op, x, w, bias, y, sums))
    }

    fn finishes(&self, op: &Conv2d) -> bool {
        self.inner.finishes(op)
    }

    fn conv2d_finished(
        &mut self,
        op: &Conv2d,
        x: Source<'_, B::Buffer>,
        w: &B::Buffer,
        bias: Option<&B::Buffer>,
        finish: Finish<'_, B::Buffer>,
        y: &mut B::Buffer,
    ) -> Result<()> {
        let added = usize::from(finish.residual.is_some()) * tensors(&self.inner, &[op.y_desc()]);
        let bytes = source(&self.inner, &x, &op.x_desc()) + tensors(&self.inner, &[op.w_desc(), op.y_desc()]);
        self.time("conv2d_finished", conv_shape(op), conv_work(op, bytes + added), |b| {
            b.conv2d_finished(op, x, w, bias, finish, y)
        })
    }

    fn conv2d_backward_data(
        &mut self,
        op: &Conv2d,
        dy: GradSource<'_, B::Buffer>,
        w: &B::Buffer,
        dx: GradOut<'_, B::Buffer>,
    ) -> Result<()> {
        let bytes = gradient(&self.inner, &dy, &op.y_desc())
            + tensors(&self.inner, &[op.w_desc()])
            + output(&self.inner, &dx, &op.x_desc());
        self.time("conv2d_backward_data", conv_shape(op), conv_work(op, bytes), |b| {
            b.conv2d_backward_data(op, dy, w, dx)
        })
    }

    fn conv2d_backward_weight(
        &mut self,
        op: &Conv2d,
        x: Source<'_, B::Buffer>,
        dy: GradSource<'_, B::Buffer>,
        dw: &mut B::Buffer,
        dbias: Option<&mut B::Buffer>,
        accumulate: Accumulate,
    ) -> Result<()> {
        let bytes = gradient(&self.inner, &dy, &op.y_desc())
            + source(&self.inner, &x, &op.x_desc())
            + tensors(&self.inner, &[op.w_desc()]);
        self.time("conv2d_backward_weight", conv_shape(op), conv_work(op, bytes), |b| {
            b.conv2d_backward_weight(op, x, dy, dw, dbias, accumulate)
        })
    }

    fn joins_backward(&self, op: &Conv2d) -> bool {
        self.inner.joins_backward(op)
    }

    fn conv2d_backward(
        &mut self,
        op: &Conv2d,
        x: Source<'_, B::Buffer>,
        dy: GradSource<'_, B::Buffer>,
        w: &B::Buffer,
        dx: GradOut<'_, B::Buffer>,
        dw: &mut B::Buffer,
        dbias: Option<&mut B::Buffer>,
        accumulate: Accumulate,
    ) -> Result<()> {
        if !self.inner.joins_backward(op) {
            self.conv2d_backward_weight(op, x, dy, dw, dbias, accumulate)?;
            return self.conv2d_backward_data(op, dy, w, dx);
        }
        let bytes = gradient(&self.inner, &dy, &op.y_desc())
            + source(&self.inner, &x, &op.x_desc())
            + tensors(&self.inner, &[op.w_desc(), op.w_desc()])
            + output(&self.inner, &dx, &op.x_desc());
        let work = Work { flops: 4 * op.macs(), bytes: bytes as u64 };
        self.time("conv2d_backward", conv_shape(op), work, |b| {
            b.conv2d_backward(op, x, dy, w, dx, dw, dbias, accumulate)
        })
    }

    fn combine(
        &mut self,
        op: &Combine,
        x: Source<'_, B::Buffer>,
        z: &mut B::Buffer,
        sums: Option<&mut B::Buffer>,
    ) -> Result<()> {
        let bytes = source(&self.inner, &x, &op.desc()) + tensors(&self.inner, &[op.desc()]);
        self.time("combine", tensor_shape(&op.desc()), Work::bytes(bytes), |b| b.combine(op, x, z, sums))
    }

    fn combine_backward(
        &mut self,
        op: &Combine,
        dz: GradSource<'_, B::Buffer>,
        dx: GradOut<'_, B::Buffer>,
    ) -> Result<()> {
        let bytes = gradient(&self.inner, &dz, &op.desc()) + output(&self.inner, &dx, &op.desc());
        self.time("combine_backward", tensor_shape(&op.desc()), Work::bytes(bytes), |b| {
            b.combine_backward(op, dz, dx)
        })
    }

    fn max_pool(
        &mut self,
        op: &MaxPool,
        x: Source<'_, B::Buffer>,
        y: &mut B::Buffer,
        index: Option<&mut B::Buffer>,
        sums: Option<&mut B::Buffer>,
    ) -> Result<()> {
        let winners = index.as_ref().map_or(0, |_| self.inner.buffer_bytes(&op.index_desc()));
        let bytes = source(&self.inner, &x, &op.x_desc()) + tensors(&self.inner, &[op.y_desc()]) + winners;
        self.time("max_pool", tensor_shape(&op.x_desc()), Work::bytes(bytes), |b| {
            b.max_pool(op, x, y, index, sums)
        })
    }

    fn max_pool_backward(
        &mut self,
        op: &MaxPool,
        dy: GradSource<'_, B::Buffer>,
        index: &B::Buffer,
        dx: GradOut<'_, B::Buffer>,
    ) -> Result<()> {
        let bytes = gradient(&self.inner, &dy, &op.y_desc())
            + tensors(&self.inner, &[op.index_desc()])
            + output(&self.inner, &dx, &op.x_desc());
        self.time("max_pool_backward", tensor_shape(&op.x_desc()), Work::bytes(bytes), |b| {
            b.max_pool_backward(op, dy, index, dx)
        })
    }

    fn avg_pool(&mut self, op: &AvgPool, x: Source<'_, B::Buffer>, y: &mut B::Buffer) -> Result<()> {
        let bytes = source(&self.inner, &x, &op.x_desc()) + tensors(&self.inner, &[op.y_desc()]);
        self.time("avg_pool", tensor_shape(&op.x_desc()), Work::bytes(bytes), |b| b.avg_pool(op, x, y))
    }

    fn avg_pool_backward(
        &mut self,
        op: &AvgPool,
        dy: GradSource<'_, B::Buffer>,
        dx: GradOut<'_, B::Buffer>,
    ) -> Result<()> {
        let bytes = gradient(&self.inner, &dy, &op.y_desc()) + output(&self.inner, &dx, &op.x_desc());
        self.time("avg_pool_backward", tensor_shape(&op.x_desc()), Work::bytes(bytes), |b| {
            b.avg_pool_backward(op, dy, dx)
        })
    }

    fn norm_finish(
        &mut self,
        op: &BatchNorm,
        sums: &B::Buffer,
        gamma: &B::Buffer,
        beta: &B::Buffer,
        running: Running<'_, B::Buffer>,
        affine: &mut B::Buffer,
        moments: &mut B::Buffer,
    ) -> Result<()> {
        self.time("norm_finish", op.c().to_string(), Work::default(), |b| {
            b.norm_finish(op, sums, gamma, beta, running, affine, moments)
        })
    }

    fn norm_frozen(
        &mut self,
        op: &BatchNorm,
        running_mean: &B::Buffer,
        running_var: &B::Buffer,
        gamma: &B::Buffer,
        beta: &B::Buffer,
        affine: &mut B::Buffer,
    ) -> Result<()> {
        self.time("norm_frozen", op.c().to_string(), Work::default(), |b| {
            b.norm_frozen(op, running_mean, running_var, gamma, beta, affine)
        })
    }

    fn norm_frozen_backward(
        &mut self,
        op: &BatchNorm,
        affine: &B::Buffer,
        coeffs: &mut B::Buffer,
    ) -> Result<()> {
        self.time("norm_frozen_backward", op.c().to_string(), Work::default(), |b| {
            b.norm_frozen_backward(op, affine, coeffs)
        })
    }

    fn norm_backward_finish(
        &mut self,
        op: &BatchNorm,
        sums: &B::Buffer,
        moments: &B::Buffer,
        gamma: &B::Buffer,
        dgamma: &mut B::Buffer,
        dbeta: &mut B::Buffer,
        accumulate: Accumulate,
        coeffs: &mut B::Buffer,
    ) -> Result<()> {
        self.time("norm_backward_finish", op.c().to_string(), Work::default(), |b| {
            b.norm_backward_finish(op, sums, moments, gamma, dgamma, dbeta, accumulate, coeffs)
        })
    }

    fn softmax_cross_entropy(
        &mut self,
        op: &SoftmaxCrossEntropy,
        logits: &B::Buffer,
        targets: Targets<'_, B::Buffer>,
        scalars: &B::Buffer,
        dlogits: Option<&mut B::Buffer>,
        metrics: &mut B::Buffer,
        accumulate: Accumulate,
    ) -> Result<()> {
        self.time("softmax_cross_entropy", tensor_shape(&op.logits_desc()), Work::default(), |b| {
            b.softmax_cross_entropy(op, logits, targets, scalars, dlogits, metrics, accumulate)
        })
    }

    fn scale_loss(&mut self, rule: &Optimizer, state: &B::Buffer, scalars: &mut B::Buffer) -> Result<()> {
        self.time("scale_loss", String::new(), Work::default(), |b| b.scale_loss(rule, state, scalars))
    }

    fn adapt_loss_scale(&mut self, rule: &LossScale, norm: &B::Buffer, state: &mut B::Buffer) -> Result<()> {
        self.time("adapt_loss_scale", String::new(), Work::default(), |b| {
            b.adapt_loss_scale(rule, norm, state)
        })
    }

    fn grad_norm(&mut self, params: &[Param<B::Buffer>], norm: &mut B::Buffer) -> Result<()> {
        self.time("grad_norm", format!("{} tensors", params.len()), Work::default(), |b| {
            b.grad_norm(params, norm)
        })
    }

    fn update(
        &mut self,
        rule: &Optimizer,
        scalars: &B::Buffer,
        norm: Option<&B::Buffer>,
        params: &mut [Param<B::Buffer>],
    ) -> Result<()> {
        let bytes = parameters(&self.inner, params);
        self.time("update", format!("{} tensors", params.len()), Work::bytes(bytes), |b| {
            b.update(rule, scalars, norm, params)
        })
    }
}
