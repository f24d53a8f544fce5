//! From a graph of primitive layers to the steps a backend runs.
//!
//! [`lower`] decides three things and nothing else:
//! 1. **What lies in memory.** Normalisation, addition and ReLU become part of how the next op reads ([`Read`]); a value is
//!    written only where it must exist, such as a block's output (`forward.rs`).
//! 2. **Where gradients flow.** Every backward op ends with the mask and the sums that the next one needs (`backward.rs`).
//! 3. **Nothing about memory or devices.** Tensors are numbers with a description; [`Plan`](crate::Plan) gives them slots.
//!
//! For inference, [`Program::finish_convolutions`] then moves what is applied on reading to where it is written (`finish.rs`),
//! for a backend whose convolutions can end that way.
//!
//! With [`Fusion::None`] every layer's value is written out. The law "rewriting changes nothing" compares the two.

mod backward;
mod finish;
mod forward;
mod freeze;

pub use freeze::{Freeze, FrozenNorms};

use crate::graph::{Graph, NodeId, ParamId};
use crate::op::{AvgPool, BatchNorm, Combine, Conv2d, MaxPool, Op};
use crate::{Accumulate, DType, Error, Result, TensorDesc};

/// A tensor of a [`Program`], by position: an activation, a gradient or a pool's winners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// A per-channel buffer of a [`Program`], by position: sums, affine, moments or coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub usize);

/// How much is fused into reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fusion {
    /// Everything that can be.
    #[default]
    Full,
    /// Nothing: every layer writes its value. The yardstick for [`Fusion::Full`].
    None,
}

/// Whether batch statistics or running statistics normalise, and whether a backward pass follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, running statistics moved along, backward pass.
    Train,
    /// Running statistics, no backward pass.
    Infer,
}

/// What [`lower`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowerOptions {
    /// Training or inference.
    pub mode: Mode,
    /// Pictures per batch.
    pub batch: usize,
    /// Element type of activations.
    pub dtype: DType,
    /// How much is fused.
    pub fusion: Fusion,
    /// Whether the gradient of the picture itself is computed (saliency).
    pub input_gradient: bool,
    /// What training leaves as it is.
    pub freeze: Freeze,
}

impl LowerOptions {
    /// Training at a batch size, in f32, fully fused.
    pub fn train(batch: usize) -> Self {
        let freeze = Freeze::default();
        Self {
            mode: Mode::Train,
            batch,
            dtype: DType::F32,
            fusion: Fusion::Full,
            input_gradient: false,
            freeze,
        }
    }

    /// Inference at a batch size, in f32, fully fused.
    pub fn infer(batch: usize) -> Self {
        Self { mode: Mode::Infer, ..Self::train(batch) }
    }
}

/// How a step reads a tensor: a [`Source`](crate::Source) by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    /// What lies in memory.
    pub raw: TensorId,
    /// Scale and shift.
    pub affine: Option<TableId>,
    /// What is added, and its scale and shift.
    pub residual: Option<(TensorId, Option<TableId>)>,
    /// Whether a ReLU comes last.
    pub relu: bool,
}

impl Read {
    /// Reads a tensor as it lies in memory.
    pub fn plain(raw: TensorId) -> Self {
        Self { raw, affine: None, residual: None, relu: false }
    }

    /// Whether the value is what lies in memory.
    pub fn is_plain(&self) -> bool {
        *self == Self::plain(self.raw)
    }
}

/// How a convolution lets go of its result: a [`Finish`](crate::Finish) by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishWrite {
    /// Scale and shift.
    pub affine: Option<TableId>,
    /// What is added, and its scale and shift.
    pub residual: Option<(TensorId, Option<TableId>)>,
    /// Whether a ReLU comes last.
    pub relu: bool,
}

/// How a step reads a gradient: a [`GradSource`](crate::GradSource) by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradRead {
    /// Gradient in memory.
    pub dz: TensorId,
    /// Coefficients and the raw tensor of a normalisation in between.
    pub norm: Option<(TableId, TensorId)>,
}

/// How a step writes a gradient: a [`GradOut`](crate::GradOut) by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradWrite {
    /// Where the gradient goes.
    pub dx: TensorId,
    /// Whether something is there already.
    pub accumulate: Accumulate,
    /// The gradient of the identity branch.
    pub add: Option<TensorId>,
    /// Whose sign masks it.
    pub mask: Option<Read>,
    /// What is summed for the normalisations behind it.
    pub sums: [Option<SumsWrite>; 2],
}

/// The sums a backward step leaves: a [`GradSums`](crate::GradSums) by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumsWrite {
    /// The raw tensor that was normalised.
    pub y: TensorId,
    /// Its mean and inverse standard deviation.
    pub moments: TableId,
    /// Where the sums go.
    pub sums: TableId,
}

