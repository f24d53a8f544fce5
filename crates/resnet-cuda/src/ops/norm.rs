//! Batch normalisation: from sums to what readers apply, and back.

use resnet_core::op::BatchNorm;
use resnet_core::{Accumulate, Result, Running, TensorDesc};

use crate::buffer::{Buffer, address, written};
use crate::engine::{Engine, Geometry, u32_of};

crate::args! {
    struct NormFinishArgs {
        sums: u64,
        gamma: u64,
        beta: u64,
        running_mean: u64,
        running_var: u64,
        affine: u64,
        moments: u64,
        c: u32,
        m: u32,
        eps: f32,
        momentum: f32,
        unbiased: u32,
        unused: u32,
    }

    struct NormFrozenArgs {
        mean: u64,
        var: u64,
        gamma: u64,
        beta: u64,
        affine: u64,
        c: u32,
        eps: f32,
    }

    struct NormFrozenBackwardArgs {
        affine: u64,
        coeffs: u64,
        c: u32,
        unused: u32,
    }

    struct NormBackwardArgs {
        sums: u64,
        moments: u64,
        gamma: u64,
        dgamma: u64,
        dbeta: u64,
        coeffs: u64,
        c: u32,
        m: u32,
        accumulate: u32,
        unused: u32,
    }
}

/// Threads of a block, one per channel.
const THREADS: usize = 128;

pub(crate) fn finish(
    engine: &mut Engine,
    op: &BatchNorm,
    sums: &Buffer,
    gamma: &Buffer,
    beta: &Buffer,
    running: Running<'_, Buffer>,
    affine: &mut Buffer,
    moments: &mut Buffer,
) -> Result<()> {
    const OP: &str = "norm_finish";
    let (c, row) = (op.c(), TensorDesc::table(1, op.c()));
    let args = NormFinishArgs {
        sums: address(OP, "sums", sums, &TensorDesc::sums(c))?,
        gamma: address(OP, "gamma", gamma, &row)?,
        beta: address(OP, "beta", beta, &row)?,
        running_mean: written(OP, "running.mean", running.mean, &row)?,
        running_var: written(OP, "running.var", running.var, &row)?,
        affine: written(OP, "affine", affine, &TensorDesc::affine(c))?,
        moments: written(OP, "moments", moments, &TensorDesc::moments(c))?,
        c: u32_of(c),
        m: u32_of(op.m()),
        eps: op.eps(),
        momentum: op.momentum(),
        unbiased: u32::from(op.unbiased()),
        unused: 0,
    };
    engine.launch("norm_finish", Geometry::flat(c, THREADS), &args)
}

pub(crate) fn frozen(
    engine: &mut Engine,
    op: &BatchNorm,
    running_mean: &Buffer,
    running_var: &Buffer,
    gamma: &Buffer,
    beta: &Buffer,
    affine: &mut Buffer,
) -> Result<()> {
    const OP: &str = "norm_frozen";
    let (c, row) = (op.c(), TensorDesc::table(1, op.c()));
    let args = NormFrozenArgs {
        mean: address(OP, "running_mean", running_mean, &row)?,
        var: address(OP, "running_var", running_var, &row)?,
        gamma: address(OP, "gamma", gamma, &row)?,
        beta: address(OP, "beta", beta, &row)?,
        affine: written(OP, "affine", affine, &TensorDesc::affine(c))?,
        c: u32_of(c),
        eps: op.eps(),
    };
    engine.launch("norm_frozen", Geometry::flat(c, THREADS), &args)
}

pub(crate) fn frozen_backward(
    engine: &mut Engine,
    op: &BatchNorm,
    affine: &Buffer,
    coeffs: &mut Buffer,
) -> Result<()> {
    const OP: &str = "norm_frozen_backward";
    let c = op.c();
    let args = NormFrozenBackwardArgs {
        affine: written(OP, "affine", affine, &TensorDesc::affine(c))?,
        coeffs: written(OP, "coeffs", coeffs, &TensorDesc::coeffs(c))?,
        c: u32_of(c),
        unused: 0,
    };
    engine.launch("norm_frozen_backward", Geometry::flat(c, THREADS), &args)
}

pub(crate) fn backward_finish(
    engine: &mut Engine,
    op: &BatchNorm,
    sums: &Buffer,
    moments: &Buffer,
    gamma: &Buffer,
    dgamma: &mut Buffer,
    dbeta: &mut Buffer,
    accumulate: Accumulate,
    coeffs: &mut Buffer,
) -> Result<()> {
    const OP: &str = "norm_backward_finish";
    let (c, row) = (op.c(), TensorDesc::table(1, op.c()));
    let args = NormBackwardArgs {
        sums: address(OP, "sums", sums, &TensorDesc::sums(c))?,
        moments: written(OP, "moments", moments, &TensorDesc::moments(c))?,
        gamma: address(OP, "gamma", gamma, &row)?,
        dgamma: written(OP, "dgamma", dgamma, &row)?,
        dbeta: written(OP, "dbeta", dbeta, &row)?,
        coeffs: written(OP, "coeffs", coeffs, &TensorDesc::coeffs(c))?,
        c: u32_of(c),
        m: u32_of(op.m()),
        accumulate: u32::from(accumulate == Accumulate::Add),
        unused: 0,
    };
    engine.launch("norm_backward_finish", Geometry::flat(c, THREADS), &args)
}
