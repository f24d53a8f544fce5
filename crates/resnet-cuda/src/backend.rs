//! [`CudaBackend`]: a backend that this version can look for and not yet have.

use std::convert::Infallible;

use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, Ingest, MaxPool, Op, Optimizer, SoftmaxCrossEntropy, Targets,
};
use resnet_core::{
    Accumulate, Backend, DType, GradOut, GradSource, HostData, HostDataMut, Param, Result, Running, Source,
    TensorDesc,
};

use crate::error::CudaUnavailable;
use crate::probe::probe;
use crate::search::{Environment, Search};

/// One in-order queue on one CUDA device.
///
/// There are no kernels in this version, so no value of this type can exist: its only field has none.
/// The compiler therefore accepts the [`Backend`] below without a line of code behind it, and it can never be reached.
#[derive(Debug)]
pub struct CudaBackend {
    never: Infallible,
}

/// Memory on a CUDA device. Like [`CudaBackend`], without values in this version.
#[derive(Debug)]
pub enum CudaBuffer {}

impl CudaBackend {
    /// Opens the device with this number, from 0.
    ///
    /// # Errors
    /// Whatever of driver, device and NVRTC is missing, as [`Error::Device`](resnet_core::Error::Device) with what to do;
    /// if all are there, [`Error::Unsupported`](resnet_core::Error::Unsupported) with the device that was found.
    pub fn new(ordinal: usize) -> Result<Self> {
        let search = Search::usual(&Environment::of_process());
        Ok(Self::open(&search, ordinal)?)
    }

    /// As [`CudaBackend::new`], with libraries looked for in given places and the reason typed.
    ///
    /// # Errors
    /// Every [`CudaUnavailable`].
    pub fn open(search: &Search, ordinal: usize) -> std::result::Result<Self, CudaUnavailable> {
        let device = probe(search, ordinal)?;
        Err(CudaUnavailable::NoKernels { device })
    }
}

impl Backend for CudaBackend {
    type Buffer = CudaBuffer;

    fn name(&self) -> &'static str {
        match self.never {}
    }

    fn describe(&self) -> String {
        match self.never {}
    }

    fn supports(&self, _dtype: DType) -> bool {
        match self.never {}
    }

    fn buffer_bytes(&self, _desc: &TensorDesc) -> usize {
        match self.never {}
    }

    fn alloc(&mut self, _bytes: usize) -> Result<Self::Buffer> {
        match self.never {}
    }

    fn upload(&mut self, _desc: &TensorDesc, _src: HostData<'_>, _dst: &mut Self::Buffer) -> Result<()> {
        match self.never {}
    }

    fn download(&mut self, _desc: &TensorDesc, _src: &Self::Buffer, _dst: HostDataMut<'_>) -> Result<()> {
        match self.never {}
    }

    fn synchronize(&mut self) -> Result<()> {
        match self.never {}
    }

    fn prepare(&mut self, _ops: &[Op]) -> Result<usize> {
        match self.never {}
    }

    fn ingest(
        &mut self,
        _op: &Ingest,
        _pixels: &Self::Buffer,
        _affine: &Self::Buffer,
        _x: &mut Self::Buffer,
    ) -> Result<()> {
        match self.never {}
    }

    fn conv2d(
        &mut self,
        _op: &Conv2d,
        _x: Source<'_, Self::Buffer>,
        _w: &Self::Buffer,
        _bias: Option<&Self::Buffer>,
        _y: &mut Self::Buffer,
        _sums: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        match self.never {}
    }

    fn conv2d_backward_data(
        &mut self,
        _op: &Conv2d,
        _dy: GradSource<'_, Self::Buffer>,
        _w: &Self::Buffer,
        _dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        match self.never {}
    }

    fn conv2d_backward_weight(
        &mut self,
        _op: &Conv2d,
        _x: Source<'_, Self::Buffer>,
        _dy: GradSource<'_, Self::Buffer>,
        _dw: &mut Self::Buffer,
        _dbias: Option<&mut Self::Buffer>,
        _accumulate: Accumulate,
    ) -> Result<()> {
        match self.never {}
    }

    fn combine(
        &mut self,
        _op: &Combine,
        _x: Source<'_, Self::Buffer>,
        _z: &mut Self::Buffer,
        _sums: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        match self.never {}
    }

    fn combine_backward(
        &mut self,
        _op: &Combine,
        _dz: GradSource<'_, Self::Buffer>,
        _dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        match self.never {}
    }

    fn max_pool(
        &mut self,
        _op: &MaxPool,
        _x: Source<'_, Self::Buffer>,
        _y: &mut Self::Buffer,
        _index: Option<&mut Self::Buffer>,
        _sums: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        match self.never {}
    }

    fn max_pool_backward(
        &mut self,
        _op: &MaxPool,
        _dy: GradSource<'_, Self::Buffer>,
        _index: &Self::Buffer,
        _dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        match self.never {}
    }

    fn avg_pool(&mut self, _op: &AvgPool, _x: Source<'_, Self::Buffer>, _y: &mut Self::Buffer) -> Result<()> {
        match self.never {}
    }

    fn avg_pool_backward(
        &mut self,
        _op: &AvgPool,
        _dy: GradSource<'_, Self::Buffer>,
        _dx: GradOut<'_, Self::Buffer>,
    ) -> Result<()> {
        match self.never {}
    }

    fn norm_finish(
        &mut self,
        _op: &BatchNorm,
        _sums: &Self::Buffer,
        _gamma: &Self::Buffer,
        _beta: &Self::Buffer,
        _running: Running<'_, Self::Buffer>,
        _affine: &mut Self::Buffer,
        _moments: &mut Self::Buffer,
    ) -> Result<()> {
        match self.never {}
    }

    fn norm_frozen(
        &mut self,
        _op: &BatchNorm,
        _running_mean: &Self::Buffer,
        _running_var: &Self::Buffer,
        _gamma: &Self::Buffer,
        _beta: &Self::Buffer,
        _affine: &mut Self::Buffer,
    ) -> Result<()> {
        match self.never {}
    }

    fn norm_backward_finish(
        &mut self,
        _op: &BatchNorm,
        _sums: &Self::Buffer,
        _moments: &Self::Buffer,
        _gamma: &Self::Buffer,
        _dgamma: &mut Self::Buffer,
        _dbeta: &mut Self::Buffer,
        _accumulate: Accumulate,
        _coeffs: &mut Self::Buffer,
    ) -> Result<()> {
        match self.never {}
    }

    fn softmax_cross_entropy(
        &mut self,
        _op: &SoftmaxCrossEntropy,
        _logits: &Self::Buffer,
        _targets: Targets<'_, Self::Buffer>,
        _scalars: &Self::Buffer,
        _dlogits: Option<&mut Self::Buffer>,
        _metrics: &mut Self::Buffer,
        _accumulate: Accumulate,
    ) -> Result<()> {
        match self.never {}
    }

    fn grad_norm(&mut self, _params: &[Param<Self::Buffer>], _norm: &mut Self::Buffer) -> Result<()> {
        match self.never {}
    }

    fn update(
        &mut self,
        _rule: &Optimizer,
        _scalars: &Self::Buffer,
        _norm: Option<&Self::Buffer>,
        _params: &mut [Param<Self::Buffer>],
    ) -> Result<()> {
        match self.never {}
    }
}
