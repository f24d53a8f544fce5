//! The graphs of a training step and of inference, from a convolution's descriptor. The one place where they are described.
//!
//! A pattern is a convolution in one direction with what is fused before and after it.
//! Per-channel vectors are f32, and so is everything between two operations, but for the operand that the matrix units take: that is rounded
//! once to the tensors' type, as this crate's own kernels round it. [`Before::NarrowNorm`] alone departs from this.
//! Sums are of values as they are stored.
//!
//! A graph is a mathematical specification (cuDNN's documentation, "Operations and Operation Graphs"), so a convolution pads the tensor it
//! reads, which after a prologue is the value and not the raw tensor: the halo is zero, not `relu(shift)`. No word of the
//! documentation says it of an engine, so [`choice`](crate::choice) compares results at the border by themselves.

use std::fmt;

use resnet_core::op::Conv2d;

use super::graph::{Operand, Shape, Tensor};
use super::library::Cudnn;
use super::names::{DataType, Pointwise};
use super::{CudnnError, Graph};

type Result<T> = std::result::Result<T, CudnnError>;

/// What a convolution does to its input as it reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Before {
    /// It is read as it lies in memory.
    Nothing,
    /// `relu(scale·x + shift)`.
    Norm,
    /// The same with scale and shift in the tensors' type, which is what engines that were compiled in advance take. Rounding them moves
    /// a value by up to `2⁻¹¹·(|scale·x| + |shift|)` in f16, so it is for those who ask for it.
    NarrowNorm,
}

/// What a forward convolution does before it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum After {
    /// Nothing.
    Nothing,
    /// A bias is added.
    Bias,
    /// `Σ y`, `Σ y²` by cuDNN's operation for it.
    Statistics,
    /// The same with nothing between convolution and memory, which is what engines take that were compiled in advance.
    DirectStatistics,
    /// The same by two reductions.
    Sums,
    /// `relu(y + bias + residual)`. Held to what cuDNN accepts, and not executed: this backend finishes no convolutions of inference
    /// ([`Backend::finishes`](resnet_core::Backend::finishes)), because it has no other way to round such a result once.
    Inference,
}

/// What a data gradient does before it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Nothing.
    Nothing,
    /// The mask `scale·x + shift > 0`, then `Σ dx` and `Σ dx·(x − mean)`: towards a normalisation inside a block.
    Masked,
    /// The shortcut's gradient is added, the mask `value > 0`, then `Σ dx` and `Σ dx·(y − mean)`: towards the block before.
    Shortcut,
    /// The same with products for two normalisations, where the block before has a projection.
    ShortcutTwice,
}

/// One graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// `y`.
    Forward(Before, After),
    /// `dx`.
    BackwardData {
        /// The gradient is read as `A·dz + B·y + C`: the way back through a normalisation.
        through_norm: bool,
        /// What is done before it is stored.
        end: End,
    },
    /// `dw`.
    BackwardWeight {
        /// What is done to the input.
        x: Before,
        /// In the tensors' own type, and not in f32, which gradients of weights have.
        narrow: bool,
    },
}

impl Pattern {
    /// `y = conv(x, w)`.
    pub const FORWARD: Pattern = Pattern::Forward(Before::Nothing, After::Nothing);
    /// `dx`, with nothing fused.
    pub const BACKWARD_DATA: Pattern = Pattern::BackwardData { through_norm: false, end: End::Nothing };
    /// `dw` in f32.
    pub const BACKWARD_WEIGHT: Pattern = Pattern::BackwardWeight { x: Before::Nothing, narrow: false };
    /// `dw` in the tensors' type.
    pub const BACKWARD_WEIGHT_NARROW: Pattern = Pattern::BackwardWeight { x: Before::Nothing, narrow: true };

    /// All that are used.
    pub fn all() -> Vec<Pattern> {
        use {After::*, End::*};
        let mut all = Vec::new();
        for before in [Before::Nothing, Before::Norm] {
            all.extend([After::Nothing, Bias, Statistics, Sums].map(|after| Pattern::Forward(before, after)));
        }
        all.push(Pattern::Forward(Before::Nothing, DirectStatistics));
        all.push(Pattern::Forward(Before::NarrowNorm, DirectStatistics));
        all.push(Pattern::Forward(Before::Nothing, Inference));
        for through_norm in [false, true] {
            let ends = [End::Nothing, Masked, Shortcut, ShortcutTwice];
            all.extend(ends.map(|end| Pattern::BackwardData { through_norm, end }));
        }
        all.extend([Pattern::BACKWARD_WEIGHT, Pattern::BACKWARD_WEIGHT_NARROW]);
        all.push(Pattern::BackwardWeight { x: Before::NarrowNorm, narrow: true });
        all
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|pattern| pattern.to_string() == name)
    }

    /// Whether something is done to an operand as it is read.
    pub fn has_prologue(self) -> bool {
        match self {
            Pattern::Forward(before, _) | Pattern::BackwardWeight { x: before, .. } => {
                before != Before::Nothing
            }
            Pattern::BackwardData { through_norm, .. } => through_norm,
        }
    }

    /// Whether it computes a gradient of the input.
    pub fn is_towards_input(self) -> bool {
        matches!(self, Pattern::BackwardData { .. })
    }

    /// Whether it gives the sums that batch statistics are made of.
    pub fn has_statistics(self) -> bool {
        matches!(self, Pattern::Forward(_, After::Statistics | After::DirectStatistics | After::Sums))
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
            Pattern::Forward(before, after) => build.forward(before, after),
            Pattern::BackwardData { through_norm, end } => build.backward_data(through_norm, end),
            Pattern::BackwardWeight { x, narrow } => build.backward_weight(x, narrow),
        }?;
        Ok(build.graph)
    }
}

