//! Combine, forward and backward.

use resnet_core::op::Combine;
use resnet_core::{GradOut, GradSource, Result, Source, TensorDesc};

use crate::buffer::{Buffer, address, optional, suffix};
use crate::columns::Columns;
use crate::engine::{Engine, u32_of};
use crate::source::{CheckedGradOut, GradOutArgs, GradSourceArgs, SourceArgs};

crate::args! {
    struct CombineArgs {
        x: SourceArgs,
        z: u64,
        partials: u64,
        rows: u32,
        c: u32,
        rows_per_tile: u32,
        vector: u32,
    }

    struct CombineBackwardArgs {
        dz: GradSourceArgs,
        dx: GradOutArgs,
        rows: u32,
        c: u32,
        rows_per_tile: u32,
        vector: u32,
    }
}

/// Bytes of scratch, forward and backward.
pub(crate) fn scratch_bytes(engine: &Engine, op: &Combine) -> usize {
    let columns = Columns::new(engine, op.rows(), op.c(), op.dtype());
    columns.moment_bytes(op.c()).max(CheckedGradOut::scratch_bytes(op.c(), columns.tiles))
}

pub(crate) fn combine(
    engine: &mut Engine,
    op: &Combine,
    x: Source<'_, Buffer>,
    z: &mut Buffer,
    sums: Option<&mut Buffer>,
) -> Result<()> {
    const OP: &str = "combine";
    let (desc, c) = (op.desc(), op.c());
    let x = SourceArgs::new(OP, &x, &desc)?;
    let z = address(OP, "z", z, &desc)?;
    let sums = optional(OP, "sums", sums.as_deref(), &TensorDesc::sums(c))?;

    let columns = Columns::new(engine, op.rows(), c, op.dtype());
    let partials = if sums == 0 { 0 } else { engine.scratch(columns.moment_bytes(c))? };
    let args = CombineArgs {
        x,
        z,
        partials,
        rows: u32_of(op.rows()),
        c: u32_of(c),
        rows_per_tile: columns.rows_per_tile,
        vector: columns.vector,
    };
    engine.launch(format!("combine_{}", suffix(op.dtype())), columns.geometry, &args)?;
    if sums != 0 {
        engine.finish_moments(partials, columns.tiles, c, sums)?;
    }
    Ok(())
}

pub(crate) fn combine_backward(
    engine: &mut Engine,
    op: &Combine,
    dz: GradSource<'_, Buffer>,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    const OP: &str = "combine_backward";
    let (desc, c) = (op.desc(), op.c());
    let dz = GradSourceArgs::new(OP, &dz, &desc)?;
    let mut dx = CheckedGradOut::new(OP, &dx, &desc)?;

    let columns = Columns::new(engine, op.rows(), c, op.dtype());
    let scratch = engine.scratch(CheckedGradOut::scratch_bytes(c, columns.tiles))?;
    dx.place(scratch, c, columns.tiles);
    let args = CombineBackwardArgs {
        dz,
        dx: dx.args,
        rows: u32_of(op.rows()),
        c: u32_of(c),
        rows_per_tile: columns.rows_per_tile,
        vector: columns.vector,
    };
    engine.launch(format!("combine_backward_{}", suffix(op.dtype())), columns.geometry, &args)?;
    engine.finish_grad_sums(&dx, columns.tiles, c)
}
