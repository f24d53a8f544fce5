//! Tensors and operations.
//!
//! Activations are NHWC and weights KRSC in memory, described to cuDNN as NCHW and KCRS with strides, as it wants them.
//! A virtual tensor stands between two operations and is never in memory.

use std::rc::Rc;

use resnet_core::op::Conv2d;

use super::CudnnError;
use super::library::{Cudnn, Descriptor, Handle, Value};
use super::names::{
    Attribute, CROSS_CORRELATION, DataType, Kind, Pointwise, REDUCE_ADD, SUM_AND_SQUARES, Type,
};

type Result<T> = std::result::Result<T, CudnnError>;

/// A tensor of a graph.
#[derive(Clone)]
pub struct Tensor(Rc<Descriptor>);

/// What a tensor in memory is to whoever executes a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The input of a convolution, or its raw form where the graph normalises it.
    X,
    /// Kernels.
    W,
    /// The output.
    Y,
    /// The gradient of the output.
    Dy,
    /// The gradient of the input.
    Dx,
    /// The gradient of the kernels.
    Dw,
    /// One number per output channel, added.
    Bias,
    /// Scale per input channel.
    Scale,
    /// Shift per input channel.
    Shift,
    /// What is added before a ReLU.
    Residual,
    /// The first sum per channel.
    Sum,
    /// The second: of squares, or of products.
    Products,
    /// The coefficient of the gradient on a normalisation's way back, per output channel: `A·dz + B·y + C`.
    A,
    /// That of the raw output, which is [`Operand::Y`] here.
    B,
    /// What is added.
    C,
    /// The raw tensor that a gradient is multiplied with for the second sum.
    Raw,
    /// Its mean per channel.
    Mean,
    /// The same for a second normalisation.
    OtherRaw,
    /// Its mean.
    OtherMean,
    /// The second sum for it.
    OtherProducts,
}

/// Extents in cuDNN's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape([usize; 4]);

impl Shape {
    /// Pictures: n, c, h, w.
    pub fn pictures(n: usize, c: usize, h: usize, w: usize) -> Self {
        Shape([n, c, h, w])
    }

    /// One number per channel.
    pub fn channels(c: usize) -> Self {
        Shape([1, c, 1, 1])
    }

    /// Channels last.
    fn strides(self) -> [i64; 4] {
        let [_, c, h, w] = self.0.map(|extent| extent as i64);
        [h * w * c, 1, w * c, c]
    }
}

/// Operations on tensors, in the making.
pub struct Graph {
    library: Cudnn,
    operations: Vec<Rc<Descriptor>>,
    n_tensors: i64,
    operands: Vec<(Operand, i64)>,
}

impl Graph {
    /// An empty one.
    pub fn new(library: &Cudnn) -> Self {
        Graph { library: library.clone(), operations: Vec::new(), n_tensors: 0, operands: Vec::new() }
    }

