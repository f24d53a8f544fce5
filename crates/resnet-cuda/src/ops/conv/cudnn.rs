//! The three directions by cuDNN's plans, with what a plan does not do in passes of this crate's kernels before and after.
//!
//! Before: 16-bit weights, and the value of a source or of a gradient, unless the plan has a prologue for it.
//! After: statistics, and everything that is asked of a gradient before it is let go, unless the plan does that before it stores.
//! Nothing here allocates or waits once scratch is large enough, so all of it can be recorded.

use resnet_core::op::Conv2d;
use resnet_core::{DType, Error, Result};

use super::backward_weight::add_splits;
use super::forward::Inputs;
use crate::args::Packed;
use crate::buffer::element_bytes;
use crate::choice::task::{Form, Reads, Task, Writes, is_evaluated};
use crate::columns::Columns;
use crate::cudnn::pattern::{Before, End};
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
    /// Scale and shift in 16 bits.
    tables: usize,
    /// The value of the source, or of the gradient.
    first: usize,
    /// Of the other operand of a weight gradient.
    second: usize,
    /// The result, if something is done with it afterwards.
    result: usize,
    /// Sums, of tiles or of everything.
    partials: usize,
    workspace: usize,
    bytes: usize,
}

impl Room {
    fn new(engine: &Engine, task: &Task, plan: &Prepared) -> Self {
        let op = &plan.op;
        let element = element_bytes(op.dtype());
        let x_bytes = op.n() * op.h() * op.w() * op.c() * element;
        let y_bytes = op.n() * op.p() * op.q() * op.k() * element;
        let weights = op.w_desc().len();
        let narrow = |bytes: usize| if op.dtype() == DType::F32 { 0 } else { bytes };
        let if_needed = |needed: bool, bytes: usize| if needed { bytes } else { 0 };
        let is_padded = op.c() != task.op.c();
        let prologue = plan.pattern.has_prologue();
        let staged = |x: Reads| if_needed((x != Reads::Raw || is_padded) && !prologue, x_bytes);
        let (packed, first, second, result, partials) = match task.form {
            Form::Forward { x, sums, .. } => {
                let partials = match sums {
                    false => 0,
                    true if plan.pattern.has_statistics() => 2 * op.k() * 4,
                    true => statistics_columns(engine, op).moment_bytes(op.k()),
                };
                (narrow(2 * weights), staged(x), 0, 0, partials)
            }
            Form::BackwardData { through_norm, dx } => {
                let dy = if_needed(through_norm && !prologue, y_bytes);
                let (result, partials) = match (end(plan), dx) {
                    (End::Nothing, Writes::Plain) => (0, 0),
                    (End::Nothing, _) => {
                        let columns = input_columns(engine, op);
                        (x_bytes, CheckedGradOut::scratch_bytes(op.c(), columns.tiles))
                    }
                    _ => (0, Totals::bytes(op.c())),
                };
                (narrow(2 * weights), dy, 0, result, partials)
            }
            // Whether it is added to what is there is not part of the form, so there is always room for it.
            Form::BackwardWeight { x, through_norm } => {
                (0, staged(x), if_needed(through_norm, y_bytes), 4 * weights, 0)
            }
        };
        let mut scratch = Scratch::default();
        let mut take = |bytes| scratch.take(bytes);
        Room {
            weights: take(packed),
            tables: take(if_needed(before(plan) == Before::NarrowNorm, 2 * op.c() * 2)),
            first: take(first),
            second: take(second),
            result: take(result),
            partials: take(partials),
            workspace: take(plan.workspace_bytes),
            bytes: scratch.bytes(),
        }
    }
}

/// What a plan does to its input.
fn before(plan: &Prepared) -> Before {
    match plan.pattern {
        Pattern::Forward(before, _) | Pattern::BackwardWeight { x: before, .. } => before,
        Pattern::BackwardData { .. } => Before::Nothing,
    }
}

/// What a plan does to a gradient before it stores it.
fn end(plan: &Prepared) -> End {
    match plan.pattern {
        Pattern::BackwardData { end, .. } => end,
        Pattern::Forward(..) | Pattern::BackwardWeight { .. } => End::Nothing,
    }
}

/// Sums that a plan takes of a gradient, f32: rows of `Σ dx`, `Σ dx·(y − mean)`, and both again for a second normalisation.
struct Totals {
    at: u64,
    row: u64,
}

impl Totals {
    fn bytes(c: usize) -> usize {
        4 * c * 4
    }

