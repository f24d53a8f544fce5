//! The end of a convolution: rows of results, in place. The operations of [`load`](super::load), in the same order.
//!
//! Rows have as many numbers as the tables have channels. `strides`: from row to row of the results, and of what is added.

use super::kernel;
use super::load::Affine;

/// With or without a ReLU; known where a loop begins, so that none has a branch.
macro_rules! either {
    ($relu:expr, |$act:ident| $body:block) => {
        if $relu {
            let $act = |v: f32| if v < 0.0 { 0.0 } else { v }; // a NaN is not below zero and stays
            $body
        } else {
            let $act = |v: f32| v;
            $body
        }
    };
}

kernel! {
    /// `max(0, v)`.
    fn relu(values: &mut [f32], stride: usize, width: usize) {
        for v in values.chunks_mut(stride) {
            for v in &mut v[..width] {
                *v = if *v < 0.0 { 0.0 } else { *v };
            }
        }
    }
}

kernel! {
    /// `act(scale·v + shift)`.
    fn affine(values: &mut [f32], stride: usize, t: Affine<'_>, relu: bool) {
        let width = t.scale.len();
        let shift = &t.shift[..width];
        either!(relu, |act| {
            for v in values.chunks_mut(stride) {
                let v = &mut v[..width];
                for i in 0..width {
                    v[i] = act(t.scale[i] * v[i] + shift[i]);
                }
            }
        });
    }
}

kernel! {
    /// `act(v + r)`.
    fn add[E](values: &mut [f32], r: &[E], strides: (usize, usize), width: usize, relu: bool) {
        either!(relu, |act| {
            for (v, r) in values.chunks_mut(strides.0).zip(r.chunks(strides.1)) {
                for (v, r) in v[..width].iter_mut().zip(&r[..width]) {
                    *v = act(*v + r.widen());
                }
            }
        });
    }
}

kernel! {
    /// `act(v + (scale_r·r + shift_r))`.
    fn add_affine[E](values: &mut [f32], r: &[E], strides: (usize, usize), tr: Affine<'_>, relu: bool) {
        let width = tr.scale.len();
        let shift = &tr.shift[..width];
        either!(relu, |act| {
            for (v, r) in values.chunks_mut(strides.0).zip(r.chunks(strides.1)) {
                let (v, r) = (&mut v[..width], &r[..width]);
                for i in 0..width {
                    v[i] = act(v[i] + (tr.scale[i] * r[i].widen() + shift[i]));
                }
            }
        });
    }
}

kernel! {
    /// `act(scale·v + shift + r)`.
    fn affine_add[E](values: &mut [f32], t: Affine<'_>, r: &[E], strides: (usize, usize), relu: bool) {
        let width = t.scale.len();
        let shift = &t.shift[..width];
        either!(relu, |act| {
            for (v, r) in values.chunks_mut(strides.0).zip(r.chunks(strides.1)) {
                let (v, r) = (&mut v[..width], &r[..width]);
                for i in 0..width {
                    v[i] = act((t.scale[i] * v[i] + shift[i]) + r[i].widen());
                }
            }
        });
    }
}

kernel! {
    /// `act(scale·v + shift + (scale_r·r + shift_r))`.
    fn affine_add_affine[E](
        values: &mut [f32], t: Affine<'_>, r: &[E], strides: (usize, usize), tr: Affine<'_>, relu: bool,
    ) {
        let width = t.scale.len();
        let (shift, scale_r, shift_r) = (&t.shift[..width], &tr.scale[..width], &tr.shift[..width]);
        either!(relu, |act| {
            for (v, r) in values.chunks_mut(strides.0).zip(r.chunks(strides.1)) {
                let (v, r) = (&mut v[..width], &r[..width]);
                for i in 0..width {
                    let residual = scale_r[i] * r[i].widen() + shift_r[i];
                    v[i] = act((t.scale[i] * v[i] + shift[i]) + residual);
                }
            }
        });
    }
}
