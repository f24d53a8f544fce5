//! [`CudaBackend`]: the trait's methods, each handed to the file of its op.

use std::sync::Arc;

use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, Gather, Ingest, LossScale, MaxPool, Op, Optimizer,
    SoftmaxCrossEntropy, Targets,
};
use resnet_core::{
    Accumulate, Backend, DType, GradOut, GradSource, HostData, HostDataMut, Param, RecordingKey, Result,
    Running, Source, TensorDesc,
};

use crate::buffer::{Buffer, buffer_bytes};
use crate::choice::Choice;
use crate::choice::ways::{Chosen, Tuning};
use crate::compile::Cache;
use crate::engine::Engine;
use crate::machine::Machine;
use crate::machine::device::Gpu;
use crate::machine::emulator::Emulator;
use crate::ops::{combine, conv, gather, ingest, loss, loss_scale, norm, pool, transfer, update};
use crate::prepare;
use crate::probe::probe;
use crate::recording::{Due, Recordings};
use crate::search::{Environment, Search};

/// One in-order queue on one CUDA device, or on its emulation.
pub struct CudaBackend {
    engine: Engine,
    recordings: Recordings,
}

impl CudaBackend {
    /// Opens the device with this number, from 0. Kernels are compiled on first use, which takes seconds.
    /// Under `RESNET_CUDA_EMULATE=1` it is [`CudaBackend::emulated`] instead, whatever the number.
    ///
    /// # Errors
    /// Whatever of driver, device and NVRTC is missing, as [`Error::Device`](resnet_core::Error::Device) with what to do.
    pub fn new(ordinal: usize) -> Result<Self> {
        if std::env::var_os("RESNET_CUDA_EMULATE").is_some_and(|value| value == "1") {
            return Self::emulated();
        }
        Self::open(&Search::usual(&Environment::of_process()), ordinal)
    }

    /// As [`CudaBackend::new`], with libraries looked for in given places.
    ///
    /// # Errors
    /// As [`CudaBackend::new`]. [`probe`] gives the reason typed.
    pub fn open(search: &Search, ordinal: usize) -> Result<Self> {
        let device = probe(search, ordinal)?;
        Self::on(Box::new(Gpu::open(search, device, Some(Cache::usual()))?))
    }

    /// The same backend on this processor, for tests and for trying things out. It is slow.
    ///
    /// # Errors
    /// As [`Emulator::new`].
    pub fn emulated() -> Result<Self> {
        Self::on(Box::new(Emulator::new()?))
    }

    /// As long as it lives, convolutions take these kernels.
    #[must_use]
    pub fn with_choice(mut self, choice: Choice) -> Self {
        self.engine.ways.choice = choice;
        self.engine.ways.restart();
        self
    }

    /// From now on ways to compute convolutions are timed, and kept on disk, as this says.
    #[must_use]
    pub fn with_tuning(mut self, tuning: Tuning) -> Self {
        self.engine.ways.tuning = tuning;
        self.engine.ways.restart();
        self
    }

    /// What was chosen for the convolutions that were prepared, in the order of their names. Empty where rules decide.
    pub fn chosen(&self) -> Vec<Chosen> {
        self.engine.ways.list()
    }

    /// What is worth knowing about the choices: what was refused and why.
    pub fn notes(&self) -> &[String] {
        self.engine.ways.notes()
    }

    /// The backend on a machine.
    ///
    /// # Errors
    /// Kernels that the machine cannot load.
    pub fn on(machine: Box<dyn Machine>) -> Result<Self> {
        Ok(Self { engine: Engine::new(machine)?, recordings: Recordings::default() })
    }
}

impl std::fmt::Debug for CudaBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CudaBackend({})", self.describe())
    }
}

impl Backend for CudaBackend {
    type Buffer = Buffer;

    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn describe(&self) -> String {
        format!("{}; {}", self.engine.machine.describe(), self.engine.ways.describe())
    }

    fn supports(&self, dtype: DType) -> bool {
        match dtype {
            DType::F32 | DType::Bf16 | DType::F16 => true,
        }
    }

    fn buffer_bytes(&self, desc: &TensorDesc) -> usize {
        buffer_bytes(desc)
    }

    fn alloc(&mut self, bytes: usize) -> Result<Self::Buffer> {
        let memory = self.engine.machine.alloc(bytes)?;
        Ok(Buffer::new(memory, Arc::clone(&self.engine.freed)))
    }

    fn upload(&mut self, desc: &TensorDesc, src: HostData<'_>, dst: &mut Self::Buffer) -> Result<()> {
        transfer::upload(&mut self.engine, desc, src, dst)
    }

    fn download(&mut self, desc: &TensorDesc, src: &Self::Buffer, dst: HostDataMut<'_>) -> Result<()> {
        transfer::download(&mut self.engine, desc, src, dst)
    }

    fn synchronize(&mut self) -> Result<()> {
        self.engine.machine.synchronize()
    }

    fn new_recording(&mut self) -> RecordingKey {
        self.recordings.new_key()
    }

