//! Reading a source: rows of raw numbers to values, as an op packs its operand.
//!
//! All functions take `x` from the first channel wanted of the first row wanted, `stride` numbers from row to row, and as
//! many channels as the tables have. They write rows `out_stride` apart.
//! The operations and their order are the definition of a source: forward and backward get the same bits.

use super::{Isa, Level, kernel};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Numbers of a cache line.
pub(crate) const LINE_FLOATS: usize = LINE / size_of::<f32>();

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

/// Runs a body with the width of a row as a constant where it is a usual small one: a row is then a few registers, the tables
/// stay in others, and nothing is left of the loop over channels.
macro_rules! by_width {
    ($given:expr, $width:ident => $body:block) => {
        match $given {
            16 => {
                let $width: usize = 16;
                $body
            }
            32 => {
                let $width: usize = 32;
                $body
            }
            64 => {
                let $width: usize = 64;
                $body
            }
            $width => $body,
        }
    };
}

#[inline(always)]
fn relu<const RELU: bool>(v: f32) -> f32 {
    // A NaN is not below zero and stays.
    if RELU && v < 0.0 { 0.0 } else { v }
}

kernel! {
    /// `act(x)`.
    fn plain[I, O]<const RELU: bool>(x: &[I], stride: usize, width: usize, out: &mut [O], out_stride: usize) {
        if stride == width && out_stride == width {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = O::narrow(relu::<RELU>(x.widen()));
            }
            return;
        }
        for (x, out) in x.chunks(stride).zip(out.chunks_mut(out_stride)) {
            for (o, &x) in out[..width].iter_mut().zip(&x[..width]) {
                *o = O::narrow(relu::<RELU>(x.widen()));
            }
        }
    }
}

kernel! {
    /// `act(scale·x + shift)`.
    fn affine[I, O]<const RELU: bool>(x: &[I], stride: usize, t: Affine<'_>, out: &mut [O], out_stride: usize) {
        by_width!(t.scale.len(), width => {
            let (scale, shift) = (&t.scale[..width], &t.shift[..width]);
            for (x, out) in x.chunks(stride).zip(out.chunks_mut(out_stride)) {
                let (x, out) = (&x[..width], &mut out[..width]);
                for i in 0..width {
                    out[i] = O::narrow(relu::<RELU>(scale[i] * x[i].widen() + shift[i]));
                }
            }
        });
    }
}

kernel! {
    /// `act(scale·x + shift + r)`, or without the affine.
    fn residual[I, O]<const AFFINE: bool, const RELU: bool>(
        x: &[I], r: &[I], stride: usize, t: Affine<'_>, width: usize, out: &mut [O], out_stride: usize,
    ) {
        by_width!(width, width => {
            for ((x, r), out) in x.chunks(stride).zip(r.chunks(stride)).zip(out.chunks_mut(out_stride)) {
                let (x, r, out) = (&x[..width], &r[..width], &mut out[..width]);
                if AFFINE {
                    let (scale, shift) = (&t.scale[..width], &t.shift[..width]);
                    for i in 0..width {
                        out[i] = O::narrow(relu::<RELU>((scale[i] * x[i].widen() + shift[i]) + r[i].widen()));
                    }
                } else {
                    for i in 0..width {
                        out[i] = O::narrow(relu::<RELU>(x[i].widen() + r[i].widen()));
                    }
                }
            }
        });
    }
}

kernel! {
    /// `act(scale·x + shift + (scale_r·r + shift_r))`, or without the first affine.
    fn affine_residual[I, O]<const AFFINE: bool, const RELU: bool>(
        x: &[I], r: &[I], stride: usize, t: Affine<'_>, tr: Affine<'_>, out: &mut [O], out_stride: usize,
    ) {
        let width = tr.scale.len();
        let shift_r = &tr.shift[..width];
        for ((x, r), out) in x.chunks(stride).zip(r.chunks(stride)).zip(out.chunks_mut(out_stride)) {
            let (x, r, out) = (&x[..width], &r[..width], &mut out[..width]);
            if AFFINE {
                let (scale, shift) = (&t.scale[..width], &t.shift[..width]);
                for i in 0..width {
                    let residual = tr.scale[i] * r[i].widen() + shift_r[i];
                    out[i] = O::narrow(relu::<RELU>((scale[i] * x[i].widen() + shift[i]) + residual));
                }
            } else {
                for i in 0..width {
                    let residual = tr.scale[i] * r[i].widen() + shift_r[i];
                    out[i] = O::narrow(relu::<RELU>(x[i].widen() + residual));
                }
            }
        }
    }
}

