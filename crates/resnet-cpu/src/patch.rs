//! Where a driver evaluates what it reads: some channels of some pictures at some pixels.

use std::ops::Range;

use crate::kernels::Isa;
use crate::load::Rows;

/// A part of a tensor of `n` pictures, which lies `pixels × n × channels`.
pub(crate) struct Patch {
    pub(crate) n: usize,
    pub(crate) pixels: Range<usize>,
    pub(crate) pictures: Range<usize>,
    pub(crate) channels: Range<usize>,
}

impl Patch {
    /// Evaluates it: pictures `stride` floats apart, pixels `pitch`. Where the channels do not fill the stride, all that they
    /// leave is set to zero.
    pub(crate) fn eval(&self, isa: Isa, rows: &impl Rows, out: &mut [f32], stride: usize, pitch: usize) {
        let (n, pixels, pictures) = (self.n, self.pixels.clone(), &self.pictures);
        if self.channels.len() < stride {
            out.fill(0.0);
        }
        let len = pictures.len() * stride;
        if pictures.len() == n && pitch == len {
            if !pixels.is_empty() {
                rows.eval(isa, pixels.start * n..pixels.end * n, self.channels.clone(), out, stride);
            }
            return;
        }
        for (pixel, out) in pixels.zip(out.chunks_exact_mut(pitch)) {
            let from = pixel * n + pictures.start..pixel * n + pictures.end;
            rows.eval(isa, from, self.channels.clone(), &mut out[..len], stride);
        }
    }
}