    /// A tensor in memory. They are numbered from 1, in the order in which they are made, virtual ones too.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn tensor(&mut self, operand: Operand, shape: Shape, data: DataType) -> Result<Tensor> {
        let tensor = self.make(shape, data, false)?;
        self.operands.push((operand, self.n_tensors));
        Ok(tensor)
    }

    /// Tensors in memory and their numbers.
    pub fn operands(&self) -> &[(Operand, i64)] {
        &self.operands
    }

    /// A tensor between two operations.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn between(&mut self, shape: Shape, data: DataType) -> Result<Tensor> {
        self.make(shape, data, true)
    }

    fn make(&mut self, shape: Shape, data: DataType, is_virtual: bool) -> Result<Tensor> {
        self.n_tensors += 1;
        let mut tensor = self.library.descriptor(Kind::Tensor)?;
        tensor.set(Attribute::TensorDataType, Value::Data(data))?;
        tensor.set(Attribute::TensorDimensions, Value::Int64(&shape.0.map(|extent| extent as i64)))?;
        tensor.set(Attribute::TensorStrides, Value::Int64(&shape.strides()))?;
        tensor.set(Attribute::TensorId, Value::Int64(&[self.n_tensors]))?;
        tensor.set(Attribute::TensorAlignment, Value::Int64(&[16]))?;
        if is_virtual {
            tensor.set(Attribute::TensorVirtual, Value::Bool(true))?;
        }
        Ok(Tensor(tensor.finish()?))
    }

    fn convolution(&self, op: &Conv2d) -> Result<Rc<Descriptor>> {
        let pad = op.padding();
        let mut convolution = self.library.descriptor(Kind::Convolution)?;
        let numbers = |a: usize, b: usize| [a as i64, b as i64];
        convolution.set(Attribute::ConvolutionComputeType, Value::Data(DataType::Float))?;
        convolution.set(Attribute::ConvolutionMode, Value::Mode(Type::ConvolutionMode, CROSS_CORRELATION))?;
        convolution.set(Attribute::ConvolutionSpatialDims, Value::Int64(&[2]))?;
        convolution.set(Attribute::ConvolutionDilations, Value::Int64(&[1, 1]))?;
        convolution.set(Attribute::ConvolutionStrides, Value::Int64(&numbers(op.stride(), op.stride())))?;
        convolution.set(Attribute::ConvolutionPrePaddings, Value::Int64(&numbers(pad.top, pad.left)))?;
        convolution.set(Attribute::ConvolutionPostPaddings, Value::Int64(&numbers(pad.bottom, pad.right)))?;
        convolution.finish()
    }

    /// Adds an operation with its attributes.
    fn operation(&mut self, kind: Kind, attributes: &[(Attribute, Value<'_>)]) -> Result<()> {
        let mut operation = self.library.descriptor(kind)?;
        for &(attribute, value) in attributes {
            operation.set(attribute, value)?;
        }
        self.operations.push(operation.finish()?);
        Ok(())
    }

    /// `y = conv(x, w)`.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn forward(&mut self, op: &Conv2d, x: &Tensor, w: &Tensor, y: &Tensor) -> Result<()> {
        let convolution = self.convolution(op)?;
        self.operation(
            Kind::ConvolutionForward,
            &[
                (Attribute::ForwardConvolution, Value::Descriptors(&[&convolution])),
                (Attribute::ForwardX, Value::Descriptors(&[&x.0])),
                (Attribute::ForwardW, Value::Descriptors(&[&w.0])),
                (Attribute::ForwardY, Value::Descriptors(&[&y.0])),
                (Attribute::ForwardAlpha, Value::Float(1.0)),
                (Attribute::ForwardBeta, Value::Float(0.0)),
            ],
        )
    }

    /// `dx`, the gradient of the input.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn backward_data(&mut self, op: &Conv2d, dy: &Tensor, w: &Tensor, dx: &Tensor) -> Result<()> {
        let convolution = self.convolution(op)?;
        self.operation(
            Kind::ConvolutionBackwardData,
            &[
                (Attribute::DataConvolution, Value::Descriptors(&[&convolution])),
                (Attribute::DataDy, Value::Descriptors(&[&dy.0])),
                (Attribute::DataW, Value::Descriptors(&[&w.0])),
                (Attribute::DataDx, Value::Descriptors(&[&dx.0])),
                (Attribute::DataAlpha, Value::Float(1.0)),
                (Attribute::DataBeta, Value::Float(0.0)),
            ],
        )
    }

    /// `dw`, the gradient of the kernels.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn backward_weight(&mut self, op: &Conv2d, x: &Tensor, dy: &Tensor, dw: &Tensor) -> Result<()> {
        let convolution = self.convolution(op)?;
        self.operation(
            Kind::ConvolutionBackwardFilter,
            &[
                (Attribute::FilterConvolution, Value::Descriptors(&[&convolution])),
                (Attribute::FilterX, Value::Descriptors(&[&x.0])),
                (Attribute::FilterDy, Value::Descriptors(&[&dy.0])),
                (Attribute::FilterDw, Value::Descriptors(&[&dw.0])),
                (Attribute::FilterAlpha, Value::Float(1.0)),
                (Attribute::FilterBeta, Value::Float(0.0)),
            ],
        )
    }

    fn function(&self, mode: Pointwise) -> Result<Rc<Descriptor>> {
        let mut function = self.library.descriptor(Kind::Pointwise)?;
        function.set(Attribute::PointwiseMode, Value::Mode(Type::PointwiseMode, mode as i32))?;
        function.set(Attribute::PointwiseMathPrecision, Value::Data(DataType::Float))?;
        function.finish()
    }

    /// `y = f(x)`.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn unary(&mut self, mode: Pointwise, x: &Tensor, y: &Tensor) -> Result<()> {
        let function = self.function(mode)?;
        self.operation(
            Kind::PointwiseOperation,
            &[
                (Attribute::PointwiseFunction, Value::Descriptors(&[&function])),
                (Attribute::PointwiseX, Value::Descriptors(&[&x.0])),
                (Attribute::PointwiseY, Value::Descriptors(&[&y.0])),
            ],
        )
    }

    /// `y = f(x, b)`; `b` may be one number per channel.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn binary(&mut self, mode: Pointwise, x: &Tensor, b: &Tensor, y: &Tensor) -> Result<()> {
        let function = self.function(mode)?;
        self.operation(
            Kind::PointwiseOperation,
            &[
                (Attribute::PointwiseFunction, Value::Descriptors(&[&function])),
                (Attribute::PointwiseX, Value::Descriptors(&[&x.0])),
                (Attribute::PointwiseB, Value::Descriptors(&[&b.0])),
                (Attribute::PointwiseY, Value::Descriptors(&[&y.0])),
            ],
        )
    }

    /// `dx = dy` where `x > 0`, else 0.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn relu_backward(&mut self, x: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
        let function = self.function(Pointwise::ReluBackward)?;
        self.operation(
            Kind::PointwiseOperation,
            &[
                (Attribute::PointwiseFunction, Value::Descriptors(&[&function])),
                (Attribute::PointwiseX, Value::Descriptors(&[&x.0])),
                (Attribute::PointwiseDy, Value::Descriptors(&[&dy.0])),
                (Attribute::PointwiseDx, Value::Descriptors(&[&dx.0])),
            ],
        )
    }

    /// `Σ x` and `Σ x²` per channel, in one operation.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn statistics(&mut self, x: &Tensor, sum: &Tensor, squares: &Tensor) -> Result<()> {
        self.operation(
            Kind::GenStats,
            &[
                (Attribute::GenStatsMode, Value::Mode(Type::GenStatsMode, SUM_AND_SQUARES)),
                (Attribute::GenStatsMathPrecision, Value::Data(DataType::Float)),
                (Attribute::GenStatsX, Value::Descriptors(&[&x.0])),
                (Attribute::GenStatsSum, Value::Descriptors(&[&sum.0])),
                (Attribute::GenStatsSquareSum, Value::Descriptors(&[&squares.0])),
            ],
        )
    }

    /// `y = Σ x` over the extents that `y` does not have.
    ///
    /// # Errors
    /// What cuDNN refuses.
    pub fn sum(&mut self, x: &Tensor, y: &Tensor) -> Result<()> {
        let mut function = self.library.descriptor(Kind::Reduction)?;
        function.set(Attribute::ReductionOperator, Value::Mode(Type::ReductionOperator, REDUCE_ADD))?;
        function.set(Attribute::ReductionComputeType, Value::Data(DataType::Float))?;
        let function = function.finish()?;
        self.operation(
            Kind::ReductionOperation,
            &[
                (Attribute::ReductionFunction, Value::Descriptors(&[&function])),
                (Attribute::ReductionX, Value::Descriptors(&[&x.0])),
                (Attribute::ReductionY, Value::Descriptors(&[&y.0])),
            ],
        )
    }

    /// Ends the graph. One that will be executed belongs to a handle.
    pub(crate) fn finish(self, handle: Option<&Handle>) -> Result<Rc<Descriptor>> {
        let mut graph = self.library.descriptor(Kind::OperationGraph)?;
        if let Some(handle) = handle {
            graph.set(Attribute::GraphHandle, Value::Handle(handle))?;
        }
        let operations: Vec<&Rc<Descriptor>> = self.operations.iter().collect();
        graph.set(Attribute::GraphOperations, Value::Descriptors(&operations))?;
        graph.finish()
    }
}
