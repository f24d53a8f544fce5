//! Panels of input rows under several taps, side by side: im2col for one tile.

use std::ops::Range;

use crate::kernels::Isa;
use crate::kernels::transpose::transpose;
use crate::load::Rows;
use crate::threads::Panel;
use crate::window::Segment;

/// Taps share a panel until a product sums over this many numbers.
pub(crate) const DEPTH: usize = 64;

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
        spare: &mut Panel,
    ) {
        let k = taps.len() * self.channels.len();
        let n_rows = panel.len() / k;
        if self.channels.len() == 1 {
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
        spare: &mut Panel,
    ) {
        let k = taps.len() * self.channels.len();
        let n_rows = panel.len() / k;
        if self.channels.len() == 1 && k > 1 {
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

    /// One plane per tap, of the rows of a single channel; padding is zero.
    fn planes(
        &self,
        cut: impl Iterator<Item = Segment>,
        taps: Range<usize>,
        n_rows: usize,
        panel: &mut [f32],
    ) {
        for s in cut {
            for (i, tap) in taps.clone().enumerate() {
                let out = &mut panel[i * n_rows + s.at.start..i * n_rows + s.at.end];
                match (self.locate)(s.pixel, tap) {
                    Some(pixel) => {
                        self.source.eval(self.isa, self.at(pixel, &s), self.channels.clone(), out, 1)
                    }
                    None => out.fill(0.0),
                }
            }
        }
    }

    fn at(&self, pixel: usize, s: &Segment) -> Range<usize> {
        pixel * self.n + s.pictures.start..pixel * self.n + s.pictures.end
    }
}
