//! Reading a source: rows of raw numbers to values, as an op packs its operand.
//!
//! All functions take `x` from the first channel wanted of the first row wanted, `stride` numbers from row to row, and as
//! many channels as the tables have. They write rows `out_stride` apart.
//! The operations and their order are the definition of a source: forward and backward get the same bits.

use super::kernel;

/// Scale and shift, of the channels wanted.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
}

/// The coefficients of a normalisation's backward pass, of the channels wanted.
#[derive(Clone, Copy)]
pub(crate) struct Coeffs<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    pub(crate) c: &'a [f32],
}

#[inline(always)]
fn relu<const RELU: bool>(v: f32) -> f32 {
    // A NaN is not below zero and stays.
    if RELU && v < 0.0 { 0.0 } else { v }
}

kernel! {
    /// `act(x)`.
    fn plain<const RELU: bool>(x: &[f32], stride: usize, width: usize, out: &mut [f32], out_stride: usize) {
        if stride == width && out_stride == width {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = relu::<RELU>(x);
            }
            return;
        }
        for (x, out) in x.chunks(stride).zip(out.chunks_mut(out_stride)) {
            for (o, &x) in out[..width].iter_mut().zip(&x[..width]) {
                *o = relu::<RELU>(x);
            }
        }
    }
}

kernel! {
    /// `act(scale·x + shift)`.
    fn affine<const RELU: bool>(x: &[f32], stride: usize, t: Affine<'_>, out: &mut [f32], out_stride: usize) {
        let width = t.scale.len();
        let shift = &t.shift[..width];
        for (x, out) in x.chunks(stride).zip(out.chunks_mut(out_stride)) {
            let (x, out) = (&x[..width], &mut out[..width]);
            for i in 0..width {
                out[i] = relu::<RELU>(t.scale[i] * x[i] + shift[i]);
            }
        }
    }
}

kernel! {
    /// `act(scale·x + shift + r)`, or without the affine.
    fn residual<const AFFINE: bool, const RELU: bool>(
        x: &[f32], r: &[f32], stride: usize, t: Affine<'_>, width: usize, out: &mut [f32], out_stride: usize,
    ) {
        for ((x, r), out) in x.chunks(stride).zip(r.chunks(stride)).zip(out.chunks_mut(out_stride)) {
            let (x, r, out) = (&x[..width], &r[..width], &mut out[..width]);
            if AFFINE {
                let (scale, shift) = (&t.scale[..width], &t.shift[..width]);
                for i in 0..width {
                    out[i] = relu::<RELU>((scale[i] * x[i] + shift[i]) + r[i]);
                }
            } else {
                for i in 0..width {
                    out[i] = relu::<RELU>(x[i] + r[i]);
                }
            }
        }
    }
}

kernel! {
    /// `act(scale·x + shift + (scale_r·r + shift_r))`, or without the first affine.
    fn affine_residual<const AFFINE: bool, const RELU: bool>(
        x: &[f32], r: &[f32], stride: usize, t: Affine<'_>, tr: Affine<'_>, out: &mut [f32], out_stride: usize,
    ) {
        let width = tr.scale.len();
        let shift_r = &tr.shift[..width];
        for ((x, r), out) in x.chunks(stride).zip(r.chunks(stride)).zip(out.chunks_mut(out_stride)) {
            let (x, r, out) = (&x[..width], &r[..width], &mut out[..width]);
            if AFFINE {
                let (scale, shift) = (&t.scale[..width], &t.shift[..width]);
                for i in 0..width {
                    out[i] = relu::<RELU>((scale[i] * x[i] + shift[i]) + (tr.scale[i] * r[i] + shift_r[i]));
                }
            } else {
                for i in 0..width {
                    out[i] = relu::<RELU>(x[i] + (tr.scale[i] * r[i] + shift_r[i]));
                }
            }
        }
    }
}

kernel! {
    /// `a·dz + b·y + c`.
    fn norm_backward(dz: &[f32], y: &[f32], stride: usize, t: Coeffs<'_>, out: &mut [f32], out_stride: usize) {
        let width = t.a.len();
        let (b, c) = (&t.b[..width], &t.c[..width]);
        for ((dz, y), out) in dz.chunks(stride).zip(y.chunks(stride)).zip(out.chunks_mut(out_stride)) {
            let (dz, y, out) = (&dz[..width], &y[..width], &mut out[..width]);
            for i in 0..width {
                out[i] = (t.a[i] * dz[i] + b[i] * y[i]) + c[i];
            }
        }
    }
}

kernel! {
    /// `out += x`.
    fn add(out: &mut [f32], x: &[f32]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o += x;
        }
    }
}

kernel! {
    /// `out += factor·x`.
    fn add_scaled(out: &mut [f32], x: &[f32], factor: f32) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o += factor * x;
        }
    }
}

kernel! {
    /// Adds a table of one row to every row.
    fn add_bias(out: &mut [f32], bias: &[f32]) {
        let width = bias.len();
        for out in out.chunks_exact_mut(width) {
            for i in 0..width {
                out[i] += bias[i];
            }
        }
    }
}

kernel! {
    /// Keeps `out` where `value > 0`, else sets it to zero.
    fn mask(out: &mut [f32], value: &[f32]) {
        for (o, &v) in out.iter_mut().zip(value) {
            *o = if v > 0.0 { *o } else { 0.0 };
        }
    }
}
