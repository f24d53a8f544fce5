//! The three directions by cuDNN's plans, with what they do not do in passes of this crate's kernels before and after.
//!
//! Before: 16-bit weights, and the value of a source or of a gradient that is not read as it lies.
//! After: statistics where the plan takes none, and everything that is asked of a gradient before it is let go.
//! Nothing here allocates or waits once scratch is large enough, so all of it can be recorded.

use resnet_core::op::Conv2d;
use resnet_core::{DType, Error, Result};

use super::forward::Inputs;
use crate::args::Packed;
use crate::buffer::{element_bytes, suffix};
use crate::choice::task::{Form, Task, is_evaluated};
use crate::columns::Columns;
use crate::cudnn::{CudnnError, Operand, Pattern, Prepared};
use crate::engine::{Engine, Geometry, u32_of};
use crate::machine::Launch;
use crate::ops::combine;
use crate::source::{CheckedGradOut, GradOutArgs, GradSourceArgs, SourceArgs};
use crate::tensor::args::{FinishWeightArgs, PackArgs, StageSourceArgs, WidenWeightArgs};
use crate::tensor::kernel::helpers;
use crate::tensor::{Element, Scratch};

crate::args! {
    struct SumsOfTotalsArgs {
        totals: u64,
        sums: u64,
        c: u32,
        m: u32,
    }
}

/// Threads of the kernels that take one element each.
const THREADS: u32 = 256;

/// Where things lie in scratch; an offset of what is not needed is that of the next thing.
struct Room {
    weights: usize,
    /// The value of the source, or of the gradient.
    first: usize,
    /// Of the other operand of a weight gradient.
    second: usize,
    /// The result, if something is done with it afterwards.
    result: usize,
    partials: usize,
    workspace: usize,
    bytes: usize,
}

impl Room {
    fn new(engine: &Engine, task: &Task, plan: &Prepared) -> Self {
        let op = &plan.op;
        let element = element_bytes(op.dtype());
        let x = op.n() * op.h() * op.w() * op.c() * element;
        let y = op.n() * op.p() * op.q() * op.k() * element;
        let weights = op.w_desc().len();
        let narrow = |bytes: usize| if op.dtype() == DType::F32 { 0 } else { bytes };
        let if_needed = |needed: bool, bytes: usize| if needed { bytes } else { 0 };
        let is_padded = op.c() != task.op.c();
        let (packed, first, second, result, partials) = match task.form {
            Form::Forward { evaluated, sums, .. } => {
                let partials = match plan.pattern {
                    _ if !sums => 0,
                    Pattern::ForwardStatistics | Pattern::ForwardSums => 2 * op.k() * 4,
                    _ => statistics_columns(engine, op).moment_bytes(op.k()),
                };
                (narrow(2 * weights), if_needed(evaluated || is_padded, x), 0, 0, partials)
            }
            Form::BackwardData { evaluated, epilogue } => {
                let columns = input_columns(engine, op);
                let partials = if_needed(epilogue, CheckedGradOut::scratch_bytes(op.c(), columns.tiles));
                (narrow(2 * weights), if_needed(evaluated, y), 0, if_needed(epilogue, x), partials)
            }
            // Whether it is added to what is there is not part of the form, so there is always room for it.
            Form::BackwardWeight { x: evaluated, dy } => {
                (0, if_needed(evaluated || is_padded, x), if_needed(dy, y), 4 * weights, 0)
            }
        };
        let mut scratch = Scratch::default();
        let mut take = |bytes| scratch.take(bytes);
        Room {
            weights: take(packed),
            first: take(first),
            second: take(second),
            result: take(result),
            partials: take(partials),
            workspace: take(plan.workspace_bytes),
            bytes: scratch.bytes(),
        }
    }
}

/// Bytes of scratch.
pub(crate) fn scratch_bytes(engine: &Engine, task: &Task, plan: &Prepared) -> usize {
    Room::new(engine, task, plan).bytes
}

