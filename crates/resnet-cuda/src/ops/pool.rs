//! Maximum and mean over windows, forward and backward.

use resnet_core::op::{AvgPool, MaxPool, PadValue};
use resnet_core::{GradOut, GradSource, Result, Source, TensorDesc};

use crate::buffer::{Buffer, address, optional_written, written};
use crate::columns::Columns;
use crate::engine::{Engine, u32_of};
use crate::source::{CheckedGradOut, GradOutArgs, GradSourceArgs, SourceArgs};

crate::args! {
    struct PoolShape {
        n: u32,
        h: u32,
        w: u32,
        c: u32,
        r: u32,
        s: u32,
        p: u32,
        q: u32,
        stride: u32,
        top: u32,
        left: u32,
        zero_outside: u32,
    }

    struct MaxPoolArgs {
        x: SourceArgs,
        y: u64,
        index: u64,
        partials: u64,
        shape: PoolShape,
        rows_per_tile: u32,
        vector: u32,
    }

    struct AvgPoolArgs {
        x: SourceArgs,
        y: u64,
        shape: PoolShape,
        rows_per_tile: u32,
        vector: u32,
    }

    struct PoolBackwardArgs {
        dy: GradSourceArgs,
        index: u64,
        dx: GradOutArgs,
        shape: PoolShape,
        rows_per_tile: u32,
        vector: u32,
    }
}

macro_rules! shape {
    ($op:expr, $zero_outside:expr) => {
        PoolShape {
            n: u32_of($op.n()),
            h: u32_of($op.h()),
            w: u32_of($op.w()),
            c: u32_of($op.c()),
            r: u32_of($op.r()),
            s: u32_of($op.s()),
            p: u32_of($op.p()),
            q: u32_of($op.q()),
            stride: u32_of($op.stride()),
            top: u32_of($op.padding().top),
            left: u32_of($op.padding().left),
            zero_outside: $zero_outside,
        }
    };
}

fn pixels(desc: &TensorDesc) -> usize {
    desc.n * desc.h * desc.w
}

fn columns(engine: &Engine, desc: &TensorDesc) -> Columns {
    Columns::new(engine, pixels(desc), desc.c, desc.dtype)
}

/// Bytes of scratch, forward and backward, of a pool from `x` to `y`.
pub(crate) fn scratch_bytes(engine: &Engine, x: &TensorDesc, y: &TensorDesc) -> usize {
    let backward = CheckedGradOut::scratch_bytes(x.c, columns(engine, x).tiles);
    columns(engine, y).moment_bytes(y.c).max(backward)
}

pub(crate) fn max_pool(
    engine: &mut Engine,
    op: &MaxPool,
    x: Source<'_, Buffer>,
    y: &mut Buffer,
    index: Option<&mut Buffer>,
    sums: Option<&mut Buffer>,
) -> Result<()> {
    const OP: &str = "max_pool";
    let (desc, c) = (op.y_desc(), op.c());
    let x = SourceArgs::new(OP, &x, &op.x_desc())?;
    let y = written(OP, "y", y, &desc)?;
    let index = optional_written(OP, "index", index.as_deref(), &op.index_desc())?;
    let sums = optional_written(OP, "sums", sums.as_deref(), &TensorDesc::sums(c))?;

    let columns = columns(engine, &desc);
    let partials = if sums == 0 { 0 } else { engine.scratch(columns.moment_bytes(c))? };
    let shape = shape!(op, u32::from(op.pad_value() == PadValue::Zero));
    let Columns { rows_per_tile, vector, .. } = columns;
    let args = MaxPoolArgs { x, y, index, partials, shape, rows_per_tile, vector };
    engine.launch(format!("max_pool_{}", op.dtype()), columns.geometry, &args)?;
    if sums != 0 {
        engine.finish_moments(partials, columns.tiles, c, sums)?;
    }
    Ok(())
}

pub(crate) fn max_pool_backward(
    engine: &mut Engine,
    op: &MaxPool,
    dy: GradSource<'_, Buffer>,
    index: &Buffer,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    const OP: &str = "max_pool_backward";
    let dy = GradSourceArgs::new(OP, &dy, &op.y_desc())?;
    let index = address(OP, "index", index, &op.index_desc())?;
    let dx = CheckedGradOut::new(OP, &dx, &op.x_desc())?;
    backward(engine, OP, &op.x_desc(), shape!(op, 0), dy, index, dx)
}

pub(crate) fn avg_pool(
    engine: &mut Engine,
    op: &AvgPool,
    x: Source<'_, Buffer>,
    y: &mut Buffer,
) -> Result<()> {
    const OP: &str = "avg_pool";
    let x = SourceArgs::new(OP, &x, &op.x_desc())?;
    let y = written(OP, "y", y, &op.y_desc())?;
    let columns = columns(engine, &op.y_desc());
    let Columns { rows_per_tile, vector, .. } = columns;
    let args = AvgPoolArgs { x, y, shape: shape!(op, 0), rows_per_tile, vector };
    engine.launch(format!("avg_pool_{}", op.dtype()), columns.geometry, &args)
}

pub(crate) fn avg_pool_backward(
    engine: &mut Engine,
    op: &AvgPool,
    dy: GradSource<'_, Buffer>,
    dx: GradOut<'_, Buffer>,
) -> Result<()> {
    const OP: &str = "avg_pool_backward";
    let dy = GradSourceArgs::new(OP, &dy, &op.y_desc())?;
    let dx = CheckedGradOut::new(OP, &dx, &op.x_desc())?;
    backward(engine, OP, &op.x_desc(), shape!(op, 0), dy, 0, dx)
}

fn backward(
    engine: &mut Engine,
    kernel: &str,
    desc: &TensorDesc,
    shape: PoolShape,
    dy: GradSourceArgs,
    index: u64,
    mut dx: CheckedGradOut,
) -> Result<()> {
    let columns = columns(engine, desc);
    let scratch = engine.scratch(CheckedGradOut::scratch_bytes(desc.c, columns.tiles))?;
    dx.place(scratch, desc.c, columns.tiles);
    let Columns { rows_per_tile, vector, .. } = columns;
    let args = PoolBackwardArgs { dy, index, dx: dx.args, shape, rows_per_tile, vector };
    engine.launch(format!("{kernel}_{}", desc.dtype), columns.geometry, &args)?;
    engine.finish_grad_sums(&dx, columns.tiles, desc.c)
}