kernel! {
    /// `a·dz + b·y + c`.
    fn norm_backward[I, O](dz: &[I], y: &[I], stride: usize, t: Coeffs<'_>, out: &mut [O], out_stride: usize) {
        by_width!(t.a.len(), width => {
            let (a, b, c) = (&t.a[..width], &t.b[..width], &t.c[..width]);
            for ((dz, y), out) in dz.chunks(stride).zip(y.chunks(stride)).zip(out.chunks_mut(out_stride)) {
                let (dz, y, out) = (&dz[..width], &y[..width], &mut out[..width]);
                for i in 0..width {
                    out[i] = O::narrow((a[i] * dz[i].widen() + b[i] * y[i].widen()) + c[i]);
                }
            }
        });
    }
}

/// Asks for numbers that are read soon, so that memory answers while something else is computed. No effect on any result.
pub(crate) fn prefetch<E>(isa: Isa, x: &[E]) {
    ask::<E, false>(isa, x);
}

/// As [`prefetch`], for what is read so late that the innermost cache should not hold it.
pub(crate) fn prefetch_to_l2<E>(isa: Isa, x: &[E]) {
    ask::<E, true>(isa, x);
}

#[inline(always)]
fn ask<E, const L2: bool>(isa: Isa, x: &[E]) {
    if isa.level() == Level::Baseline {
        return;
    }
    for line in x.chunks(LINE / size_of::<E>()) {
        // SAFETY: a prefetch reads nothing and faults never; `_mm_prefetch` needs SSE, which x86-64 always has.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
            match L2 {
                true => _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()),
                false => _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()),
            }
        };
        // SAFETY: `prfm` reads nothing and faults never; all of 64-bit ARM has it. It changes neither registers nor flags.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            use std::arch::asm;
            let line = line.as_ptr();
            match L2 {
                true => {
                    asm!("prfm pldl2keep, [{0}]", in(reg) line, options(nostack, preserves_flags, readonly))
                }
                false => {
                    asm!("prfm pldl1keep, [{0}]", in(reg) line, options(nostack, preserves_flags, readonly))
                }
            }
        };
    }
}

kernel! {
    /// Rows of `width` numbers two by two, their numbers side by side.
    fn pair_rows[E](rows: &[E], width: usize, out: &mut [E]) {
        for (rows, out) in rows.chunks_exact(2 * width).zip(out.chunks_exact_mut(2 * width)) {
            let (first, second) = rows.split_at(width);
            for ((out, &a), &b) in out.chunks_exact_mut(2).zip(first).zip(second) {
                out[0] = a;
                out[1] = b;
            }
        }
    }
}

kernel! {
    /// The first `width` numbers of `n_rows` rows, rows two by two and their numbers side by side. A row without another has
    /// what was there beside it.
    fn pair_narrowed[O](
        rows: &[f32], stride: usize, extents: (usize, usize), out: &mut [O], out_stride: usize,
    ) {
        let (n_rows, width) = extents;
        for (i, out) in out.chunks_exact_mut(out_stride).enumerate() {
            let first = &rows[2 * i * stride..][..width];
            let out = &mut out[..2 * width];
            if 2 * i + 1 == n_rows {
                for (out, &a) in out.chunks_exact_mut(2).zip(first) {
                    out[0] = O::narrow(a);
                }
                return;
            }
            let second = &rows[(2 * i + 1) * stride..][..width];
            for ((out, &a), &b) in out.chunks_exact_mut(2).zip(first).zip(second) {
                out[0] = O::narrow(a);
                out[1] = O::narrow(b);
            }
        }
    }
}

kernel! {
    /// Elements of one type as those of another.
    fn convert[I, O](x: &[I], out: &mut [O]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = O::narrow(x.widen());
        }
    }
}

kernel! {
    /// `out += x`.
    fn add[I](out: &mut [f32], x: &[I]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o += x.widen();
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
    fn add_bias(out: &mut [f32], stride: usize, bias: &[f32]) {
        let width = bias.len();
        for out in out.chunks_mut(stride) {
            let out = &mut out[..width];
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
