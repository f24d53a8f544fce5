//! The input pixels that a tile of output reads, numbered, so that each is evaluated once.
//!
//! They are numbered in their order in the image. Taps next to each other then mostly read pixels next to each other, and
//! one product can serve a whole row of the window.

use std::ops::Range;

use crate::window::Segment;

/// Numbers of input pixels. Kept by each thread to be used again.
#[derive(Default)]
pub(crate) struct Halo {
    /// The number of each input pixel, where it is read.
    slots: Vec<Option<usize>>,
}

/// Consecutive taps that read pixels with consecutive numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) taps: Range<usize>,
    /// The number of the first pixel.
    pub(crate) slot: usize,
}

impl Halo {
    /// Room for the pixels of an image.
    pub(crate) fn reserve(&mut self, in_pixels: usize) {
        self.slots.resize(in_pixels.max(self.slots.len()), None);
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.slots.as_slice())
    }

    /// Numbers the pixels that some output reads, and returns how many there are.
    pub(crate) fn number(
        &mut self,
        in_pixels: usize,
        cut: impl Iterator<Item = Segment>,
        n_taps: usize,
        locate: impl Fn(usize, usize) -> Option<usize>,
    ) -> usize {
        self.slots.clear();
        self.slots.resize(in_pixels, None);
        for s in cut {
            for pixel in (0..n_taps).filter_map(|tap| locate(s.pixel, tap)) {
                self.slots[pixel] = Some(0);
            }
        }
        let mut n = 0;
        for slot in self.slots.iter_mut().flatten() {
            *slot = n;
            n += 1;
        }
        n
    }

    /// The pixels in the order of their numbers.
    pub(crate) fn pixels(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter_map(|(pixel, slot)| slot.map(|_| pixel))
    }

    /// The taps of an output pixel that read anything, cut where the numbers jump.
    pub(crate) fn runs(
        &self,
        pixel: usize,
        n_taps: usize,
        locate: impl Fn(usize, usize) -> Option<usize>,
    ) -> impl Iterator<Item = Run> {
        let slot = move |tap: usize| locate(pixel, tap).and_then(|pixel| self.slots[pixel]);
        let mut tap = 0;
        std::iter::from_fn(move || {
            while tap < n_taps {
                let start = tap;
                tap += 1;
                let Some(first) = slot(start) else { continue };
                while tap < n_taps && slot(tap) == Some(first + tap - start) {
                    tap += 1;
                }
                return Some(Run { taps: start..tap, slot: first });
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::segments;

    #[test]
    fn runs_cover_the_taps_inside_the_image() {
        // A 3 × 3 window around each pixel of a row in a 3 × 4 image.
        let locate = |pixel: usize, tap: usize| {
            let (y, x) = (pixel / 4 + tap / 3, pixel % 4 + tap % 3);
            (1..4).contains(&y).then_some(())?;
            (1..5).contains(&x).then(|| (y - 1) * 4 + x - 1)
        };
        let mut halo = Halo::default();
        // Pixels 0 and 1, two pictures each: they read two rows of three pixels.
        assert_eq!(halo.number(12, segments(0..4, 2), 9, locate), 6);
        assert_eq!(halo.pixels().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6]);
        let runs: Vec<Run> = halo.runs(1, 9, locate).collect();
        assert_eq!(runs, [Run { taps: 3..9, slot: 0 }]);
        let runs: Vec<Run> = halo.runs(0, 9, locate).collect();
        assert_eq!(runs, [Run { taps: 4..6, slot: 0 }, Run { taps: 7..9, slot: 3 }]);
    }
}
