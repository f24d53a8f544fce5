//! Where a driver evaluates what it reads: some channels of some pictures at some pixels.

use std::ops::Range;

use crate::element::Element;
use crate::kernels::product::Operand;
use crate::kernels::{Isa, load};
use crate::load::Rows;

/// A part of a tensor of `n` pictures, which lies `pixels × n × channels`.
pub(crate) struct Patch {
    pub(crate) n: usize,
    pub(crate) pixels: Range<usize>,
    pub(crate) pictures: Range<usize>,
    pub(crate) channels: Range<usize>,
}

impl Patch {
    /// Evaluates it: pictures `stride` numbers apart, pixels `pitch`. Where the channels do not fill the stride, all that they
    /// leave is set to zero.
    pub(crate) fn eval<O: Element>(
        &self,
        isa: Isa,
        rows: &impl Rows,
        out: &mut [O],
        stride: usize,
        pitch: usize,
    ) {
        let (n, pixels, pictures) = (self.n, self.pixels.clone(), &self.pictures);
        if self.channels.len() < stride {
            out.fill(O::zeroed());
        }
        let len = pictures.len() * stride;
        if pictures.len() == n && pitch == len {
            if !pixels.is_empty() {
                rows.eval(isa, pixels.start * n..pixels.end * n, self.channels.clone(), out, stride);
            }
            return;
        }
        let end = pixels.end;
        for (pixel, out) in pixels.zip(out.chunks_exact_mut(pitch)) {
            let of = |pixel: usize| pixel * n + pictures.start..pixel * n + pictures.end;
            if pixel + 1 < end {
                rows.prefetch(isa, of(pixel + 1));
            }
            let from = of(pixel);
            rows.eval(isa, from, self.channels.clone(), &mut out[..len], stride);
        }
    }

    /// Evaluates it as a sum over pictures reads it: pictures `stride` numbers apart, and as many of them side by side, number by
    /// number, as a step of a product multiplies. Pixels follow each other; a picture that is missing to a step is zero.
    /// `spare`: room for the pictures of one pixel.
    pub(crate) fn eval_steps<O: Operand>(
        &self,
        isa: Isa,
        rows: &impl Rows,
        out: &mut [O],
        stride: usize,
        spare: &mut [O],
    ) {
        let v = self.pictures.len();
        if O::STEP == 1 {
            return self.eval(isa, rows, out, stride, v * stride);
        }
        let pixel = v.next_multiple_of(O::STEP) * stride;
        let spare = &mut spare[..pixel];
        spare.fill(O::zeroed());
        for (at, out) in self.pixels.clone().zip(out.chunks_exact_mut(pixel)) {
            let from = at * self.n + self.pictures.start..at * self.n + self.pictures.end;
            rows.eval(isa, from, self.channels.clone(), &mut spare[..v * stride], stride);
            load::pair_rows(isa, spare, stride, out);
        }
    }
}
