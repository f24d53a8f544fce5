//! Where a sliding window reads: pixels and taps, without pictures and channels.
//!
//! In a pixel-major tensor a pixel is a matrix of `n` rows, so this is all the index arithmetic that convolutions and
//! pools have.

use std::ops::Range;

use resnet_core::op::{AvgPool, Conv2d, MaxPool};

/// A window of `r × s` that moves by `stride` over `h × w` pixels, `p × q` times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) r: usize,
    pub(crate) s: usize,
    pub(crate) p: usize,
    pub(crate) q: usize,
    stride: usize,
    top: usize,
    left: usize,
}

macro_rules! from_op {
    ($op:ty) => {
        impl From<&$op> for Window {
            fn from(op: &$op) -> Self {
                Self {
                    h: op.h(),
                    w: op.w(),
                    r: op.r(),
                    s: op.s(),
                    p: op.p(),
                    q: op.q(),
                    stride: op.stride(),
                    top: op.padding().top,
                    left: op.padding().left,
                }
            }
        }
    };
}
from_op!(Conv2d);
from_op!(MaxPool);
from_op!(AvgPool);

impl Window {
    /// Positions in the window.
    pub(crate) fn n_taps(&self) -> usize {
        self.r * self.s
    }

    /// The input pixel under `tap` when the window makes output `pixel`; none where it falls on padding.
    pub(crate) fn input(&self, pixel: usize, tap: usize) -> Option<usize> {
        let along = |out: usize, tap: usize, before: usize, extent: usize| {
            (out * self.stride + tap).checked_sub(before).filter(|&i| i < extent)
        };
        let y = along(pixel / self.q, tap / self.s, self.top, self.h)?;
        let x = along(pixel % self.q, tap % self.s, self.left, self.w)?;
        Some(y * self.w + x)
    }

    /// Whether `tap` ever meets an input pixel.
    pub(crate) fn uses(&self, tap: usize) -> bool {
        let along = |tap: usize, before: usize, extent: usize, out: usize| {
            (0..out).any(|o| (o * self.stride + tap).checked_sub(before).is_some_and(|i| i < extent))
        };
        along(tap / self.s, self.top, self.h, self.p) && along(tap % self.s, self.left, self.w, self.q)
    }

    /// The output pixel whose window has input `pixel` under `tap`, if there is one.
    pub(crate) fn output(&self, pixel: usize, tap: usize) -> Option<usize> {
        let along = |input: usize, tap: usize, before: usize, extent: usize| {
            let start = (input + before).checked_sub(tap)?;
            (start.is_multiple_of(self.stride)).then_some(start / self.stride).filter(|&o| o < extent)
        };
        let y = along(pixel / self.w, tap / self.s, self.top, self.p)?;
        let x = along(pixel % self.w, tap % self.s, self.left, self.q)?;
        Some(y * self.q + x)
    }
}

/// A run of rows that belong to one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) pixel: usize,
    /// Which pictures.
    pub(crate) pictures: Range<usize>,
    /// Where they are among the rows that were cut.
    pub(crate) at: Range<usize>,
}

impl Segment {
    /// The part of it that belongs to some pictures.
    pub(crate) fn within(&self, pictures: Range<usize>) -> Option<Segment> {
        let both = self.pictures.start.max(pictures.start)..self.pictures.end.min(pictures.end);
        let at = self.at.start + both.start.checked_sub(self.pictures.start)?;
        (!both.is_empty()).then(|| Segment { pixel: self.pixel, at: at..at + both.len(), pictures: both })
    }
}

/// Cuts rows of a pixel-major tensor of `n` pictures at the pixels.
pub(crate) fn segments(rows: Range<usize>, n: usize) -> impl Iterator<Item = Segment> + Clone {
    (rows.start / n..rows.end.div_ceil(n)).map(move |pixel| {
        let pictures = rows.start.saturating_sub(pixel * n)..(rows.end - pixel * n).min(n);
        let at = pixel * n + pictures.start - rows.start;
        Segment { pixel, at: at..at + pictures.len(), pictures }
    })
}

/// Rows of a tile that is passed over a few times: about 64 KiB.
pub(crate) fn pass_tile_rows(c: usize) -> usize {
    const TARGET: usize = 16 * 1024;
    (TARGET / c).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_every_row_once_and_in_order() {
        for n in 1..5 {
            for start in 0..12 {
                for end in start + 1..13 {
                    let rows: Vec<usize> = segments(start..end, n)
                        .flat_map(|s| {
                            assert_eq!(s.at.len(), s.pictures.len());
                            assert!(!s.at.is_empty());
                            s.pictures.map(move |i| s.pixel * n + i)
                        })
                        .collect();
                    assert_eq!(rows, (start..end).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn input_and_output_are_inverse() {
        for (h, r, stride, top) in [(5, 3, 2, 1), (4, 3, 1, 1), (7, 2, 3, 0), (1, 3, 1, 1), (6, 1, 2, 0)] {
            let p = (h + 2 * top - r) / stride + 1;
            let window = Window { h, w: h, r, s: r, p, q: p, stride, top, left: top };
            for tap in 0..window.n_taps() {
                for out in 0..p * p {
                    if let Some(input) = window.input(out, tap) {
                        assert_eq!(window.output(input, tap), Some(out));
                    }
                }
                for input in 0..h * h {
                    if let Some(out) = window.output(input, tap) {
                        assert_eq!(window.input(out, tap), Some(input));
                    }
                }
            }
        }
    }
}