fn statistics_columns(engine: &Engine, op: &Conv2d) -> Columns {
    Columns::new(engine, op.n() * op.p() * op.q(), op.k(), op.dtype())
}

fn input_columns(engine: &Engine, op: &Conv2d) -> Columns {
    Columns::new(engine, op.n() * op.h() * op.w(), op.c(), op.dtype())
}

/// Weights as the plan reads them: f32 as they are, as they are kept, or copied to the tensors' type with channels filled up.
fn weights(
    engine: &mut Engine,
    op: &Conv2d,
    plan: &Prepared,
    (w, packed): (u64, u64),
    to: u64,
) -> Result<u64> {
    if packed != 0 {
        return Ok(packed);
    }
    let Some(element) = Element::of_narrow(op.dtype()) else { return Ok(w) };
    let (c, padded) = (op.c() / op.groups(), plan.op.c() / op.groups());
    let args = PackArgs {
        w,
        to,
        k: u32_of(op.k()),
        taps: u32_of(op.r() * op.s()),
        c: u32_of(c),
        padded: u32_of(padded),
    };
    let kernel = format!("pack_forward_{}", element.memory_name());
    helper(engine, kernel, op.k() * op.r() * op.s() * padded, Packed::of(&args))?;
    Ok(to)
}

/// A kernel of `tensor/prepare.cu`, one thread for each of so many elements.
fn helper(engine: &mut Engine, kernel: String, elements: usize, args: Packed) -> Result<()> {
    let unit = helpers();
    engine.load(unit.name, || unit.clone())?;
    let Geometry { grid, block, shared_bytes } = Geometry::flat(elements, THREADS as usize);
    engine.machine.launch(&Launch { kernel: kernel.into(), grid, block, shared_bytes, args })
}

/// Where the input lies as the plan reads it; evaluated into scratch if it does not lie so already.
fn source(engine: &mut Engine, op: &Conv2d, plan: &Prepared, x: SourceArgs, to: u64) -> Result<u64> {
    let (pixels, c, padded) = (op.n() * op.h() * op.w(), op.c(), plan.op.c());
    if padded != c {
        let args = StageSourceArgs {
            x,
            to,
            pixels: u32_of(pixels),
            c: u32_of(c),
            padded: u32_of(padded),
            unused: 0,
        };
        let kernel = format!("stage_source_{}", suffix(op.dtype()));
        helper(engine, kernel, pixels * padded, Packed::of(&args))?;
    } else if is_evaluated(&x) {
        combine::evaluate(engine, pixels, c, op.dtype(), x, to)?;
    } else {
        return Ok(x.raw);
    }
    Ok(to)
}

/// The same for the gradient of the output.
fn gradient(engine: &mut Engine, op: &Conv2d, dy: GradSourceArgs, to: u64) -> Result<u64> {
    if dy.y == 0 {
        return Ok(dy.dz);
    }
    combine::let_go(engine, op.n() * op.p() * op.q(), op.k(), op.dtype(), dy, GradOutArgs::set(to))?;
    Ok(to)
}

/// cuDNN's refusals as errors of the device.
fn execute(plan: &Prepared, address: impl Fn(Operand) -> u64, workspace: u64) -> Result<()> {
    plan.execute(address, workspace).map_err(|error| failed(plan, &error))
}

fn failed(plan: &Prepared, error: &CudnnError) -> Error {
    Error::Device { backend: crate::NAME, action: format!("{}: {error}", plan.name()) }
}

