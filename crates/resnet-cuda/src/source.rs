//! Sources and gradients as kernels take them: the twins of `kernels/include/source.cuh`.

use resnet_core::{Accumulate, GradOut, GradSource, Result, Source, TensorDesc};

use crate::buffer::{Buffer, address, optional, written};

crate::args! {
    /// Twin of `Source`.
    pub struct SourceArgs {
        raw: u64,
        affine: u64,
        residual: u64,
        residual_affine: u64,
        relu: u32,
        unused: u32,
    }

    /// Twin of `GradSource`.
    pub struct GradSourceArgs {
        dz: u64,
        coeffs: u64,
        y: u64,
    }

    /// Twin of `GradSums`.
    pub struct GradSumsArgs {
        y: u64,
        moments: u64,
        partials: u64,
    }

    /// Twin of `GradOut`.
    pub struct GradOutArgs {
        dx: u64,
        add: u64,
        mask: SourceArgs,
        sums: [GradSumsArgs; 2],
        accumulate: u32,
        unused: u32,
    }
}

impl SourceArgs {
    /// No source at all.
    pub(crate) const NONE: Self =
        Self { raw: 0, affine: 0, residual: 0, residual_affine: 0, relu: 0, unused: 0 };

    /// Checks the buffers of a source for a tensor.
    pub(crate) fn new(op: &'static str, x: &Source<'_, Buffer>, desc: &TensorDesc) -> Result<Self> {
        let affine = TensorDesc::affine(desc.c);
        let (residual, residual_affine) = match &x.residual {
            None => (0, 0),
            Some(r) => (
                address(op, "residual.raw", r.raw, desc)?,
                optional(op, "residual.affine", r.affine, &affine)?,
            ),
        };
        Ok(Self {
            raw: address(op, "source.raw", x.raw, desc)?,
            affine: optional(op, "source.affine", x.affine, &affine)?,
            residual,
            residual_affine,
            relu: u32::from(x.relu),
            unused: 0,
        })
    }
}

impl GradSourceArgs {
    /// Checks the buffers of a gradient for a tensor.
    pub(crate) fn new(op: &'static str, dy: &GradSource<'_, Buffer>, desc: &TensorDesc) -> Result<Self> {
        let dz = address(op, "dy.dz", dy.dz, desc)?;
        Ok(match &dy.norm {
            None => Self { dz, coeffs: 0, y: 0 },
            Some(norm) => Self {
                dz,
                coeffs: address(op, "dy.norm.coeffs", norm.coeffs, &TensorDesc::coeffs(desc.c))?,
                y: address(op, "dy.norm.y", norm.y, desc)?,
            },
        })
    }
}

/// A gradient output whose buffers were checked: what kernels take, and where the sums go once they are finished.
#[derive(Clone, Debug)]
pub(crate) struct CheckedGradOut {
    pub(crate) args: GradOutArgs,
    /// Where the sums of each normalisation go; 0 where there is none.
    pub(crate) sums: [u64; 2],
}

impl CheckedGradOut {
    pub(crate) fn new(op: &'static str, out: &GradOut<'_, Buffer>, desc: &TensorDesc) -> Result<Self> {
        let mut checked = Self {
            args: GradOutArgs {
                dx: written(op, "dx", out.dx, desc)?,
                add: optional(op, "dx.add", out.add, desc)?,
                mask: match &out.mask {
                    None => SourceArgs::NONE,
                    Some(mask) => SourceArgs::new(op, mask, desc)?,
                },
                sums: [GradSumsArgs { y: 0, moments: 0, partials: 0 }; 2],
                accumulate: u32::from(out.accumulate == Accumulate::Add),
                unused: 0,
            },
            sums: [0; 2],
        };
        for (i, sums) in out.sums.iter().enumerate() {
            if let Some(sums) = sums {
                checked.args.sums[i].y = address(op, "dx.sums.y", sums.y, desc)?;
                let moments = TensorDesc::moments(desc.c);
                checked.args.sums[i].moments = address(op, "dx.sums.moments", sums.moments, &moments)?;
                checked.sums[i] = written(op, "dx.sums.sums", sums.sums, &TensorDesc::sums(desc.c))?;
            }
        }
        Ok(checked)
    }

    /// Whether the gradient is written as it is, and nothing else is asked for.
    pub(crate) fn is_plain(&self) -> bool {
        let GradOutArgs { add, mask, accumulate, .. } = &self.args;
        *add == 0 && mask.raw == 0 && *accumulate == 0 && self.sums == [0, 0]
    }

    /// Bytes of scratch for partial sums over so many tiles.
    pub(crate) fn scratch_bytes(c: usize, tiles: usize) -> usize {
        2 * tiles * 2 * c * 4
    }

    /// Says where partial sums go: `scratch` has the bytes of [`CheckedGradOut::scratch_bytes`].
    pub(crate) fn place(&mut self, scratch: u64, c: usize, tiles: usize) {
        for (i, sums) in self.args.sums.iter_mut().enumerate() {
            sums.partials = scratch + (i * tiles * 2 * c * 4) as u64;
        }
    }
}
