//! The gradients of kernels and bias. Both are sums over pixels, cut into parts that are added in their order.

use resnet_core::op::Conv2d;
use resnet_core::{Accumulate, GradSource, Result, Source};

use super::{ConvShape, THREADS, TILE, cudnn, tensor};
use crate::buffer::{Buffer, optional_written, written};
use crate::choice::task::Task;
use crate::choice::ways::{self, Way};
use crate::columns::Columns;
use crate::engine::{Engine, Geometry, u32_of};
use crate::source::{GradSourceArgs, SourceArgs};

crate::args! {
    struct ConvBackwardWeightArgs {
        x: SourceArgs,
        dy: GradSourceArgs,
        to: u64,
        shape: ConvShape,
        splits: u32,
        pixels_per_split: u32,
        accumulate: u32,
        unused: u32,
    }

    struct BiasGradArgs {
        dy: GradSourceArgs,
        partials: u64,
        rows: u32,
        c: u32,
        rows_per_tile: u32,
        unused: u32,
    }

    struct AddSplitsArgs {
        partials: u64,
        to: u64,
        count: u64,
        splits: u32,
        accumulate: u32,
    }
}

/// How the pixels are cut: tiles of kernels, tiles of taps and channels, parts, pixels of a part.
struct Cut {
    rows: usize,
    columns: usize,
    splits: usize,
    pixels: usize,
}

impl Cut {
    fn new(engine: &Engine, op: &Conv2d) -> Self {
        /// Fewer pixels are not worth a block of their own.
        const FEWEST: usize = 256;
        let rows = (op.k() / op.groups()).div_ceil(TILE);
        let columns = (op.r() * op.s() * op.c() / op.groups()).div_ceil(TILE);
        let pixels = op.n() * op.p() * op.q();
        let wanted = (2 * engine.traits.multiprocessors as usize).div_ceil(rows * columns * op.groups());
        let per_split = pixels.div_ceil(wanted).max(FEWEST).next_multiple_of(16);
        Self { rows, columns, splits: pixels.div_ceil(per_split), pixels: per_split }
    }

    fn scratch_bytes(&self, op: &Conv2d) -> usize {
        if self.splits > 1 { self.splits * op.w_desc().len() * 4 } else { 0 }
    }
}

fn bias_columns(engine: &Engine, op: &Conv2d) -> Columns {
    Columns::with_width(engine, op.n() * op.p() * op.q(), op.k(), 1)
}

/// Bytes of scratch.
pub(crate) fn scratch_bytes(engine: &Engine, task: &Task, way: &Way) -> usize {
    let op = &task.op;
    let ordinary = || Cut::new(engine, op).scratch_bytes(op);
    let weight = match way {
        Way::Cudnn(plan) => cudnn::scratch_bytes(engine, task, plan),
        Way::Tensor(element, tile) => tensor::plan_backward_weight(engine, op, (*element, *tile))
            .map_or_else(ordinary, |plan| plan.scratch_bytes()),
        Way::Simt => ordinary(),
    };
    weight.max(bias_columns(engine, op).tiles * op.k() * 4)
}

/// What is computed with, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs {
    pub(crate) x: SourceArgs,
    pub(crate) dy: GradSourceArgs,
    pub(crate) dw: u64,
    pub(crate) accumulate: u32,
}

pub(crate) fn conv2d_backward_weight(
    engine: &mut Engine,
    op: &Conv2d,
    x: Source<'_, Buffer>,
    dy: GradSource<'_, Buffer>,
    dw: &mut Buffer,
    dbias: Option<&mut Buffer>,
    accumulate: Accumulate,
) -> Result<()> {
    const OP: &str = "conv2d_backward_weight";
    let inputs = Inputs {
        x: SourceArgs::new(OP, &x, &op.x_desc())?,
        dy: GradSourceArgs::new(OP, &dy, &op.y_desc())?,
        dw: written(OP, "dw", dw, &op.w_desc())?,
        accumulate: u32::from(accumulate == Accumulate::Add),
    };
    let dbias = optional_written(OP, "dbias", dbias.as_deref(), &op.bias_desc())?;

    let task = Task::backward_weight(op, &inputs.x, &inputs.dy);
    ways::by(engine, &task, |engine, way| run(engine, &task, way, &inputs))?;
    if dbias != 0 {
        bias(engine, op, inputs.dy, dbias, inputs.accumulate)?;
    }
    Ok(())
}

/// One way of it, without the bias.
pub(crate) fn run(engine: &mut Engine, task: &Task, way: &Way, inputs: &Inputs) -> Result<()> {
    let op = &task.op;
    let Inputs { x, dy, dw, accumulate } = *inputs;
    match way {
        Way::Cudnn(plan) => return cudnn::backward_weight(engine, task, plan, x, dy, dw, accumulate),
        Way::Tensor(element, tile) => {
            if let Some(plan) = tensor::plan_backward_weight(engine, op, (*element, *tile)) {
                return tensor::backward_weight(engine, &plan, x, dy, dw, accumulate);
            }
        }
        Way::Simt => {}
    }
    weight(engine, op, x, dy, dw, accumulate)
}

fn weight(
    engine: &mut Engine,
    op: &Conv2d,
    x: SourceArgs,
    dy: GradSourceArgs,
    dw: u64,
    accumulate: u32,
) -> Result<()> {
    let cut = Cut::new(engine, op);
    let in_parts = cut.splits > 1;
    let to = if in_parts { engine.scratch(cut.scratch_bytes(op))? } else { dw };
    let geometry = Geometry {
        grid: [u32_of(cut.rows), u32_of(cut.columns), u32_of(op.groups() * cut.splits)],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
    };
    let args = ConvBackwardWeightArgs {
        x,
        dy,
        to,
        shape: op.into(),
        splits: u32_of(cut.splits),
        pixels_per_split: u32_of(cut.pixels),
        accumulate: if in_parts { 0 } else { accumulate },
        unused: 0,
    };
    engine.launch(format!("conv_backward_weight_{}", op.dtype()), geometry, &args)?;
    if in_parts {
        add_splits(engine, to, dw, op.w_desc().len(), cut.splits, accumulate)?;
    }
    Ok(())
}

/// `Σ dy` over all pixels.
pub(crate) fn bias(
    engine: &mut Engine,
    op: &Conv2d,
    dy: GradSourceArgs,
    dbias: u64,
    accumulate: u32,
) -> Result<()> {
    let columns = bias_columns(engine, op);
    let partials = engine.scratch(columns.tiles * op.k() * 4)?;
    let args = BiasGradArgs {
        dy,
        partials,
        rows: u32_of(op.n() * op.p() * op.q()),
        c: u32_of(op.k()),
        rows_per_tile: columns.rows_per_tile,
        unused: 0,
    };
    engine.launch(format!("bias_grad_{}", op.dtype()), columns.geometry, &args)?;
    add_splits(engine, partials, dbias, op.k(), columns.tiles, accumulate)
}

/// The second stage: `splits` parts of `count` numbers each, added in their order.
pub(crate) fn add_splits(
    engine: &mut Engine,
    partials: u64,
    to: u64,
    count: usize,
    splits: usize,
    accumulate: u32,
) -> Result<()> {
    let args = AddSplitsArgs { partials, to, count: count as u64, splits: u32_of(splits), accumulate };
    engine.launch("add_splits", Geometry::flat(count, 256), &args)
}
