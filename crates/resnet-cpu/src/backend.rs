//! [`CpuBackend`]: the trait's methods, each handed to the file of its op.

use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, Ingest, MaxPool, Op, Optimizer, SoftmaxCrossEntropy, Targets,
};
use resnet_core::{
    Accumulate, Arithmetic, Backend, DType, Error, Finish, GradOut, GradSource, HostData, HostDataMut, Param,
    Result, Running, Source, TensorDesc,
};

use crate::buffer::{Buffer, buffer_bytes};
use crate::choice::Kernel;
use crate::direct::Direct;
use crate::element::by_dtype;
use crate::engine::Engine;
use crate::peak::Peak;
use crate::prepare::Need;
use crate::threads::Threads;
use crate::{avg_pool, combine, conv, ingest, loss, max_pool, norm, transfer, update};

/// Computes in f32 on the cores of this machine; activations are f32 or bf16.
///
/// The same call on the same values gives the same bits for any number of threads and for any vector instructions that the
/// passes around the products are compiled for; the products themselves follow the instructions of the machine.
pub struct CpuBackend {
    engine: Engine,
    /// Why tiles of AMX that are there are not used.
    remark: Option<&'static str>,
}

impl CpuBackend {
    /// Starts a pool of `threads` threads, or of one per core that this process may use, with the kernels that
    /// `RESNET_CPU_KERNEL` names or else the fastest ones of this machine.
    ///
    /// # Errors
    /// [`Error::Invalid`] for zero threads or an unknown kernel, [`Error::Unsupported`] for a kernel this machine lacks,
    /// [`Error::Device`] if the system gives no more threads.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        Self::with_kernel(threads, Kernel::from_env()?)
    }

    /// As [`CpuBackend::new`], with kernels of choice.
    ///
    /// # Errors
    /// As [`CpuBackend::new`].
    pub fn with_kernel(threads: Option<usize>, kernel: Kernel) -> Result<Self> {
        let threads = match threads {
            Some(0) => return Err(Error::invalid("cpu", "0 threads asked for, at least 1 is needed")),
            Some(n) => n,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let isa = kernel.isa()?;
        let (tiles, remark) = kernel.tiles()?;
        let direct = Direct::new(kernel != Kernel::Im2col, kernel.winograd(), isa.has_bf16(), tiles);
        Ok(Self { engine: Engine::new(isa, Threads::new(threads)?, direct), remark })
    }

    /// As [`CpuBackend::with_kernel`], and with Winograd's algorithm besides: what [`Kernel::Auto`] is on a machine that has no
    /// faster instructions than these.
    ///
    /// # Errors
    /// As [`CpuBackend::new`].
    pub fn with_winograd(threads: Option<usize>, kernel: Kernel) -> Result<Self> {
        let mut backend = Self::with_kernel(threads, kernel)?;
        backend.engine.direct.use_winograd();
        Ok(backend)
    }

    /// Measures what its threads and instructions can do at most, which takes about a second.
    pub fn peak(&mut self) -> Peak {
        Peak::measure(&self.engine)
    }
}

impl std::fmt::Debug for CpuBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CpuBackend({})", self.describe())
    }
}

impl Backend for CpuBackend {
    type Buffer = Buffer;

    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn describe(&self) -> String {
        let threads = self.engine.threads.count();
        let plural = if threads == 1 { "" } else { "s" };
        let direct = &self.engine.direct;
        let mut parts = vec![
            model_name(),
            format!("{threads} thread{plural}"),
            match (direct.enabled(), direct.winograd()) {
                (true, true) => "micro-kernels with Winograd",
                (true, false) => "micro-kernels",
                (false, _) => "im2col + matrixmultiply",
            }
            .to_owned(),
        ];
        parts.extend(direct.tiles().map(|tiles| tiles.name().to_owned()));
        parts.push(self.engine.isa.name().to_owned());
        let remark = self.remark.map(|remark| format!("; {remark}")).unwrap_or_default();
        parts.join(", ") + &remark
    }

