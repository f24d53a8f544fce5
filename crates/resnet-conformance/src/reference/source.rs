//! What an op reads, and how it lets go of a gradient.

use resnet_core::{Accumulate, Finish, GradOut, GradSource, GradSums, Result, Source, TensorDesc};

use super::Buffer;
use super::buffer::numbers;
use crate::number::{Number, Sum, sum, sum_of};

/// `act(scale·raw + shift + residual)` of every element.
pub(super) fn values<T: Number>(
    op: &'static str,
    desc: &TensorDesc,
    x: Source<'_, Buffer<T>>,
) -> Result<Vec<T>> {
    let raw = x.raw.read(op, "source.raw", desc.len())?;
    let Source { affine, residual, relu, .. } = x;
    finished_values(op, desc, raw, Finish { affine, residual, relu })
}

/// `act(scale·raw + shift + residual)` of numbers that an op has computed, or read.
pub(super) fn finished_values<T: Number>(
    op: &'static str,
    desc: &TensorDesc,
    raw: &[T],
    x: Finish<'_, Buffer<T>>,
) -> Result<Vec<T>> {
    let (n, c) = (desc.len(), desc.c);
    let main = affine(op, "source.affine", c, x.affine)?;
    let residual = match x.residual {
        None => None,
        Some(r) => Some((r.raw.read(op, "residual.raw", n)?, affine(op, "residual.affine", c, r.affine)?)),
    };
    Ok((0..n)
        .map(|i| {
            let mut value = T::Sum::default();
            add_scaled(&mut value, raw[i], main, i % c, c);
            if let Some((raw, affine)) = residual {
                add_scaled(&mut value, raw[i], affine, i % c, c);
            }
            let value = value.total();
            if x.relu { value.max(T::exact(0.0)) } else { value }
        })
        .collect())
}

fn affine<'a, T: Number>(
    op: &'static str,
    arg: &'static str,
    c: usize,
    table: Option<&'a Buffer<T>>,
) -> Result<Option<&'a [T]>> {
    table.map(|t| t.read(op, arg, 2 * c)).transpose()
}

fn add_scaled<T: Number>(value: &mut T::Sum, raw: T, affine: Option<&[T]>, channel: usize, c: usize) {
    match affine {
        None => value.add(raw),
        Some(table) => {
            value.add(table[channel] * raw);
            value.add(table[c + channel]);
        }
    }
}

/// `A·dz + B·y + C`, or plain `dz`, of every element.
pub(super) fn gradients<T: Number>(
    op: &'static str,
    desc: &TensorDesc,
    dy: GradSource<'_, Buffer<T>>,
) -> Result<Vec<T>> {
    Ok(gradient_sums(op, desc, dy)?.iter().map(Sum::total).collect())
}

/// As [`gradients`], as sums to which more may be added.
pub(super) fn gradient_sums<T: Number>(
    op: &'static str,
    desc: &TensorDesc,
    dy: GradSource<'_, Buffer<T>>,
) -> Result<Vec<T::Sum>> {
    let (n, c) = (desc.len(), desc.c);
    let dz = dy.dz.read(op, "dy.dz", n)?;
    let Some(norm) = dy.norm else {
        return Ok(dz.iter().map(|&dz| sum_of([dz])).collect());
    };
    let y = norm.y.read(op, "dy.norm.y", n)?;
    let coeffs = norm.coeffs.read(op, "dy.norm.coeffs", 3 * c)?;
    let (a, rest) = coeffs.split_at(c);
    let (b, shift) = rest.split_at(c);
    Ok((0..n)
        .map(|i| {
            let channel = i % c;
            sum_of([a[channel] * dz[i], b[channel] * y[i], shift[channel]])
        })
        .collect())
}

/// Writes `dx = mask ⊙ (g + [dx] + [add])`, then the sums of what was written.
/// `g` comes as sums that are not closed yet, because `dx` and `add` may be added before, between or after their terms.
pub(super) fn write_gradient<T: Number>(
    op: &'static str,
    desc: &TensorDesc,
    out: GradOut<'_, Buffer<T>>,
    g: Vec<T::Sum>,
) -> Result<()> {
    let n = desc.len();
    let add = out.add.map(|add| add.read(op, "dx.add", n)).transpose()?;
    let mask = out.mask.map(|mask| values(op, desc, mask)).transpose()?;
    let mut sums = Vec::new();
    for GradSums { y, moments, sums: to } in out.sums.into_iter().flatten() {
        moments.read(op, "dx.sums.moments", 2 * desc.c)?;
        sums.push((y.read(op, "dx.sums.y", n)?, to.write(op, "dx.sums.sums", 2 * desc.c)?));
    }
    let dx = out.dx.write(op, "dx", n)?;
    for (i, mut total) in g.into_iter().enumerate().take(n) {
        if out.accumulate == Accumulate::Add {
            total.add(dx[i]);
        }
        if let Some(add) = add {
            total.add(add[i]);
        }
        let total = total.total();
        let masked = mask.as_ref().map_or(total, |mask| total.where_positive(mask[i]));
        dx[i] = masked.stored(desc.dtype);
    }
    for (y, to) in sums {
        channel_sums(desc.c, dx, |i| dx[i] * y[i], to);
    }
    Ok(())
}

/// Checks the buffer for batch sums before anything is written.
pub(super) fn sums_out<'a, T: Number>(
    op: &'static str,
    c: usize,
    sums: Option<&'a mut Buffer<T>>,
) -> Result<Option<&'a mut [T]>> {
    sums.map(|sums| sums.write(op, "sums", numbers(&TensorDesc::sums(c)))).transpose()
}

/// `Σ y` and `Σ y²` per channel.
pub(super) fn batch_sums<T: Number>(c: usize, y: &[T], to: Option<&mut [T]>) {
    if let Some(to) = to {
        channel_sums(c, y, |i| y[i] * y[i], to);
    }
}

fn channel_sums<T: Number>(c: usize, first: &[T], second: impl Fn(usize) -> T, to: &mut [T]) {
    for channel in 0..c {
        let of_channel = || (channel..first.len()).step_by(c);
        to[channel] = sum(of_channel().map(|i| first[i]));
        to[c + channel] = sum(of_channel().map(&second));
    }
}

/// Sets or adds to every element of `to`.
pub(super) fn put<T: Number>(to: &mut [T], accumulate: Accumulate, sums: impl IntoIterator<Item = T::Sum>) {
    for (to, mut sum) in to.iter_mut().zip(sums) {
        if accumulate == Accumulate::Add {
            sum.add(*to);
        }
        *to = sum.total();
    }
}
