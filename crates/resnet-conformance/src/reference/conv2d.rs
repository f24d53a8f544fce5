//! Convolution in its three directions. All three visit the same taps and differ only in which factor they solve for.

use resnet_core::op::Conv2d;
use resnet_core::{Accumulate, Arithmetic, DType, Finish, GradOut, GradSource, Result, Source};

use super::Buffer;
use super::source::{batch_sums, finished_values, gradients, put, sums_out, values, write_gradient};
use crate::fast::{self, Map};
use crate::number::{Number, Sum, sum_of};

/// Calls `visit(pixel of x, pixel of y, position in the window)` for every tap that lies inside the image.
pub(crate) fn for_each_tap(op: &Conv2d, mut visit: impl FnMut(usize, usize, usize)) {
    let pad = op.padding();
    // Position along one axis, where it is not in the padding.
    let inside = |out: usize, window: usize, before: usize, extent: usize| {
        (out * op.stride() + window).checked_sub(before).filter(|&at| at < extent)
    };
    for n in 0..op.n() {
        for p in 0..op.p() {
            for q in 0..op.q() {
                let y_pixel = (n * op.p() + p) * op.q() + q;
                for r in 0..op.r() {
                    let Some(h) = inside(p, r, pad.top, op.h()) else { continue };
                    for s in 0..op.s() {
                        let Some(w) = inside(q, s, pad.left, op.w()) else { continue };
                        visit((n * op.h() + h) * op.w() + w, y_pixel, r * op.s() + s);
                    }
                }
            }
        }
    }
}

/// Offsets that belong to kernel `k`: the first channel of its group, and its weight at a window position.
pub(crate) struct Channels {
    pub(crate) per_group: usize,
    kernels_per_group: usize,
    window: usize,
}

impl Channels {
    pub(crate) fn of(op: &Conv2d) -> Self {
        Self {
            per_group: op.c() / op.groups(),
            kernels_per_group: op.k() / op.groups(),
            window: op.r() * op.s(),
        }
    }
    pub(crate) fn first(&self, k: usize) -> usize {
        k / self.kernels_per_group * self.per_group
    }
    pub(crate) fn weight(&self, k: usize, position: usize) -> usize {
        (k * self.window + position) * self.per_group
    }
}

/// Factors of products over elements of a type.
fn operands<T: Number>(dtype: DType, values: &[T]) -> Vec<T> {
    values.iter().map(|v| v.operand(dtype)).collect()
}

pub(super) fn forward<T: Number>(
    op: &Conv2d,
    arithmetic: Arithmetic,
    x: Source<'_, Buffer<T>>,
    w: &Buffer<T>,
    bias: Option<&Buffer<T>>,
    y: &mut Buffer<T>,
    sums: Option<&mut Buffer<T>>,
) -> Result<()> {
    const OP: &str = "conv2d";
    let acc = taps(OP, op, arithmetic, x, w, bias)?;
    let y = y.write(OP, "y", op.y_desc().len())?;
    let sums = sums_out(OP, op.k(), sums)?;
    for (y, acc) in y.iter_mut().zip(acc) {
        *y = acc.total().stored(op.dtype());
    }
    batch_sums(op.k(), y, sums);
    Ok(())
}

pub(super) fn finished<T: Number>(
    op: &Conv2d,
    arithmetic: Arithmetic,
    x: Source<'_, Buffer<T>>,
    w: &Buffer<T>,
    bias: Option<&Buffer<T>>,
    finish: Finish<'_, Buffer<T>>,
    y: &mut Buffer<T>,
) -> Result<()> {
    const OP: &str = "conv2d_finished";
    let raw = taps(OP, op, arithmetic, x, w, bias)?.iter().map(Sum::total).collect::<Vec<_>>();
    let values = finished_values(OP, &op.y_desc(), &raw, finish)?;
    for (y, value) in y.write(OP, "y", op.y_desc().len())?.iter_mut().zip(values) {
        *y = value.stored(op.dtype());
    }
    Ok(())
}