    fn supports(&self, dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::Bf16)
    }

    fn buffer_bytes(&self, desc: &TensorDesc) -> usize {
        buffer_bytes(desc)
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer> {
        Buffer::zeros(bytes)
    }

    fn upload(&mut self, desc: &TensorDesc, src: HostData<'_>, dst: &mut Buffer) -> Result<()> {
        transfer::upload(desc, src, dst)
    }

    fn download(&mut self, desc: &TensorDesc, src: &Buffer, dst: HostDataMut<'_>) -> Result<()> {
        transfer::download(desc, src, dst)
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(()) // every method returns when its op is done
    }

    fn prepare(&mut self, ops: &[Op]) -> Result<usize> {
        let mut need = Need::default();
        for op in ops {
            need.add(op, &mut self.engine.direct)?;
        }
        Ok(need.reserve(&mut self.engine))
    }

    fn arithmetic(&self, op: &Op) -> Arithmetic {
        self.engine.direct.arithmetic(op)
    }

    fn ingest(&mut self, op: &Ingest, pixels: &Buffer, affine: &Buffer, x: &mut Buffer) -> Result<()> {
        by_dtype!(op.x_desc().dtype, E => ingest::ingest::<E>(&mut self.engine, op, pixels, affine, x))
    }

    fn conv2d(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Buffer>,
        w: &Buffer,
        bias: Option<&Buffer>,
        y: &mut Buffer,
        sums: Option<&mut Buffer>,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => conv::forward::conv2d::<E>(&mut self.engine, op, x, w, bias, None, y, sums))
    }

    fn finishes(&self, _op: &Conv2d) -> bool {
        true
    }

    fn conv2d_finished(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Buffer>,
        w: &Buffer,
        bias: Option<&Buffer>,
        finish: Finish<'_, Buffer>,
        y: &mut Buffer,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => conv::forward::conv2d::<E>(&mut self.engine, op, x, w, bias, Some(finish), y, None))
    }

    fn conv2d_backward_data(
        &mut self,
        op: &Conv2d,
        dy: GradSource<'_, Buffer>,
        w: &Buffer,
        dx: GradOut<'_, Buffer>,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => conv::backward_data::conv2d_backward_data::<E>(&mut self.engine, op, dy, w, dx))
    }

    fn conv2d_backward_weight(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Buffer>,
        dy: GradSource<'_, Buffer>,
        dw: &mut Buffer,
        dbias: Option<&mut Buffer>,
        accumulate: Accumulate,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => conv::backward_weight::conv2d_backward_weight::<E>(&mut self.engine, op, x, dy, dw, dbias, accumulate))
    }

    fn joins_backward(&self, op: &Conv2d) -> bool {
        self.engine.direct.joins_backward(op)
    }

    fn conv2d_backward(
        &mut self,
        op: &Conv2d,
        x: Source<'_, Buffer>,
        dy: GradSource<'_, Buffer>,
        w: &Buffer,
        dx: GradOut<'_, Buffer>,
        dw: &mut Buffer,
        dbias: Option<&mut Buffer>,
        accumulate: Accumulate,
    ) -> Result<()> {
        if dbias.is_none() && self.joins_backward(op) {
            return conv::backward::conv2d_backward(&mut self.engine, op, x, dy, w, dx, dw, accumulate);
        }
        self.conv2d_backward_weight(op, x, dy, dw, dbias, accumulate)?;
        self.conv2d_backward_data(op, dy, w, dx)
    }

    fn combine(
        &mut self,
        op: &Combine,
        x: Source<'_, Buffer>,
        z: &mut Buffer,
        sums: Option<&mut Buffer>,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => combine::combine::<E>(&mut self.engine, op, x, z, sums))
    }

    fn combine_backward(
        &mut self,
        op: &Combine,
        dz: GradSource<'_, Buffer>,
        dx: GradOut<'_, Buffer>,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => combine::combine_backward::<E>(&mut self.engine, op, dz, dx))
    }

    fn max_pool(
        &mut self,
        op: &MaxPool,
        x: Source<'_, Buffer>,
        y: &mut Buffer,
        index: Option<&mut Buffer>,
        sums: Option<&mut Buffer>,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => max_pool::max_pool::<E>(&mut self.engine, op, x, y, index, sums))
    }

    fn max_pool_backward(
        &mut self,
        op: &MaxPool,
        dy: GradSource<'_, Buffer>,
        index: &Buffer,
        dx: GradOut<'_, Buffer>,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => max_pool::max_pool_backward::<E>(&mut self.engine, op, dy, index, dx))
    }

    fn avg_pool(&mut self, op: &AvgPool, x: Source<'_, Buffer>, y: &mut Buffer) -> Result<()> {
        by_dtype!(op.dtype(), E => avg_pool::avg_pool::<E>(&mut self.engine, op, x, y))
    }

    fn avg_pool_backward(
        &mut self,
        op: &AvgPool,
        dy: GradSource<'_, Buffer>,
        dx: GradOut<'_, Buffer>,
    ) -> Result<()> {
        by_dtype!(op.dtype(), E => avg_pool::avg_pool_backward::<E>(&mut self.engine, op, dy, dx))
    }

    fn norm_finish(
        &mut self,
        op: &BatchNorm,
        sums: &Buffer,
        gamma: &Buffer,
        beta: &Buffer,
        running: Running<'_, Buffer>,
        affine: &mut Buffer,
        moments: &mut Buffer,
    ) -> Result<()> {
        norm::finish(op, sums, gamma, beta, running, affine, moments)
    }

    fn norm_frozen(
        &mut self,
        op: &BatchNorm,
        running_mean: &Buffer,
        running_var: &Buffer,
        gamma: &Buffer,
        beta: &Buffer,
        affine: &mut Buffer,
    ) -> Result<()> {
        norm::frozen(op, running_mean, running_var, gamma, beta, affine)
    }

    fn norm_frozen_backward(&mut self, op: &BatchNorm, affine: &Buffer, coeffs: &mut Buffer) -> Result<()> {
        norm::frozen_backward(op, affine, coeffs)
    }

    fn norm_backward_finish(
        &mut self,
        op: &BatchNorm,
        sums: &Buffer,
        moments: &Buffer,
        gamma: &Buffer,
        dgamma: &mut Buffer,
        dbeta: &mut Buffer,
        accumulate: Accumulate,
        coeffs: &mut Buffer,
    ) -> Result<()> {
        norm::backward_finish(op, sums, moments, gamma, dgamma, dbeta, accumulate, coeffs)
    }

    fn softmax_cross_entropy(
        &mut self,
        op: &SoftmaxCrossEntropy,
        logits: &Buffer,
        targets: Targets<'_, Buffer>,
        scalars: &Buffer,
        dlogits: Option<&mut Buffer>,
        metrics: &mut Buffer,
        accumulate: Accumulate,
    ) -> Result<()> {
        by_dtype!(op.logits_desc().dtype, E => loss::softmax_cross_entropy::<E>(
            &mut self.engine,
            op,
            logits,
            targets,
            scalars,
            dlogits,
            metrics,
            accumulate,
        ))
    }

    fn grad_norm(&mut self, params: &[Param<Buffer>], norm: &mut Buffer) -> Result<()> {
        update::grad_norm(&mut self.engine, params, norm)
    }

    fn update(
        &mut self,
        rule: &Optimizer,
        scalars: &Buffer,
        norm: Option<&Buffer>,
        params: &mut [Param<Buffer>],
    ) -> Result<()> {
        update::update(&mut self.engine, rule, scalars, norm, params)
    }
}

/// The processor's name as the system tells it.
fn model_name() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == "model name").then(|| value.trim().to_owned())
            })
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
