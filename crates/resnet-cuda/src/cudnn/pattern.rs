//! The graphs of a training step, from a convolution's descriptor.
//!
//! Per-channel vectors are f32. What stands between a convolution and its epilogue is f32; what a prologue makes is of the tensors' own
//! type, because that is what the matrix units take.

use resnet_core::op::Conv2d;

use super::graph::{Operand, Shape, Tensor};
use super::library::Cudnn;
use super::names::{DataType, Pointwise};
use super::{CudnnError, Graph};

type Result<T> = std::result::Result<T, CudnnError>;

/// One fused graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// `y = conv(x, w)`.
    Forward,
    /// `dx`.
    BackwardData,
    /// `dw`, f32 whatever the type of the tensors: gradients of weights are.
    BackwardWeight,
    /// `y = conv(x, w) + bias`.
    ForwardBias,
    /// `dw` in the tensors' own type.
    BackwardWeightNarrow,
    /// Forward, and `Σ y`, `Σ y²` by cuDNN's operation for it.
    ForwardStatistics,
    /// Forward, and `Σ y`, `Σ y²` by two reductions.
    ForwardSums,
    /// Forward of `relu(scale·x + shift)`, and statistics of `y`.
    NormForwardStatistics,
    /// `dx` masked by `scale·y + shift > 0`, and `Σ dx`, `Σ dx·y`: the end of a normalisation's way back.
    BackwardDataMasked,
    /// `dx` plus the shortcut's gradient, masked by the block's value.
    BackwardDataShortcut,
    /// `relu(conv(x, w) + bias + residual)`.
    Inference,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 11] = [
        Pattern::Forward,
        Pattern::ForwardBias,
        Pattern::BackwardData,
        Pattern::BackwardWeight,
        Pattern::BackwardWeightNarrow,
        Pattern::ForwardStatistics,
        Pattern::ForwardSums,
        Pattern::NormForwardStatistics,
        Pattern::BackwardDataMasked,
        Pattern::BackwardDataShortcut,
        Pattern::Inference,
    ];

    /// A name for it, on disk too.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Forward => "forward",
            Pattern::ForwardBias => "forward with bias",
            Pattern::BackwardData => "backward-data",
            Pattern::BackwardWeight => "backward-weight",
            Pattern::BackwardWeightNarrow => "backward-weight in the tensors' type",
            Pattern::ForwardStatistics => "forward with statistics",
            Pattern::ForwardSums => "forward with two sums",
            Pattern::NormForwardStatistics => "normalised forward with statistics",
            Pattern::BackwardDataMasked => "backward-data with mask and sums",
            Pattern::BackwardDataShortcut => "backward-data with shortcut and mask",
            Pattern::Inference => "forward with bias, residual and ReLU",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pattern| pattern.name() == name)
    }

    /// The graph for a convolution with tensors of a type.
    ///
    /// # Errors
    /// What cuDNN refuses to describe. Whether an engine runs it is asked by [`Target::engines`](super::Target::engines).
    pub fn graph(self, library: &Cudnn, op: &Conv2d, data: DataType) -> Result<Graph> {
        let mut build = Build {
            graph: Graph::new(library),
            op,
            data,
            x: Shape::pictures(op.n(), op.c(), op.h(), op.w()),
            y: Shape::pictures(op.n(), op.k(), op.p(), op.q()),
        };
        match self {
            Pattern::Forward => build.forward(),
            Pattern::ForwardBias => build.forward_bias(),
            Pattern::BackwardData => build.backward_data(),
            Pattern::BackwardWeight => build.backward_weight(DataType::Float),
            Pattern::BackwardWeightNarrow => build.backward_weight(data),
            Pattern::ForwardStatistics => build.forward_statistics(),
            Pattern::ForwardSums => build.forward_sums(),
            Pattern::NormForwardStatistics => build.norm_forward_statistics(),
            Pattern::BackwardDataMasked => build.backward_data_masked(),
            Pattern::BackwardDataShortcut => build.backward_data_shortcut(),
            Pattern::Inference => build.inference(),
        }?;
        Ok(build.graph)
    }
}

