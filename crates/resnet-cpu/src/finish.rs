//! What is applied to the result of a convolution before it is stored, in inference: [`Finish`], resolved to slices.

use std::ops::Range;

use resnet_core::{Finish, Result, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::element::Element;
use crate::kernels::load::{self, Affine};
use crate::kernels::{Isa, finish};
use crate::load::open_affine;

/// A [`Finish`] whose buffers were checked.
pub(crate) struct Finishing<'a, E> {
    /// Channels of a row.
    c: usize,
    affine: Option<Affine<'a>>,
    residual: Option<(&'a [E], Option<Affine<'a>>)>,
    relu: bool,
}

impl<'a, E: Element> Finishing<'a, E> {
    /// Checks the buffers of the end of a tensor `desc`.
    pub(crate) fn open(op: &'static str, of: Finish<'a, Buffer>, desc: &TensorDesc) -> Result<Self> {
        let c = desc.c;
        let table = |arg, table: Option<&'a Buffer>| table.map(|t| open_affine(op, arg, t, c)).transpose();
        let affine = table("finish.affine", of.affine)?;
        let residual = match of.residual {
            None => None,
            Some(r) => {
                check(op, "finish.residual.raw", r.raw, desc)?;
                Some((r.raw.elements(desc.len()), table("finish.residual.affine", r.affine)?))
            }
        };
        Ok(Self { c, affine, residual, relu: of.relu })
    }

    /// Asks memory for what is added to some channels of a row.
    pub(crate) fn prefetch(&self, isa: Isa, row: usize, channels: Range<usize>) {
        if let Some((r, _)) = &self.residual {
            load::prefetch(isa, &r[row * self.c..][channels]);
        }
    }

    /// `act(scale·v + shift + residual)` of some channels of rows from `row` on, which lie `stride` numbers apart.
    ///
    /// The operations and their order are those of a [`Source`](resnet_core::Source), so that it makes no difference to f32
    /// where they are applied.
    pub(crate) fn apply(
        &self,
        isa: Isa,
        values: &mut [f32],
        stride: usize,
        row: usize,
        channels: Range<usize>,
    ) {
        let (c, width, relu) = (self.c, channels.len(), self.relu);
        let affine = self.affine.as_ref().map(|t| t.of(&channels));
        let Some((r, tr)) = &self.residual else {
            return match affine {
                Some(t) => finish::affine(isa, values, stride, t, relu),
                None if relu => finish::relu(isa, values, stride, width),
                None => {}
            };
        };
        let (r, strides) = (&r[row * c + channels.start..], (stride, c));
        match (affine, tr.as_ref().map(|t| t.of(&channels))) {
            (Some(t), None) => finish::affine_add(isa, values, t, r, strides, relu),
            (Some(t), Some(tr)) => finish::affine_add_affine(isa, values, t, r, strides, tr, relu),
            (None, None) => finish::add(isa, values, r, strides, width, relu),
            (None, Some(tr)) => finish::add_affine(isa, values, r, strides, tr, relu),
        }
    }
}
