//! Numbers of `cudnn_graph.h`: kinds of descriptors, attributes, types and modes. Only those that are used.

/// `cudnnBackendDescriptorType_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Kind {
    Pointwise = 0,
    Convolution = 1,
    Engine = 2,
    EngineConfig = 3,
    Heuristics = 4,
    Plan = 5,
    ConvolutionForward = 10,
    ConvolutionBackwardFilter = 11,
    ConvolutionBackwardData = 12,
    PointwiseOperation = 13,
    GenStats = 14,
    OperationGraph = 15,
    VariantPack = 16,
    Tensor = 17,
    Reduction = 21,
    ReductionOperation = 22,
    DeviceProperties = 38,
}

impl Kind {
    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Pointwise => "a pointwise function",
            Kind::Convolution => "a convolution",
            Kind::Engine => "an engine",
            Kind::EngineConfig => "an engine configuration",
            Kind::Heuristics => "the heuristics",
            Kind::Plan => "an execution plan",
            Kind::ConvolutionForward => "a forward convolution",
            Kind::ConvolutionBackwardFilter => "a weight gradient",
            Kind::ConvolutionBackwardData => "a data gradient",
            Kind::PointwiseOperation => "a pointwise operation",
            Kind::GenStats => "batch statistics",
            Kind::OperationGraph => "an operation graph",
            Kind::VariantPack => "a variant pack",
            Kind::Tensor => "a tensor",
            Kind::Reduction => "a reduction",
            Kind::ReductionOperation => "a reduction operation",
            Kind::DeviceProperties => "device properties",
        }
    }
}

/// `cudnnBackendAttributeType_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Type {
    Handle = 0,
    Data = 1,
    Boolean = 2,
    Int64 = 3,
    Float = 4,
    Pointer = 6,
    ConvolutionMode = 7,
    HeuristicMode = 8,
    NumericalNote = 11,
    PointwiseMode = 14,
    Descriptor = 15,
    GenStatsMode = 16,
    ReductionOperator = 18,
    BehaviorNote = 19,
    Char = 24,
}

/// `cudnnBackendAttributeName_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Attribute {
    PointwiseMode = 0,
    PointwiseMathPrecision = 1,
    ConvolutionComputeType = 100,
    ConvolutionMode = 101,
    ConvolutionDilations = 102,
    ConvolutionStrides = 103,
    ConvolutionPostPaddings = 104,
    ConvolutionPrePaddings = 105,
    ConvolutionSpatialDims = 106,
    HeuristicsMode = 200,
    HeuristicsGraph = 201,
    HeuristicsResults = 202,
    HeuristicsDevice = 204,
    ConfigEngine = 300,
    PlanHandle = 400,
    PlanConfig = 401,
    PlanWorkspace = 402,
    PlanJson = 405,
    PlanDevice = 407,
    ForwardAlpha = 700,
    ForwardBeta = 701,
    ForwardConvolution = 702,
    ForwardW = 703,
    ForwardX = 704,
    ForwardY = 705,
    DataAlpha = 706,
    DataBeta = 707,
    DataConvolution = 708,
    DataW = 709,
    DataDx = 710,
    DataDy = 711,
    FilterAlpha = 712,
    FilterBeta = 713,
    FilterConvolution = 714,
    FilterDw = 715,
    FilterX = 716,
    FilterDy = 717,
    PointwiseFunction = 750,
    PointwiseX = 751,
    PointwiseB = 752,
    PointwiseY = 753,
    PointwiseDx = 756,
    PointwiseDy = 757,
    GenStatsMode = 770,
    GenStatsMathPrecision = 771,
    GenStatsX = 772,
    GenStatsSum = 773,
    GenStatsSquareSum = 774,
    GraphHandle = 800,
    GraphOperations = 801,
    TensorAlignment = 900,
    TensorDataType = 901,
    TensorDimensions = 902,
    TensorStrides = 903,
    TensorId = 906,
    TensorVirtual = 907,
    PackIds = 1000,
    PackAddresses = 1001,
    PackWorkspace = 1003,
    EngineIndex = 1301,
    EngineNumericalNote = 1303,
    EngineBehaviorNote = 1305,
    ReductionOperator = 1600,
    ReductionComputeType = 1601,
    ReductionX = 1610,
    ReductionY = 1611,
    ReductionFunction = 1612,
    DeviceJson = 2702,
}

/// `cudnnDataType_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum DataType {
    /// IEEE single precision.
    Float = 0,
    /// IEEE half precision.
    Half = 2,
    /// Brain float.
    Bfloat16 = 9,
}

/// `cudnnPointwiseMode_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Pointwise {
    /// x + b.
    Add = 0,
    /// x − b.
    Sub = 9,
    /// x · b.
    Mul = 1,
    /// x, in another type or another tensor.
    Identity = 21,
    /// max(x, 0).
    Relu = 100,
    /// dy where x > 0.
    ReluBackward = 200,
}

/// `CUDNN_CROSS_CORRELATION`.
pub(crate) const CROSS_CORRELATION: i32 = 1;
/// `CUDNN_GENSTATS_SUM_SQSUM`.
pub(crate) const SUM_AND_SQUARES: i32 = 0;
/// `CUDNN_REDUCE_TENSOR_ADD`.
pub(crate) const REDUCE_ADD: i32 = 0;
/// `CUDNN_HEUR_MODE_A`: the engines that are expected to be fastest.
pub(crate) const HEURISTIC_A: i32 = 3;
/// `CUDNN_HEUR_MODE_B`: a slower look, which cuDNN answers as mode A where it has none for a graph.
pub(crate) const HEURISTIC_B: i32 = 1;
/// `CUDNN_HEUR_MODE_FALLBACK`: engines that work where the others do not.
pub(crate) const HEURISTIC_FALLBACK: i32 = 2;
/// `CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION`.
pub(crate) const RUNTIME_COMPILATION: i32 = 0;

/// `cudnnBackendNumericalNote_t`: what is said of an engine's arithmetic.
pub(crate) mod note {
    /// Matrix instructions; of f32 they take 10 bits of mantissa.
    pub(crate) const TENSOR_CORE: i32 = 0;
    /// Operands are rounded to a narrower type.
    pub(crate) const DOWN_CONVERT_INPUTS: i32 = 1;
    /// Sums are kept in a narrower type.
    pub(crate) const REDUCED_PRECISION_REDUCTION: i32 = 2;
    /// Fourier transforms.
    pub(crate) const FFT: i32 = 3;
    /// Other bits on another run.
    pub(crate) const NONDETERMINISTIC: i32 = 4;
    /// Winograd's algorithm; 6 to 8 tell the size of its tiles.
    pub(crate) const WINOGRAD: [i32; 4] = [5, 6, 7, 8];
}
