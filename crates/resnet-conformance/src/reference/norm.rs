//! Batch normalisation: the part that needs the whole batch.

use resnet_core::op::BatchNorm;
use resnet_core::{Accumulate, Result, Running};

use super::Buffer;
use super::source::put;
use crate::number::{Number, blend, sum_of};

pub(super) fn finish<T: Number>(
    op: &BatchNorm,
    sums: &Buffer<T>,
    gamma: &Buffer<T>,
    beta: &Buffer<T>,
    running: Running<'_, Buffer<T>>,
    affine: &mut Buffer<T>,
    moments: &mut Buffer<T>,
) -> Result<()> {
    const OP: &str = "norm_finish";
    let c = op.c();
    let (sum_y, sum_yy) = sums.read(OP, "sums", 2 * c)?.split_at(c);
    let gamma = gamma.read(OP, "gamma", c)?;
    let beta = beta.read(OP, "beta", c)?;
    let running_mean = running.mean.write(OP, "running.mean", c)?;
    let running_var = running.var.write(OP, "running.var", c)?;
    let (scale, shift) = affine.write(OP, "affine", 2 * c)?.split_at_mut(c);
    let (mean_out, inv_std_out) = moments.write(OP, "moments", 2 * c)?.split_at_mut(c);

    let m = T::exact(op.m() as f64);
    let eps = T::exact(f64::from(op.eps()));
    let momentum = T::exact(f64::from(op.momentum()));
    for i in 0..c {
        let mean = sum_y[i] / m;
        let var = (sum_yy[i] / m - mean * mean).max(T::exact(0.0));
        let inv_std = T::exact(1.0) / (var + eps).sqrt();
        scale[i] = gamma[i] * inv_std;
        shift[i] = beta[i] - scale[i] * mean;
        mean_out[i] = mean;
        inv_std_out[i] = inv_std;

        let estimate = if op.unbiased() && op.m() > 1 { var * m / (m - T::exact(1.0)) } else { var };
        running_mean[i] = blend(running_mean[i], momentum, mean);
        running_var[i] = blend(running_var[i], momentum, estimate);
    }
    Ok(())
}

pub(super) fn frozen<T: Number>(
    op: &BatchNorm,
    running_mean: &Buffer<T>,
    running_var: &Buffer<T>,
    gamma: &Buffer<T>,
    beta: &Buffer<T>,
    affine: &mut Buffer<T>,
) -> Result<()> {
    const OP: &str = "norm_frozen";
    let c = op.c();
    let mean = running_mean.read(OP, "running_mean", c)?;
    let var = running_var.read(OP, "running_var", c)?;
    let gamma = gamma.read(OP, "gamma", c)?;
    let beta = beta.read(OP, "beta", c)?;
    let (scale, shift) = affine.write(OP, "affine", 2 * c)?.split_at_mut(c);
    for i in 0..c {
        scale[i] = gamma[i] / (var[i] + T::exact(f64::from(op.eps()))).sqrt();
        shift[i] = beta[i] - scale[i] * mean[i];
    }
    Ok(())
}

pub(super) fn frozen_backward<T: Number>(
    op: &BatchNorm,
    affine: &Buffer<T>,
    coeffs: &mut Buffer<T>,
) -> Result<()> {
    const OP: &str = "norm_frozen_backward";
    let c = op.c();
    let scale = &affine.read(OP, "affine", 2 * c)?[..c];
    let coeffs = coeffs.write(OP, "coeffs", 3 * c)?;
    for i in 0..c {
        coeffs[i] = scale[i];
        coeffs[c + i] = T::exact(0.0);
        coeffs[2 * c + i] = T::exact(0.0);
    }
    Ok(())
}

pub(super) fn backward_finish<T: Number>(
    op: &BatchNorm,
    sums: &Buffer<T>,
    moments: &Buffer<T>,
    gamma: &Buffer<T>,
    dgamma: &mut Buffer<T>,
    dbeta: &mut Buffer<T>,
    accumulate: Accumulate,
    coeffs: &mut Buffer<T>,
) -> Result<()> {
    const OP: &str = "norm_backward_finish";
    let c = op.c();
    let (sum_g, sum_gy) = sums.read(OP, "sums", 2 * c)?.split_at(c);
    let (mean, inv_std) = moments.read(OP, "moments", 2 * c)?.split_at(c);
    let gamma = gamma.read(OP, "gamma", c)?;
    let dgamma_out = dgamma.write(OP, "dgamma", c)?;
    let dbeta_out = dbeta.write(OP, "dbeta", c)?;
    let coeffs = coeffs.write(OP, "coeffs", 3 * c)?;

    let m = T::exact(op.m() as f64);
    for i in 0..c {
        let dbeta = sum_g[i];
        let dgamma = inv_std[i] * (sum_gy[i] - mean[i] * sum_g[i]);
        let a = gamma[i] * inv_std[i];
        let b = -(a * inv_std[i] * dgamma / m);
        coeffs[i] = a;
        coeffs[c + i] = b;
        coeffs[2 * c + i] = -(a * dbeta / m) - b * mean[i];
        put(&mut dgamma_out[i..=i], accumulate, [sum_of([dgamma])]);
        put(&mut dbeta_out[i..=i], accumulate, [sum_of([dbeta])]);
    }
    Ok(())
}