/// One call of a backend.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "fields are the arguments of the backend method of the same name")]
pub enum Step {
    /// [`Backend::conv2d`](crate::Backend::conv2d).
    Conv { op: Conv2d, x: Read, w: ParamId, bias: Option<ParamId>, y: TensorId, sums: Option<TableId> },
    /// [`Backend::conv2d_finished`](crate::Backend::conv2d_finished).
    ConvFinished { op: Conv2d, x: Read, w: ParamId, bias: Option<ParamId>, finish: FinishWrite, y: TensorId },
    /// [`Backend::combine`](crate::Backend::combine).
    Combine { op: Combine, x: Read, z: TensorId, sums: Option<TableId> },
    /// [`Backend::max_pool`](crate::Backend::max_pool).
    MaxPool { op: MaxPool, x: Read, y: TensorId, index: Option<TensorId>, sums: Option<TableId> },
    /// [`Backend::avg_pool`](crate::Backend::avg_pool).
    AvgPool { op: AvgPool, x: Read, y: TensorId },
    /// [`Backend::norm_finish`](crate::Backend::norm_finish).
    Norm { op: BatchNorm, sums: TableId, params: NormParams, affine: TableId, moments: TableId },
    /// [`Backend::norm_frozen`](crate::Backend::norm_frozen).
    NormFrozen { op: BatchNorm, params: NormParams, affine: TableId },
    /// [`Backend::conv2d_backward_data`](crate::Backend::conv2d_backward_data).
    ConvBackwardData { op: Conv2d, dy: GradRead, w: ParamId, dx: GradWrite },
    /// [`Backend::conv2d_backward_weight`](crate::Backend::conv2d_backward_weight).
    ConvBackwardWeight { op: Conv2d, x: Read, dy: GradRead, w: ParamId, bias: Option<ParamId> },
    /// [`Backend::conv2d_backward`](crate::Backend::conv2d_backward).
    ConvBackward { op: Conv2d, x: Read, dy: GradRead, w: ParamId, bias: Option<ParamId>, dx: GradWrite },
    /// [`Backend::combine_backward`](crate::Backend::combine_backward).
    CombineBackward { op: Combine, dz: GradRead, dx: GradWrite },
    /// [`Backend::max_pool_backward`](crate::Backend::max_pool_backward).
    MaxPoolBackward { op: MaxPool, dy: GradRead, index: TensorId, dx: GradWrite },
    /// [`Backend::avg_pool_backward`](crate::Backend::avg_pool_backward).
    AvgPoolBackward { op: AvgPool, dy: GradRead, dx: GradWrite },
    /// [`Backend::norm_backward_finish`](crate::Backend::norm_backward_finish).
    NormBackward { op: BatchNorm, sums: TableId, moments: TableId, params: NormParams, coeffs: TableId },
    /// [`Backend::norm_frozen_backward`](crate::Backend::norm_frozen_backward).
    NormFrozenBackward { op: BatchNorm, affine: TableId, coeffs: TableId },
}

/// The parameters of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormParams {
    /// γ.
    pub gamma: ParamId,
    /// β.
    pub beta: ParamId,
    /// Running mean.
    pub mean: ParamId,
    /// Running variance.
    pub var: ParamId,
}

/// A tensor of a program: for whom, and how large.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// The layer whose value or gradient it holds.
    pub name: String,
    /// What it holds.
    pub desc: TensorDesc,
    /// Whether it belongs to the backward pass.
    pub gradient: bool,
}

/// The steps of a network at one batch size, for any backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// What it was lowered for.
    pub options: LowerOptions,
    /// Activations, gradients and winners.
    pub tensors: Vec<TensorInfo>,
    /// Per-channel buffers.
    pub tables: Vec<TensorDesc>,
    /// Picture to logits.
    pub forward: Vec<Step>,
    /// Gradient of the logits to gradients of the parameters. Empty for inference.
    pub backward: Vec<Step>,
    /// The picture.
    pub input: TensorId,
    /// The result.
    pub logits: TensorId,
    /// Where the loss leaves its gradient; training only.
    pub dlogits: Option<TensorId>,
    /// Gradient of the picture, where asked for.
    pub dinput: Option<TensorId>,
    /// The tensor that holds each node's value, where one does and nothing is applied on reading it.
    pub stored: Vec<Option<TensorId>>,
}

