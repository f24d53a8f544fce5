//! Combine, forward and backward.

use resnet_core::op::Combine;
use resnet_core::{DType, GradOut, GradSource, Result, Source, TensorDesc};

use crate::buffer::{Buffer, optional_written, written};
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

/// Reads `x`, writes it to `z` and leaves its statistics at `partials`; 0 where either is not wanted.
fn pass(
    engine: &mut Engine,
    columns: &Columns,
    rows: usize,
    c: usize,
    dtype: DType,
    (x, z, partials): (SourceArgs, u64, u64),
) -> Result<()> {
    let args = CombineArgs {
        x,
        z,
        partials,
        rows: u32_of(rows),
        c: u32_of(c),
        rows_per_tile: columns.rows_per_tile,
        vector: columns.vector,
    };
    engine.launch(format!("combine_{dtype}"), columns.geometry, &args)
}

/// The value of a source of `rows × c` as a tensor at `z`.
pub(crate) fn evaluate(
    engine: &mut Engine,
    rows: usize,
    c: usize,
    dtype: DType,
    x: SourceArgs,
    z: u64,
) -> Result<()> {
    let columns = Columns::new(engine, rows, c, dtype);
    pass(engine, &columns, rows, c, dtype, (x, z, 0))
}

/// Partial statistics of a tensor of `rows × c` as it lies at `y`.
pub(crate) fn statistics(
    engine: &mut Engine,
    columns: &Columns,
    rows: usize,
    c: usize,
    dtype: DType,
    y: u64,
    partials: u64,
) -> Result<()> {
    pass(engine, columns, rows, c, dtype, (SourceArgs::raw(y), 0, partials))
}

/// Evaluates a gradient of `rows × c` and lets go of it; partial sums are of the tiles of [`Columns::new`].
pub(crate) fn let_go(
    engine: &mut Engine,
    rows: usize,
    c: usize,
    dtype: DType,
    dz: GradSourceArgs,
    dx: GradOutArgs,
) -> Result<()> {
    let columns = Columns::new(engine, rows, c, dtype);
    let args = CombineBackwardArgs {
        dz,
        dx,
        rows: u32_of(rows),
        c: u32_of(c),
        rows_per_tile: columns.rows_per_tile,
        vector: columns.vector,
    };
    engine.launch(format!("combine_backward_{dtype}"), columns.geometry, &args)
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
    let z = written(OP, "z", z, &desc)?;
    let sums = optional_written(OP, "sums", sums.as_deref(), &TensorDesc::sums(c))?;

    let columns = Columns::new(engine, op.rows(), c, op.dtype());
    let partials = if sums == 0 { 0 } else { engine.scratch(columns.moment_bytes(c))? };
    pass(engine, &columns, op.rows(), c, op.dtype(), (x, z, partials))?;
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
    let_go(engine, op.rows(), c, op.dtype(), dz, dx.args)?;
    engine.finish_grad_sums(&dx, columns.tiles, c)
}
