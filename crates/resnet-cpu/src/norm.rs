//! Batch normalisation between its sums and its readers: a few numbers per channel, in f64.

use resnet_core::op::BatchNorm;
use resnet_core::{Accumulate, Result, Running, TensorDesc};

use crate::buffer::{Buffer, check};

/// From batch moments to scale and shift.
pub(crate) fn finish(
    op: &BatchNorm,
    sums: &Buffer,
    gamma: &Buffer,
    beta: &Buffer,
    running: Running<'_, Buffer>,
    affine: &mut Buffer,
    moments: &mut Buffer,
) -> Result<()> {
    const OP: &str = "norm_finish";
    let c = op.c();
    check(OP, "sums", sums, &TensorDesc::sums(c))?;
    for (arg, table) in
        [("gamma", gamma), ("beta", beta), ("running.mean", &*running.mean), ("running.var", &*running.var)]
    {
        check(OP, arg, table, &TensorDesc::table(1, c))?;
    }
    check(OP, "affine", affine, &TensorDesc::affine(c))?;
    check(OP, "moments", moments, &TensorDesc::moments(c))?;

    let (mean, m2) = sums.f64(2 * c).split_at(c);
    let (scale, shift) = affine.f32_mut(2 * c).split_at_mut(c);
    let (mean_out, inv_std_out) = moments.f32_mut(2 * c).split_at_mut(c);
    let (gamma, beta) = (gamma.f32(c), beta.f32(c));
    let (running_mean, running_var) = (running.mean.f32_mut(c), running.var.f32_mut(c));
    let m = op.m() as f64;
    let unbiased = if op.unbiased() && op.m() > 1 { m / (m - 1.0) } else { 1.0 };
    let momentum = f64::from(op.momentum());
    for i in 0..c {
        let var = m2[i] / m;
        let inv_std = 1.0 / (var + f64::from(op.eps())).sqrt();
        (scale[i], shift[i]) = affine_of(gamma[i], beta[i], mean[i], inv_std);
        (mean_out[i], inv_std_out[i]) = (mean[i] as f32, inv_std as f32);
        let mix = |old: f32, new: f64| ((1.0 - momentum) * f64::from(old) + momentum * new) as f32;
        running_mean[i] = mix(running_mean[i], mean[i]);
        running_var[i] = mix(running_var[i], var * unbiased);
    }
    Ok(())
}

/// From running moments to scale and shift.
pub(crate) fn frozen(
    op: &BatchNorm,
    running_mean: &Buffer,
    running_var: &Buffer,
    gamma: &Buffer,
    beta: &Buffer,
    affine: &mut Buffer,
) -> Result<()> {
    const OP: &str = "norm_frozen";
    let c = op.c();
    for (arg, table) in
        [("running_mean", running_mean), ("running_var", running_var), ("gamma", gamma), ("beta", beta)]
    {
        check(OP, arg, table, &TensorDesc::table(1, c))?;
    }
    check(OP, "affine", affine, &TensorDesc::affine(c))?;
    let (scale, shift) = affine.f32_mut(2 * c).split_at_mut(c);
    let (mean, var) = (running_mean.f32(c), running_var.f32(c));
    let (gamma, beta) = (gamma.f32(c), beta.f32(c));
    for i in 0..c {
        let inv_std = 1.0 / (f64::from(var[i]) + f64::from(op.eps())).sqrt();
        (scale[i], shift[i]) = affine_of(gamma[i], beta[i], f64::from(mean[i]), inv_std);
    }
    Ok(())
}

/// From scale and shift of running moments to the coefficients of `dy = scale·g`.
pub(crate) fn frozen_backward(op: &BatchNorm, affine: &Buffer, coeffs: &mut Buffer) -> Result<()> {
    const OP: &str = "norm_frozen_backward";
    let c = op.c();
    check(OP, "affine", affine, &TensorDesc::affine(c))?;
    check(OP, "coeffs", coeffs, &TensorDesc::coeffs(c))?;
    let (scale, rest) = coeffs.f32_mut(3 * c).split_at_mut(c);
    scale.copy_from_slice(&affine.f32(2 * c)[..c]);
    rest.fill(0.0);
    Ok(())
}

/// Scale and shift. The shift belongs to the rounded scale, so that a value at the mean becomes beta.
fn affine_of(gamma: f32, beta: f32, mean: f64, inv_std: f64) -> (f32, f32) {
    let scale = (f64::from(gamma) * inv_std) as f32;
    (scale, (f64::from(beta) - f64::from(scale) * mean) as f32)
}

/// From gradient sums to the gradients of gamma and beta and the coefficients of `dy = A·g + B·y + C`.
pub(crate) fn backward_finish(
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
    let c = op.c();
    check(OP, "sums", sums, &TensorDesc::sums(c))?;
    check(OP, "moments", moments, &TensorDesc::moments(c))?;
    for (arg, table) in [("gamma", gamma), ("dgamma", &*dgamma), ("dbeta", &*dbeta)] {
        check(OP, arg, table, &TensorDesc::table(1, c))?;
    }
    check(OP, "coeffs", coeffs, &TensorDesc::coeffs(c))?;

    let (sum_g, sum_gy) = sums.f64(2 * c).split_at(c);
    let (mean, inv_std) = moments.f32(2 * c).split_at(c);
    let gamma = gamma.f32(c);
    let (dgamma, dbeta) = (dgamma.f32_mut(c), dbeta.f32_mut(c));
    let table = coeffs.f32_mut(3 * c);
    let m = op.m() as f64;
    for i in 0..c {
        let (inv_std, mean, gamma) = (f64::from(inv_std[i]), f64::from(mean[i]), f64::from(gamma[i]));
        // The sums were taken of y − mean already.
        let (dg, db) = (inv_std * sum_gy[i], sum_g[i]);
        let a = (gamma * inv_std) as f32;
        let b = (-gamma * inv_std * inv_std * dg / m) as f32;
        table[i] = a;
        table[c + i] = b;
        table[2 * c + i] = (-f64::from(a) * db / m - f64::from(b) * mean) as f32;
        let write = |old: f32, new: f64| match accumulate {
            Accumulate::Set => new as f32,
            Accumulate::Add => (f64::from(old) + new) as f32,
        };
        dgamma[i] = write(dgamma[i], dg);
        dbeta[i] = write(dbeta[i], db);
    }
    Ok(())
}