    fn recorded(&mut self, key: RecordingKey, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        match self.recordings.due(key, &mut self.engine) {
            Due::Run => step(self),
            Due::Replay(recording) => self.engine.machine.replay(recording),
            Due::Record => {
                self.engine.machine.begin_recording()?;
                self.engine.recording = true;
                let noted = step(self);
                self.engine.recording = false;
                let recording = self.engine.machine.end_recording();
                noted?;
                let recording = recording?;
                self.recordings.keep(key, recording, &self.engine);
                self.engine.machine.replay(recording)
            }
        }
    }

    fn prepare(&mut self, ops: &[Op]) -> Result<usize> {
        prepare::prepare(&mut self.engine, ops)
    }

    fn choices(&self) -> Vec<String> {
        let chosen = self.engine.ways.list().into_iter().map(|chosen| chosen.to_string());
        chosen.chain(self.engine.ways.notes().iter().cloned()).collect()
    }

    fn ingest(
        &mut self,
        op: &Ingest,
        pixels: &Self::Buffer,
        affine: &Self::Buffer,
        x: &mut Self::Buffer,
    ) -> Result<()> {
        ingest::ingest(&mut self.engine, op, pixels, affine, x)
    }

    /// Half of what is free: tables, kernels and scratch are still to come.
    fn room_for_pictures(&self) -> usize {
        self.engine.machine.free_bytes() / 2
    }

    fn gather(
        &mut self,
        op: &Gather,
        pictures: &Self::Buffer,
        picks: &Self::Buffer,
        affine: &Self::Buffer,
        x: &mut Self::Buffer,
    ) -> Result<()> {
        gather::gather(&mut self.engine, op, pictures, picks, affine, x)
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
        conv::forward::conv2d(&mut self.engine, op, x, w, bias, y, sums)
    }

    fn conv2d_backward_data(
        &mut self,
        op: &Conv2d,
        dy: GradSource<'_, Self::Buffer>,
        w: &Self::Buffer,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        conv::backward_data::conv2d_backward_data(&mut self.engine, op, dy, w, dx)
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
        conv::backward_weight::conv2d_backward_weight(&mut self.engine, op, x, dy, dw, dbias, accumulate)
    }

    fn combine(
        &mut self,
        op: &Combine,
        x: Source<'_, Self::Buffer>,
        z: &mut Self::Buffer,
        sums: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        combine::combine(&mut self.engine, op, x, z, sums)
    }

    fn combine_backward(
        &mut self,
        op: &Combine,
        dz: GradSource<'_, Self::Buffer>,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        combine::combine_backward(&mut self.engine, op, dz, dx)
    }

    fn max_pool(
        &mut self,
        op: &MaxPool,
        x: Source<'_, Self::Buffer>,
        y: &mut Self::Buffer,
        index: Option<&mut Self::Buffer>,
        sums: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        pool::max_pool(&mut self.engine, op, x, y, index, sums)
    }

    fn max_pool_backward(
        &mut self,
        op: &MaxPool,
        dy: GradSource<'_, Self::Buffer>,
        index: &Self::Buffer,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        pool::max_pool_backward(&mut self.engine, op, dy, index, dx)
    }

    fn avg_pool(&mut self, op: &AvgPool, x: Source<'_, Self::Buffer>, y: &mut Self::Buffer) -> Result<()> {
        pool::avg_pool(&mut self.engine, op, x, y)
    }

    fn avg_pool_backward(
        &mut self,
        op: &AvgPool,
        dy: GradSource<'_, Self::Buffer>,
        dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        pool::avg_pool_backward(&mut self.engine, op, dy, dx)
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
        norm::finish(&mut self.engine, op, sums, gamma, beta, running, affine, moments)
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
        norm::frozen(&mut self.engine, op, running_mean, running_var, gamma, beta, affine)
    }

    fn norm_frozen_backward(
        &mut self,
        op: &BatchNorm,
        affine: &Self::Buffer,
        coeffs: &mut Self::Buffer,
    ) -> Result<()> {
        norm::frozen_backward(&mut self.engine, op, affine, coeffs)
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
        norm::backward_finish(&mut self.engine, op, sums, moments, gamma, dgamma, dbeta, accumulate, coeffs)
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
        loss::softmax_cross_entropy(
            &mut self.engine,
            op,
            logits,
            targets,
            scalars,
            dlogits,
            metrics,
            accumulate,
        )
    }

    fn scale_loss(
        &mut self,
        rule: &Optimizer,
        state: &Self::Buffer,
        scalars: &mut Self::Buffer,
    ) -> Result<()> {
        loss_scale::scale(&mut self.engine, rule, state, scalars)
    }

    fn adapt_loss_scale(
        &mut self,
        rule: &LossScale,
        norm: &Self::Buffer,
        state: &mut Self::Buffer,
    ) -> Result<()> {
        loss_scale::adapt(&mut self.engine, rule, norm, state)
    }

    fn grad_norm(&mut self, params: &[Param<Self::Buffer>], norm: &mut Self::Buffer) -> Result<()> {
        update::grad_norm(&mut self.engine, params, norm)
    }

    fn update(
        &mut self,
        rule: &Optimizer,
        scalars: &Self::Buffer,
        norm: Option<&Self::Buffer>,
        params: &mut [Param<Self::Buffer>],
    ) -> Result<()> {
        update::update(&mut self.engine, rule, scalars, norm, params)
    }
}