struct Build<'a> {
    graph: Graph,
    op: &'a Conv2d,
    data: DataType,
    x: Shape,
    y: Shape,
}

impl Build<'_> {
    fn kernels(&mut self, operand: Operand, data: DataType) -> Result<Tensor> {
        let op = self.op;
        self.graph.tensor(operand, Shape::pictures(op.k(), op.c() / op.groups(), op.r(), op.s()), data)
    }

    fn weights(&mut self) -> Result<Tensor> {
        self.kernels(Operand::W, self.data)
    }

    fn per_channel(&mut self, operand: Operand, c: usize) -> Result<Tensor> {
        self.graph.tensor(operand, Shape::channels(c), DataType::Float)
    }

    /// `conv(x, w)` of a given x, as f32 between operations.
    fn product(&mut self, x: &Tensor) -> Result<Tensor> {
        let w = self.weights()?;
        let y = self.graph.between(self.y, DataType::Float)?;
        self.graph.forward(self.op, x, &w, &y)?;
        Ok(y)
    }

    /// `dx` as f32 between operations.
    fn data_gradient(&mut self) -> Result<Tensor> {
        let dy = self.graph.tensor(Operand::Dy, self.y, self.data)?;
        let w = self.weights()?;
        let dx = self.graph.between(self.x, DataType::Float)?;
        self.graph.backward_data(self.op, &dy, &w, &dx)?;
        Ok(dx)
    }

    fn forward(&mut self) -> Result<()> {
        let (x, w) = (self.graph.tensor(Operand::X, self.x, self.data)?, self.weights()?);
        let y = self.graph.tensor(Operand::Y, self.y, self.data)?;
        self.graph.forward(self.op, &x, &w, &y)
    }

    fn forward_bias(&mut self) -> Result<()> {
        let x = self.graph.tensor(Operand::X, self.x, self.data)?;
        let v = self.product(&x)?;
        let bias = self.per_channel(Operand::Bias, self.op.k())?;
        let y = self.graph.tensor(Operand::Y, self.y, self.data)?;
        self.graph.binary(Pointwise::Add, &v, &bias, &y)
    }

    fn backward_data(&mut self) -> Result<()> {
        let (dy, w) = (self.graph.tensor(Operand::Dy, self.y, self.data)?, self.weights()?);
        let dx = self.graph.tensor(Operand::Dx, self.x, self.data)?;
        self.graph.backward_data(self.op, &dy, &w, &dx)
    }

    fn backward_weight(&mut self, gradient: DataType) -> Result<()> {
        let x = self.graph.tensor(Operand::X, self.x, self.data)?;
        let dy = self.graph.tensor(Operand::Dy, self.y, self.data)?;
        let dw = self.kernels(Operand::Dw, gradient)?;
        self.graph.backward_weight(self.op, &x, &dy, &dw)
    }

    fn sums(&mut self, c: usize) -> Result<(Tensor, Tensor)> {
        Ok((self.per_channel(Operand::Sum, c)?, self.per_channel(Operand::Products, c)?))
    }

    fn statistics_of(&mut self, v: &Tensor) -> Result<()> {
        let (sum, squares) = self.sums(self.op.k())?;
        self.graph.statistics(v, &sum, &squares)
    }

    fn forward_statistics(&mut self) -> Result<()> {
        let x = self.graph.tensor(Operand::X, self.x, self.data)?;
        let v = self.product(&x)?;
        let y = self.graph.tensor(Operand::Y, self.y, self.data)?;
        self.graph.unary(Pointwise::Identity, &v, &y)?;
        self.statistics_of(&v)
    }

    fn forward_sums(&mut self) -> Result<()> {
        let x = self.graph.tensor(Operand::X, self.x, self.data)?;
        let v = self.product(&x)?;
        let y = self.graph.tensor(Operand::Y, self.y, self.data)?;
        self.graph.unary(Pointwise::Identity, &v, &y)?;
        let (sum, squares) = self.sums(self.op.k())?;
        self.graph.sum(&v, &sum)?;
        let square = self.graph.between(self.y, DataType::Float)?;
        self.graph.binary(Pointwise::Mul, &v, &v, &square)?;
        self.graph.sum(&square, &squares)
    }

    /// `scale·raw + shift`, of a type of its own.
    fn affine(&mut self, raw: &Tensor, shape: Shape, c: usize, data: DataType) -> Result<Tensor> {
        let (scale, shift) = (self.per_channel(Operand::Scale, c)?, self.per_channel(Operand::Shift, c)?);
        let scaled = self.graph.between(shape, data)?;
        self.graph.binary(Pointwise::Mul, raw, &scale, &scaled)?;
        let shifted = self.graph.between(shape, data)?;
        self.graph.binary(Pointwise::Add, &scaled, &shift, &shifted)?;
        Ok(shifted)
    }

    fn norm_forward_statistics(&mut self) -> Result<()> {
        let raw = self.graph.tensor(Operand::X, self.x, self.data)?;
        let shifted = self.affine(&raw, self.x, self.op.c(), self.data)?;
        let x = self.graph.between(self.x, self.data)?;
        self.graph.unary(Pointwise::Relu, &shifted, &x)?;
        let w = self.weights()?;
        let y = self.graph.tensor(Operand::Y, self.y, self.data)?;
        self.graph.forward(self.op, &x, &w, &y)?;
        self.statistics_of(&y)
    }

    fn backward_data_masked(&mut self) -> Result<()> {
        let dx = self.data_gradient()?;
        let raw = self.graph.tensor(Operand::X, self.x, self.data)?;
        let gate = self.affine(&raw, self.x, self.op.c(), DataType::Float)?;
        let masked = self.graph.between(self.x, DataType::Float)?;
        self.graph.relu_backward(&gate, &dx, &masked)?;
        let out = self.graph.tensor(Operand::Dx, self.x, self.data)?;
        self.graph.unary(Pointwise::Identity, &masked, &out)?;
        let (sum, products) = self.sums(self.op.c())?;
        self.graph.sum(&masked, &sum)?;
        let product = self.graph.between(self.x, DataType::Float)?;
        self.graph.binary(Pointwise::Mul, &masked, &raw, &product)?;
        self.graph.sum(&product, &products)
    }

    fn backward_data_shortcut(&mut self) -> Result<()> {
        let dx = self.data_gradient()?;
        let shortcut = self.graph.tensor(Operand::Residual, self.x, self.data)?;
        let both = self.graph.between(self.x, DataType::Float)?;
        self.graph.binary(Pointwise::Add, &dx, &shortcut, &both)?;
        let value = self.graph.tensor(Operand::X, self.x, self.data)?;
        let out = self.graph.tensor(Operand::Dx, self.x, self.data)?;
        self.graph.relu_backward(&value, &both, &out)
    }

    fn inference(&mut self) -> Result<()> {
        let x = self.graph.tensor(Operand::X, self.x, self.data)?;
        let v = self.product(&x)?;
        let bias = self.per_channel(Operand::Bias, self.op.k())?;
        let biased = self.graph.between(self.y, DataType::Float)?;
        self.graph.binary(Pointwise::Add, &v, &bias, &biased)?;
        let residual = self.graph.tensor(Operand::Residual, self.y, self.data)?;
        let sum = self.graph.between(self.y, DataType::Float)?;
        self.graph.binary(Pointwise::Add, &biased, &residual, &sum)?;
        let y = self.graph.tensor(Operand::Y, self.y, self.data)?;
        self.graph.unary(Pointwise::Relu, &sum, &y)
    }
}