pub(crate) fn forward(engine: &mut Engine, task: &Task, plan: &Prepared, inputs: &Inputs) -> Result<()> {
    let op = &task.op;
    let Inputs { x, w, packed, bias, y, sums } = *inputs;
    let room = Room::new(engine, task, plan);
    let scratch = engine.scratch(room.bytes)?;
    let at = |offset: usize| scratch + offset as u64;
    let w = weights(engine, op, plan, (w, packed), at(room.weights))?;
    let x = source(engine, op, plan, x, at(room.first))?;
    let partials = at(room.partials);
    let address = |operand: Operand| match operand {
        Operand::X => x,
        Operand::W => w,
        Operand::Bias => bias,
        Operand::Y => y,
        Operand::Sum => partials,
        Operand::Products => partials + 4 * op.k() as u64,
        _ => 0,
    };
    execute(plan, address, at(room.workspace))?;
    match plan.pattern {
        _ if sums == 0 => Ok(()),
        Pattern::ForwardStatistics | Pattern::ForwardSums => {
            let m = u32_of(op.n() * op.p() * op.q());
            let args = SumsOfTotalsArgs { totals: partials, sums, c: u32_of(op.k()), m };
            engine.launch("sums_of_totals", Geometry::flat(op.k(), 128), &args)
        }
        _ => {
            let columns = statistics_columns(engine, op);
            combine::statistics(engine, &columns, op.n() * op.p() * op.q(), op.k(), op.dtype(), y, partials)?;
            engine.finish_moments(partials, columns.tiles, op.k(), sums)
        }
    }
}

pub(crate) fn backward_data(
    engine: &mut Engine,
    task: &Task,
    plan: &Prepared,
    dy: GradSourceArgs,
    w: (u64, u64),
    dx: &CheckedGradOut,
) -> Result<()> {
    let op = &task.op;
    let room = Room::new(engine, task, plan);
    let scratch = engine.scratch(room.bytes)?;
    let at = |offset: usize| scratch + offset as u64;
    let w = weights(engine, op, plan, w, at(room.weights))?;
    let dy = gradient(engine, op, dy, at(room.first))?;
    let to = if dx.is_plain() { dx.args.dx } else { at(room.result) };
    let address = |operand: Operand| match operand {
        Operand::Dy => dy,
        Operand::W => w,
        Operand::Dx => to,
        _ => 0,
    };
    execute(plan, address, at(room.workspace))?;
    if dx.is_plain() {
        return Ok(());
    }
    let mut dx = dx.clone();
    let columns = input_columns(engine, op);
    dx.place(at(room.partials), op.c(), columns.tiles);
    let pixels = op.n() * op.h() * op.w();
    combine::let_go(engine, pixels, op.c(), op.dtype(), GradSourceArgs::raw(to), dx.args)?;
    engine.finish_grad_sums(&dx, columns.tiles, op.c())
}

pub(crate) fn backward_weight(
    engine: &mut Engine,
    task: &Task,
    plan: &Prepared,
    x: SourceArgs,
    dy: GradSourceArgs,
    dw: u64,
    accumulate: u32,
) -> Result<()> {
    let op = &task.op;
    let room = Room::new(engine, task, plan);
    let scratch = engine.scratch(room.bytes)?;
    let at = |offset: usize| scratch + offset as u64;
    let x = source(engine, op, plan, x, at(room.first))?;
    let dy = gradient(engine, op, dy, at(room.second))?;
    let narrow = plan.pattern == Pattern::BackwardWeightNarrow;
    let direct = !narrow && plan.op.c() == op.c() && accumulate == 0;
    let to = if direct { dw } else { at(room.result) };
    let address = |operand: Operand| match operand {
        Operand::X => x,
        Operand::Dy => dy,
        Operand::Dw => to,
        _ => 0,
    };
    execute(plan, address, at(room.workspace))?;
    if direct {
        return Ok(());
    }
    let n = op.w_desc().len();
    let (c, padded) = (u32_of(op.c() / op.groups()), u32_of(plan.op.c() / op.groups()));
    if narrow {
        let args = WidenWeightArgs { from: to, dw, n: n as u64, c, padded, accumulate, unused: 0 };
        return helper(engine, format!("widen_weight_{}", suffix(op.dtype())), n, Packed::of(&args));
    }
    let part = plan.op.w_desc().len() as u64;
    let args = FinishWeightArgs { parts: to, dw, n: n as u64, shares: 1, c, padded, accumulate, part };
    helper(engine, "finish_backward_weight".to_owned(), n, Packed::of(&args))
}
