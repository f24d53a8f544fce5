//! Panels of input rows under several taps, side by side: im2col for one tile.

use std::ops::Range;

use crate::kernels::Isa;
use crate::kernels::transpose::transpose;
use crate::load::Rows;
use crate::memory::Memory;
use crate::window::Segment;

/// Taps share a panel until a product sums over this many numbers.
pub(crate) const DEPTH: usize = 64;

/// Whether a panel is made of planes, one per tap and channel. Grey and RGB pictures: rows of theirs are too short to copy.
pub(crate) fn in_planes(depth: usize) -> bool {
    depth == 1 || depth == 3
}

/// Floats of a panel of `rows` rows, and of the memory that a transposition needs.
pub(crate) fn panel_len(rows: usize, n_taps: usize, depth: usize) -> usize {
    rows * depth * DEPTH.div_ceil(depth).min(n_taps)
}

/// Rows per tile: about 256, and whole pixels or even parts of one, so that the taps on padding are the same for all rows of
/// a tile.
///
/// The packing of the weights is paid once per tile, the number of tiles bounds the threads that can help.
/// It depends on the problem alone.
pub(crate) fn tile_rows(pixels: usize, n: usize) -> usize {
    const TARGET: usize = 256;
    let target = TARGET.min((pixels * n).div_ceil(4)).max(16);
    if n >= target { n.div_ceil(n.div_ceil(target)) } else { n * (target / n) }
}

/// Whether any of the taps reads anything but padding.
pub(crate) fn reads(
    mut cut: impl Iterator<Item = Segment>,
    taps: Range<usize>,
    locate: impl Fn(usize, usize) -> Option<usize>,
) -> bool {
    cut.any(|s| taps.clone().any(|tap| locate(s.pixel, tap).is_some()))
}

/// Some channels of an input, seen through a window.
pub(crate) struct View<'a, R, L> {
    pub(crate) isa: Isa,
    pub(crate) source: &'a R,
    /// Pictures.
    pub(crate) n: usize,
    pub(crate) channels: Range<usize>,
    /// The pixel to read for an output pixel and a tap.
    pub(crate) locate: L,
}

impl<R: Rows, L: Fn(usize, usize) -> Option<usize>> View<'_, R, L> {
    /// Writes a panel of `taps · channels` columns, each of them contiguous.
    pub(crate) fn columns(
        &self,
        cut: impl Iterator<Item = Segment>,
        taps: Range<usize>,
        panel: &mut [f32],
        spare: &mut Memory,
    ) {
        let k = taps.len() * self.channels.len();
        let n_rows = panel.len() / k;
        if in_planes(self.channels.len()) {
            self.planes(cut, taps, n_rows, panel);
        } else {
            let rows = spare.take(panel.len());
            self.side_by_side(cut, taps, rows);
            transpose(self.isa, rows, k, (n_rows, k), panel, n_rows);
        }
    }

    /// Writes a panel of rows, each of `taps · channels` contiguous numbers.
    pub(crate) fn rows(
        &self,
        cut: impl Iterator<Item = Segment>,
        taps: Range<usize>,
        panel: &mut [f32],
        spare: &mut Memory,
    ) {
        let k = taps.len() * self.channels.len();
        let n_rows = panel.len() / k;
        if in_planes(self.channels.len()) && k > self.channels.len() {
            let planes = spare.take(panel.len());
            self.planes(cut, taps, n_rows, planes);
            transpose(self.isa, planes, n_rows, (k, n_rows), panel, k);
        } else {
            self.side_by_side(cut, taps, panel);
        }
    }

    /// Rows of taps side by side; padding is zero.
    fn side_by_side(&self, cut: impl Iterator<Item = Segment>, taps: Range<usize>, panel: &mut [f32]) {
        let depth = self.channels.len();
        let stride = taps.len() * depth;
        for s in cut {
            for (i, tap) in taps.clone().enumerate() {
                let out = &mut panel[s.at.start * stride + i * depth..s.at.end * stride];
                match (self.locate)(s.pixel, tap) {
                    Some(pixel) => {
                        self.source.eval(self.isa, self.at(pixel, &s), self.channels.clone(), out, stride)
                    }
                    None => out.chunks_mut(stride).for_each(|row| row[..depth].fill(0.0)),
                }
            }
        }
    }

    /// One plane per tap and channel, for few channels; padding is zero.
    fn planes(
        &self,
        cut: impl Iterator<Item = Segment>,
        taps: Range<usize>,
        n_rows: usize,
        panel: &mut [f32],
    ) {
        /// Rows that are evaluated before they are taken apart.
        const STRIP: usize = 64;
        let depth = self.channels.len();
        let mut strip = [0.0; 3 * STRIP];
        for s in cut {
            for (i, tap) in taps.clone().enumerate() {
                let planes = &mut panel[i * depth * n_rows..(i + 1) * depth * n_rows];
                let Some(pixel) = (self.locate)(s.pixel, tap) else {
                    planes.chunks_exact_mut(n_rows).for_each(|plane| plane[s.at.clone()].fill(0.0));
                    continue;
                };
                let rows = self.at(pixel, &s);
                if depth == 1 {
                    self.source.eval(self.isa, rows, self.channels.clone(), &mut planes[s.at.clone()], 1);
                    continue;
                }
                for start in rows.clone().step_by(STRIP) {
                    let end = (start + STRIP).min(rows.end);
                    let strip = &mut strip[..(end - start) * depth];
                    self.source.eval(self.isa, start..end, self.channels.clone(), strip, depth);
                    let planes = &mut planes[s.at.start + start - rows.start..];
                    transpose(self.isa, strip, depth, (end - start, depth), planes, n_rows);
                }
            }
        }
    }

    fn at(&self, pixel: usize, s: &Segment) -> Range<usize> {
        pixel * self.n + s.pictures.start..pixel * self.n + s.pictures.end
    }
}