/// The sums over all windows, with the bias, not closed yet.
fn taps<T: Number>(
    name: &'static str,
    op: &Conv2d,
    arithmetic: Arithmetic,
    x: Source<'_, Buffer<T>>,
    w: &Buffer<T>,
    bias: Option<&Buffer<T>>,
) -> Result<Vec<T::Sum>> {
    let x = operands(op.dtype(), &values(name, &op.x_desc(), x)?);
    let w = &operands(op.dtype(), w.read(name, "w", op.w_desc().len())?)[..];
    let bias = bias.map(|bias| bias.read(name, "bias", op.k())).transpose()?;

    let ch = Channels::of(op);
    let mut acc = vec![T::Sum::default(); op.y_desc().len()];
    for_each_tap(op, |x_pixel, y_pixel, position| {
        for k in 0..op.k() {
            let acc = &mut acc[y_pixel * op.k() + k];
            let xs = &x[x_pixel * op.c() + ch.first(k)..][..ch.per_group];
            let ws = &w[ch.weight(k, position)..][..ch.per_group];
            for (&x, &w) in xs.iter().zip(ws) {
                acc.add(x * w);
            }
        }
    });
    fast::widen(arithmetic, op, Map::Forward, &x, w, &mut acc);
    if let Some(bias) = bias {
        acc.iter_mut().enumerate().for_each(|(i, acc)| acc.add(bias[i % op.k()]));
    }
    Ok(acc)
}

pub(super) fn backward_data<T: Number>(
    op: &Conv2d,
    arithmetic: Arithmetic,
    dy: GradSource<'_, Buffer<T>>,
    w: &Buffer<T>,
    dx: GradOut<'_, Buffer<T>>,
) -> Result<()> {
    const OP: &str = "conv2d_backward_data";
    let dy = operands(op.dtype(), &gradients(OP, &op.y_desc(), dy)?);
    let w = &operands(op.dtype(), w.read(OP, "w", op.w_desc().len())?)[..];

    let ch = Channels::of(op);
    let mut acc = vec![T::Sum::default(); op.x_desc().len()];
    for_each_tap(op, |x_pixel, y_pixel, position| {
        for k in 0..op.k() {
            let dy = dy[y_pixel * op.k() + k];
            let gs = &mut acc[x_pixel * op.c() + ch.first(k)..][..ch.per_group];
            let ws = &w[ch.weight(k, position)..][..ch.per_group];
            for (g, &w) in gs.iter_mut().zip(ws) {
                g.add(dy * w);
            }
        }
    });
    fast::widen(arithmetic, op, Map::BackwardData, &dy, w, &mut acc);
    write_gradient(OP, &op.x_desc(), dx, acc)
}

pub(super) fn backward_weight<T: Number>(
    op: &Conv2d,
    arithmetic: Arithmetic,
    x: Source<'_, Buffer<T>>,
    dy: GradSource<'_, Buffer<T>>,
    dw: &mut Buffer<T>,
    dbias: Option<&mut Buffer<T>>,
    accumulate: Accumulate,
) -> Result<()> {
    const OP: &str = "conv2d_backward_weight";
    let x = operands(op.dtype(), &values(OP, &op.x_desc(), x)?);
    let dy = operands(op.dtype(), &gradients(OP, &op.y_desc(), dy)?);
    let dw = dw.write(OP, "dw", op.w_desc().len())?;
    let dbias = dbias.map(|dbias| dbias.write(OP, "dbias", op.k())).transpose()?;

    let ch = Channels::of(op);
    let mut acc = vec![T::Sum::default(); dw.len()];
    for_each_tap(op, |x_pixel, y_pixel, position| {
        for k in 0..op.k() {
            let dy = dy[y_pixel * op.k() + k];
            let xs = &x[x_pixel * op.c() + ch.first(k)..][..ch.per_group];
            let gs = &mut acc[ch.weight(k, position)..][..ch.per_group];
            for (g, &x) in gs.iter_mut().zip(xs) {
                g.add(dy * x);
            }
        }
    });
    fast::widen(arithmetic, op, Map::BackwardWeight, &x, &dy, &mut acc);
    put(dw, accumulate, acc);
    if let Some(dbias) = dbias {
        let of_kernel = |k: usize| sum_of(dy.iter().skip(k).step_by(op.k()).copied());
        put(dbias, accumulate, (0..op.k()).map(of_kernel));
    }
    Ok(())
}