/// Lowers a graph.
///
/// # Errors
/// [`Error::Invalid`] naming the layer, if a shape does not fit its op, or if the graph has no layer that reads the picture;
/// if everything that could be trained is frozen.
pub fn lower(
    graph: &Graph,
    options: LowerOptions,
    prefers_materialised: &dyn Fn(&Op) -> bool,
) -> Result<Program> {
    let freeze = options.freeze;
    if options.mode == Mode::Train
        && options.input_gradient
        && freeze.layers > 0
        && freeze.norms == FrozenNorms::None
    {
        return Err(Error::invalid(
            "freeze",
            "the picture's gradient through frozen layers needs their normalisations frozen too",
        ));
    }
    let forward = forward::lower(graph, options, prefers_materialised)?;
    match options.mode {
        Mode::Infer => Ok(forward.program),
        Mode::Train => backward::lower(forward),
    }
}

/// Names a node in an error from an op that does not know it.
fn named<T>(graph: &Graph, id: NodeId, result: Result<T>) -> Result<T> {
    result.map_err(|e| match e {
        Error::Invalid { why, .. } => Error::Invalid { what: graph.node(id).name.clone(), why },
        other => other,
    })
}

impl Step {
    /// The step's ops, for [`Backend::prepare`](crate::Backend::prepare).
    pub fn ops(&self) -> Vec<Op> {
        vec![match *self {
            Step::Conv { op, .. } | Step::ConvFinished { op, .. } => Op::Conv2d(op),
            Step::ConvBackwardData { op, .. } => Op::Conv2dBackwardData(op),
            Step::ConvBackwardWeight { op, .. } => Op::Conv2dBackwardWeight(op),
            Step::ConvBackward { op, .. } => {
                return vec![Op::Conv2dBackwardWeight(op), Op::Conv2dBackwardData(op)];
            }
            Step::Combine { op, .. } => Op::Combine(op),
            Step::CombineBackward { op, .. } => Op::CombineBackward(op),
            Step::MaxPool { op, .. } | Step::MaxPoolBackward { op, .. } => Op::MaxPool(op),
            Step::AvgPool { op, .. } | Step::AvgPoolBackward { op, .. } => Op::AvgPool(op),
            Step::Norm { op, .. }
            | Step::NormFrozen { op, .. }
            | Step::NormBackward { op, .. }
            | Step::NormFrozenBackward { op, .. } => Op::BatchNorm(op),
        }]
    }

    /// Tensors the step reads and writes, in no particular order.
    pub fn tensors(&self) -> Vec<TensorId> {
        fn read(out: &mut Vec<TensorId>, r: &Read) {
            out.push(r.raw);
            out.extend(r.residual.map(|(t, _)| t));
        }
        fn grad_read(out: &mut Vec<TensorId>, r: &GradRead) {
            out.push(r.dz);
            out.extend(r.norm.map(|(_, y)| y));
        }
        fn grad_write(out: &mut Vec<TensorId>, w: &GradWrite) {
            out.push(w.dx);
            out.extend(w.add);
            if let Some(mask) = &w.mask {
                read(out, mask);
            }
            out.extend(w.sums.iter().flatten().map(|s| s.y));
        }
        let mut out = vec![];
        match self {
            Step::Conv { x, y, .. } | Step::AvgPool { x, y, .. } => {
                read(&mut out, x);
                out.push(*y);
            }
            Step::ConvFinished { x, finish, y, .. } => {
                read(&mut out, x);
                out.extend(finish.residual.map(|(t, _)| t));
                out.push(*y);
            }
            Step::Combine { x, z, .. } => {
                read(&mut out, x);
                out.push(*z);
            }
            Step::MaxPool { x, y, index, .. } => {
                read(&mut out, x);
                out.push(*y);
                out.extend(*index);
            }
            Step::Norm { .. }
            | Step::NormFrozen { .. }
            | Step::NormBackward { .. }
            | Step::NormFrozenBackward { .. } => {}
            Step::ConvBackwardData { dy, dx, .. } | Step::AvgPoolBackward { dy, dx, .. } => {
                grad_read(&mut out, dy);
                grad_write(&mut out, dx);
            }
            Step::CombineBackward { dz, dx, .. } => {
                grad_read(&mut out, dz);
                grad_write(&mut out, dx);
            }
            Step::MaxPoolBackward { dy, index, dx, .. } => {
                grad_read(&mut out, dy);
                out.push(*index);
                grad_write(&mut out, dx);
            }
            Step::ConvBackwardWeight { x, dy, .. } => {
                read(&mut out, x);
                grad_read(&mut out, dy);
            }
            Step::ConvBackward { x, dy, dx, .. } => {
                read(&mut out, x);
                grad_read(&mut out, dy);
                grad_write(&mut out, dx);
            }
        }
        out
    }
}
