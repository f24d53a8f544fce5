//! Element by element: a source materialised, a gradient materialised, and pictures turned into activations.

use resnet_core::op::{Combine, Ingest};
use resnet_core::{GradOut, GradSource, Result, Source};

use super::Buffer;
use super::source::{batch_sums, gradient_sums, sums_out, values, write_gradient};
use crate::number::{Number, sum};

pub(super) fn forward<T: Number>(
    op: &Combine,
    x: Source<'_, Buffer<T>>,
    z: &mut Buffer<T>,
    sums: Option<&mut Buffer<T>>,
) -> Result<()> {
    let values = values("combine", &op.desc(), x)?;
    let z = z.write("combine", "z", values.len())?;
    let sums = sums_out("combine", op.c(), sums)?;
    z.iter_mut().zip(values).for_each(|(z, value)| *z = value.stored(op.dtype()));
    batch_sums(op.c(), z, sums);
    Ok(())
}

pub(super) fn backward<T: Number>(
    op: &Combine,
    dz: GradSource<'_, Buffer<T>>,
    dx: GradOut<'_, Buffer<T>>,
) -> Result<()> {
    let g = gradient_sums("combine_backward", &op.desc(), dz)?;
    write_gradient("combine_backward", &op.desc(), dx, g)
}

pub(super) fn ingest<T: Number>(
    op: &Ingest,
    pixels: &Buffer<T>,
    affine: &Buffer<T>,
    x: &mut Buffer<T>,
) -> Result<()> {
    let (n, c) = (op.x_desc().len(), op.x_desc().c);
    let pixels = pixels.read("ingest", "pixels", n)?;
    let (scale, shift) = affine.read("ingest", "affine", 2 * c)?.split_at(c);
    let x = x.write("ingest", "x", n)?;
    for i in 0..n {
        x[i] = sum([scale[i % c] * pixels[i], shift[i % c]]).stored(op.x_desc().dtype);
    }
    Ok(())
}
