//! The three directions on tensor cores: plans of [`tensor`](crate::tensor) with scratch memory and the second stage of sums.
//!
//! Scratch begins with the partial sums of the tiles, which the second stage reads; the plan's own follows.

use resnet_core::Result;
use resnet_core::op::Conv2d;

use super::forward::Inputs;
use crate::engine::Engine;
use crate::source::{CheckedGradOut, GradSourceArgs, SourceArgs};
use crate::tensor::backward_data::{self, BackwardData};
use crate::tensor::backward_weight::{self, BackwardWeight};
use crate::tensor::forward::{self, Forward};
use crate::tensor::tile::Tile;
use crate::tensor::{Device, Element, Step};

/// What is multiplied, and in which tiles; by rule where none is given.
type Product = (Element, Option<Tile>);

fn device(engine: &Engine) -> Device {
    Device { multiprocessors: engine.traits.multiprocessors as usize }
}

fn partial_bytes(tiles: usize, rows: usize, channels: usize) -> usize {
    (tiles * rows * channels * 4).next_multiple_of(256)
}

/// Loads kernels that are not loaded yet, and launches.
fn run(engine: &mut Engine, steps: &[Step]) -> Result<()> {
    for Step { unit, launch } in steps {
        // A unit without macros has several kernels and is known by its file; one with macros is its kernel.
        let key = if unit.macros.is_empty() { unit.name } else { &launch.kernel };
        engine.load(key, || unit.clone())?;
        engine.machine.launch(launch)?;
    }
    Ok(())
}

/// The plan for the forward direction.
pub(crate) fn plan_forward(engine: &Engine, op: &Conv2d, (element, tile): Product) -> Option<Forward> {
    match tile {
        None => Forward::plan(*op, element, device(engine)),
        Some(tile) => Forward::with_tile(*op, element, tile, device(engine)),
    }
}

/// The plan towards the input.
pub(crate) fn plan_backward_data(
    engine: &Engine,
    op: &Conv2d,
    (element, tile): Product,
) -> Option<BackwardData> {
    match tile {
        None => BackwardData::plan(*op, element, device(engine)),
        Some(tile) => BackwardData::with_tile(*op, element, tile, device(engine)),
    }
}

/// The plan for the weights.
pub(crate) fn plan_backward_weight(
    engine: &Engine,
    op: &Conv2d,
    (element, tile): Product,
) -> Option<BackwardWeight> {
    match tile {
        None => BackwardWeight::plan(*op, element, device(engine)),
        Some(tile) => BackwardWeight::with_tile(*op, element, tile, device(engine)),
    }
}

/// Bytes of scratch.
pub(crate) fn forward_scratch_bytes(plan: &Forward, op: &Conv2d) -> usize {
    partial_bytes(plan.n_tiles(), 3, op.k()) + plan.scratch_bytes()
}

/// Bytes of scratch.
pub(crate) fn backward_data_scratch_bytes(plan: &BackwardData, op: &Conv2d) -> usize {
    CheckedGradOut::scratch_bytes(op.c(), plan.n_tiles()).next_multiple_of(256) + plan.scratch_bytes()
}

pub(crate) fn forward(engine: &mut Engine, op: &Conv2d, plan: &Forward, inputs: &Inputs) -> Result<()> {
    let Inputs { x, w, packed, bias, y, sums } = *inputs;
    let partials = engine.scratch(forward_scratch_bytes(plan, op))?;
    let scratch = partials + partial_bytes(plan.n_tiles(), 3, op.k()) as u64;
    let wanted = if sums == 0 { 0 } else { partials };
    run(engine, &plan.steps(&forward::Operands { x, w, packed, bias, y, partials: wanted, scratch }))?;
    if sums != 0 {
        engine.finish_moments(partials, plan.n_tiles(), op.k(), sums)?;
    }
    Ok(())
}

pub(crate) fn backward_data(
    engine: &mut Engine,
    op: &Conv2d,
    plan: &BackwardData,
    dy: GradSourceArgs,
    (w, packed): (u64, u64),
    mut dx: CheckedGradOut,
) -> Result<()> {
    let partials = engine.scratch(backward_data_scratch_bytes(plan, op))?;
    let room = CheckedGradOut::scratch_bytes(op.c(), plan.n_tiles()).next_multiple_of(256);
    dx.place(partials, op.c(), plan.n_tiles());
    let scratch = partials + room as u64;
    run(engine, &plan.steps(&backward_data::Operands { dy, w, packed, dx: dx.args, scratch }))?;
    engine.finish_grad_sums(&dx, plan.n_tiles(), op.c())
}

pub(crate) fn backward_weight(
    engine: &mut Engine,
    plan: &BackwardWeight,
    x: SourceArgs,
    dy: GradSourceArgs,
    dw: u64,
    accumulate: u32,
) -> Result<()> {
    let scratch = engine.scratch(plan.scratch_bytes())?;
    let operands = backward_weight::Operands { x, dy, dw, accumulate: accumulate != 0, scratch };
    run(engine, &plan.steps(&operands))
}