    fn row(&self, i: u64) -> u64 {
        self.at + i * self.row
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
    if before(plan) != Before::Nothing {
        return Ok(x.raw);
    }
    if padded != c {
        let args = StageSourceArgs {
            x,
            to,
            pixels: u32_of(pixels),
            c: u32_of(c),
            padded: u32_of(padded),
            unused: 0,
        };
        let kernel = format!("stage_source_{}", op.dtype());
        helper(engine, kernel, pixels * padded, Packed::of(&args))?;
    } else if is_evaluated(&x) {
        combine::evaluate(engine, pixels, c, op.dtype(), x, to)?;
    } else {
        return Ok(x.raw);
    }
    Ok(to)
}

/// Scale and shift as the plan reads them: f32 as they are, or copied to 16 bits.
fn tables(engine: &mut Engine, plan: &Prepared, affine: u64, to: u64) -> Result<(u64, u64)> {
    let c = plan.op.c();
    match (before(plan), Element::of_narrow(plan.op.dtype())) {
        (Before::NarrowNorm, Some(element)) => {
            let args = PackArgs { w: affine, to, k: 2, taps: 1, c: u32_of(c), padded: u32_of(c) };
            helper(engine, format!("pack_forward_{}", element.memory_name()), 2 * c, Packed::of(&args))?;
            Ok((to, to + 2 * c as u64))
        }
        _ => Ok((affine, affine + 4 * c as u64)),
    }
}

/// The same as [`source`] for the gradient of the output.
fn gradient(engine: &mut Engine, op: &Conv2d, plan: &Prepared, dy: GradSourceArgs, to: u64) -> Result<u64> {
    let fused = matches!(plan.pattern, Pattern::BackwardData { through_norm: true, .. });
    if dy.y == 0 || fused {
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
    let (scale, shift) = tables(engine, plan, x.affine, at(room.tables))?;
    let x = source(engine, op, plan, x, at(room.first))?;
    let partials = at(room.partials);
    let address = |operand: Operand| match operand {
        Operand::X => x,
        Operand::Scale => scale,
        Operand::Shift => shift,
        Operand::W => w,
        Operand::Bias => bias,
        Operand::Y => y,
        Operand::Sum => partials,
        Operand::Products => partials + 4 * op.k() as u64,
        _ => 0,
    };
    execute(plan, address, at(room.workspace))?;
    match sums {
        0 => Ok(()),
        _ if plan.pattern.has_statistics() => {
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
    let coeffs = |row: usize| dy.coeffs + (4 * row * op.k()) as u64;
    let value = dy.y;
    let dy = gradient(engine, op, plan, dy, at(room.first))?;
    let end = end(plan);
    let to = if dx.is_plain() || end != End::Nothing { dx.args.dx } else { at(room.result) };
    let totals = Totals { at: at(room.partials), row: 4 * op.c() as u64 };
    let GradOutArgs { add, mask, sums, .. } = dx.args;
    let address = |operand: Operand| match operand {
        Operand::Dy => dy,
        Operand::Y => value,
        Operand::A => coeffs(0),
        Operand::B => coeffs(1),
        Operand::C => coeffs(2),
        Operand::W => w,
        Operand::Dx => to,
        Operand::X => mask.raw,
        Operand::Scale => mask.affine,
        Operand::Shift => mask.affine + 4 * op.c() as u64,
        Operand::Residual => add,
        Operand::Raw => sums[0].y,
        Operand::Mean => sums[0].moments,
        Operand::OtherRaw => sums[1].y,
        Operand::OtherMean => sums[1].moments,
        Operand::Sum => totals.row(0),
        Operand::Products => totals.row(1),
        Operand::OtherProducts => totals.row(3),
        _ => 0,
    };
    execute(plan, address, at(room.workspace))?;
    if dx.is_plain() {
        return Ok(());
    }
    let mut dx = dx.clone();
    if end == End::Nothing {
        let columns = input_columns(engine, op);
        dx.place(at(room.partials), op.c(), columns.tiles);
        let pixels = op.n() * op.h() * op.w();
        combine::let_go(engine, pixels, op.c(), op.dtype(), GradSourceArgs::raw(to), dx.args)?;
        return engine.finish_grad_sums(&dx, columns.tiles, op.c());
    }
    // The plan's sums are those of one tile.
    dx.place(totals.row(0), op.c(), 1);
    if end == End::ShortcutTwice {
        add_splits(engine, totals.row(0), totals.row(2), op.c(), 1, 0)?;
    }
    engine.finish_grad_sums(&dx, 1, op.c())
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
    let (scale, shift) = tables(engine, plan, x.affine, at(room.tables))?;
    let x = source(engine, op, plan, x, at(room.first))?;
    let dy = gradient(engine, op, plan, dy, at(room.second))?;
    let narrow = matches!(plan.pattern, Pattern::BackwardWeight { narrow: true, .. });
    let direct = !narrow && plan.op.c() == op.c() && accumulate == 0;
    let to = if direct { dw } else { at(room.result) };
    let address = |operand: Operand| match operand {
        Operand::X => x,
        Operand::Scale => scale,
        Operand::Shift => shift,
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
        return helper(engine, format!("widen_weight_{}", op.dtype()), n, Packed::of(&args));
    }
    let part = plan.op.w_desc().len() as u64;
    let args = FinishWeightArgs { parts: to, dw, n: n as u64, shares: 1, c, padded, accumulate, part };
    helper(engine, "finish_backward_weight".to_owned(), n, Packed::of(&args))
}