/// A name for it, on disk too.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = |before: Before| match before {
            Before::Nothing => "",
            Before::Norm => "normalised ",
            Before::NarrowNorm => "narrowly normalised ",
        };
        match *self {
            Pattern::Forward(x, after) => {
                write!(f, "{}forward", before(x))?;
                f.write_str(match after {
                    After::Nothing => "",
                    After::Bias => " with bias",
                    After::Statistics => " with statistics",
                    After::DirectStatistics => " with statistics, directly",
                    After::Sums => " with two sums",
                    After::Inference => " with bias, residual and ReLU",
                })
            }
            Pattern::BackwardData { through_norm, end } => {
                write!(f, "backward-data{}", if through_norm { " through a normalisation" } else { "" })?;
                f.write_str(match end {
                    End::Nothing => "",
                    End::Masked => " with mask and sums",
                    End::Shortcut => " with shortcut, mask and sums",
                    End::ShortcutTwice => " with shortcut, mask and sums for two",
                })
            }
            Pattern::BackwardWeight { x, narrow } => {
                write!(f, "{}backward-weight{}", before(x), if narrow { " in the tensors' type" } else { "" })
            }
        }
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

    fn per_channel(&mut self, operand: Operand, c: usize) -> Result<Tensor> {
        self.graph.tensor(operand, Shape::channels(c), DataType::Float)
    }

    /// `a ∘ b` as f32 between operations.
    fn binary(&mut self, mode: Pointwise, a: &Tensor, b: &Tensor, shape: Shape) -> Result<Tensor> {
        let y = self.graph.between(shape, DataType::Float)?;
        self.graph.binary(mode, a, b, &y)?;
        Ok(y)
    }

    /// `scale·raw + shift` as f32 between operations, with vectors of a type.
    fn affine(&mut self, raw: &Tensor, data: DataType) -> Result<Tensor> {
        let c = Shape::channels(self.op.c());
        let scale = self.graph.tensor(Operand::Scale, c, data)?;
        let shift = self.graph.tensor(Operand::Shift, c, data)?;
        let scaled = self.binary(Pointwise::Mul, raw, &scale, self.x)?;
        self.binary(Pointwise::Add, &scaled, &shift, self.x)
    }

    /// The input as the convolution reads it.
    fn input(&mut self, before: Before) -> Result<Tensor> {
        let raw = self.graph.tensor(Operand::X, self.x, self.data)?;
        let table = match before {
            Before::Nothing => return Ok(raw),
            Before::Norm => DataType::Float,
            Before::NarrowNorm => self.data,
        };
        let shifted = self.affine(&raw, table)?;
        let x = self.graph.between(self.x, self.data)?;
        self.graph.unary(Pointwise::Relu, &shifted, &x)?;
        Ok(x)
    }

    fn forward(&mut self, before: Before, after: After) -> Result<()> {
        let x = self.input(before)?;
        let w = self.kernels(Operand::W, self.data)?;
        let y = self.graph.tensor(Operand::Y, self.y, self.data)?;
        if matches!(after, After::Nothing | After::DirectStatistics) {
            self.graph.forward(self.op, &x, &w, &y)?;
            return if after == After::Nothing { Ok(()) } else { self.statistics_of(&y) };
        }
        let v = self.graph.between(self.y, DataType::Float)?;
        self.graph.forward(self.op, &x, &w, &v)?;
        match after {
            After::Bias => {
                let bias = self.per_channel(Operand::Bias, self.op.k())?;
                self.graph.binary(Pointwise::Add, &v, &bias, &y)
            }
            After::Inference => {
                let bias = self.per_channel(Operand::Bias, self.op.k())?;
                let biased = self.binary(Pointwise::Add, &v, &bias, self.y)?;
                let residual = self.graph.tensor(Operand::Residual, self.y, self.data)?;
                let sum = self.binary(Pointwise::Add, &biased, &residual, self.y)?;
                self.graph.unary(Pointwise::Relu, &sum, &y)
            }
            After::Sums => {
                self.graph.unary(Pointwise::Identity, &v, &y)?;
                let sum = self.per_channel(Operand::Sum, self.op.k())?;
                self.graph.sum(&y, &sum)?;
                let square = self.binary(Pointwise::Mul, &y, &y, self.y)?;
                let squares = self.per_channel(Operand::Products, self.op.k())?;
                self.graph.sum(&square, &squares)
            }
            After::Nothing | After::Statistics | After::DirectStatistics => {
                self.graph.unary(Pointwise::Identity, &v, &y)?;
                self.statistics_of(&y)
            }
        }
    }

    fn statistics_of(&mut self, y: &Tensor) -> Result<()> {
        let sum = self.per_channel(Operand::Sum, self.op.k())?;
        let squares = self.per_channel(Operand::Products, self.op.k())?;
        self.graph.statistics(y, &sum, &squares)
    }

    /// The gradient of the output as the convolution reads it.
    fn gradient(&mut self, through_norm: bool) -> Result<Tensor> {
        let dz = self.graph.tensor(Operand::Dy, self.y, self.data)?;
        if !through_norm {
            return Ok(dz);
        }
        let raw = self.graph.tensor(Operand::Y, self.y, self.data)?;
        let k = self.op.k();
        let a = self.per_channel(Operand::A, k)?;
        let b = self.per_channel(Operand::B, k)?;
        let c = self.per_channel(Operand::C, k)?;
        let scaled = self.binary(Pointwise::Mul, &dz, &a, self.y)?;
        let raw = self.binary(Pointwise::Mul, &raw, &b, self.y)?;
        let both = self.binary(Pointwise::Add, &scaled, &raw, self.y)?;
        let dy = self.graph.between(self.y, self.data)?;
        self.graph.binary(Pointwise::Add, &both, &c, &dy)?;
        Ok(dy)
    }

    fn backward_data(&mut self, through_norm: bool, end: End) -> Result<()> {
        let dy = self.gradient(through_norm)?;
        let w = self.kernels(Operand::W, self.data)?;
        let dx = self.graph.tensor(Operand::Dx, self.x, self.data)?;
        if end == End::Nothing {
            return self.graph.backward_data(self.op, &dy, &w, &dx);
        }
        let v = self.graph.between(self.x, DataType::Float)?;
        self.graph.backward_data(self.op, &dy, &w, &v)?;
        let value = self.graph.tensor(Operand::X, self.x, self.data)?;
        let (v, gate) = if end == End::Masked {
            (v, self.affine(&value, DataType::Float)?)
        } else {
            let shortcut = self.graph.tensor(Operand::Residual, self.x, self.data)?;
            (self.binary(Pointwise::Add, &v, &shortcut, self.x)?, value.clone())
        };
        let masked = self.graph.between(self.x, DataType::Float)?;
        self.graph.relu_backward(&gate, &v, &masked)?;
        self.graph.unary(Pointwise::Identity, &masked, &dx)?;
        let sum = self.per_channel(Operand::Sum, self.op.c())?;
        self.graph.sum(&dx, &sum)?;
        let first =
            if end == End::Masked { value } else { self.graph.tensor(Operand::Raw, self.x, self.data)? };
        self.products(&dx, &first, Operand::Mean, Operand::Products)?;
        if end == End::ShortcutTwice {
            let second = self.graph.tensor(Operand::OtherRaw, self.x, self.data)?;
            self.products(&dx, &second, Operand::OtherMean, Operand::OtherProducts)?;
        }
        Ok(())
    }

    /// `Σ dx·(raw − mean)`.
    fn products(&mut self, dx: &Tensor, raw: &Tensor, mean: Operand, to: Operand) -> Result<()> {
        let mean = self.per_channel(mean, self.op.c())?;
        let centred = self.binary(Pointwise::Sub, raw, &mean, self.x)?;
        let product = self.binary(Pointwise::Mul, dx, &centred, self.x)?;
        let sum = self.per_channel(to, self.op.c())?;
        self.graph.sum(&product, &sum)
    }

    fn backward_weight(&mut self, before: Before, narrow: bool) -> Result<()> {
        let x = self.input(before)?;
        let dy = self.graph.tensor(Operand::Dy, self.y, self.data)?;
        let dw = self.kernels(Operand::Dw, if narrow { self.data } else { DataType::Float })?;
        self.graph.backward_weight(self.op, &x, &dy, &dw)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_tell_patterns_apart() {
        let all = Pattern::all();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        for pattern in all {
            assert_eq!(Pattern::named(&pattern.to_string()), Some(pattern), "{pattern}");
        }
        assert_eq!(Pattern::named("sideways"), None);
    }
}
