use resnet_core::rng::Stream;

use super::check_range;
use crate::Result;
use crate::data::Picture;

/// A part of a picture: top, left, height, width. May reach beyond the picture, where it is black.
pub(super) type Window = (isize, isize, usize, usize);

/// Replaces a picture by a window of it.
pub(super) fn window(picture: &mut Picture, scratch: &mut Picture, (top, left, height, width): Window) {
    let channels = picture.channels;
    scratch.reset(height, width, channels);
    // The columns of the window that lie inside the picture.
    let first = (-left).clamp(0, width as isize);
    let end = (picture.width as isize - left).clamp(first, width as isize);
    let n_bytes = (end - first) as usize * channels;
    for y in 0..height {
        let from_y = top + y as isize;
        if n_bytes == 0 || from_y < 0 || from_y >= picture.height as isize {
            continue;
        }
        let from = (from_y as usize * picture.width + (left + first) as usize) * channels;
        let to = (y * width + first as usize) * channels;
        scratch.pixels[to..to + n_bytes].copy_from_slice(&picture.pixels[from..from + n_bytes]);
    }
    std::mem::swap(picture, scratch);
}

/// Pads with black and takes a window of the original size at an offset of 0 to twice the padding:
/// torchvision's `RandomCrop(size, padding)` for a picture that has the size already.
///
/// Source: He et al., *Deep Residual Learning*, arXiv:1512.03385, section 4.2.
pub(super) fn pad_crop(
    picture: &mut Picture,
    scratch: &mut Picture,
    padding: usize,
    (top, left): (usize, usize),
) {
    let from = |offset: usize| offset as isize - padding as isize;
    window(picture, scratch, (from(top), from(left), picture.height, picture.width));
}

/// Where the window of [`pad_crop`] begins: rows, columns.
pub(super) fn draw_offset(padding: usize, stream: &mut Stream) -> (usize, usize) {
    (stream.below(2 * padding + 1), stream.below(2 * padding + 1))
}

/// The middle, as torchvision's `CenterCrop` finds it: half pixels are rounded to even,
/// and where the picture is smaller, the odd row or column of black comes after.
pub(super) fn center(picture: &mut Picture, scratch: &mut Picture, height: usize, width: usize) {
    let (top, left) = (center_of(picture.height, height), center_of(picture.width, width));
    window(picture, scratch, (top, left, height, width));
}

/// Where the middle `wanted` pixels of `extent` begin; below 0 where there are not as many.
pub(super) fn center_of(extent: usize, wanted: usize) -> isize {
    if extent >= wanted {
        ((extent - wanted) as f64 / 2.0).round_ties_even() as isize
    } else {
        -(((wanted - extent) / 2) as isize)
    }
}

/// A random part of the picture, resized: the usual augmentation for ImageNet.
///
/// Drawn as torchvision's `RandomResizedCrop` draws it.
/// Source: Szegedy et al., *Going Deeper with Convolutions*, arXiv:1409.4842, section 6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomResizedCrop {
    /// Rows of the result.
    pub height: usize,
    /// Columns of the result.
    pub width: usize,
    /// Part of the picture's area, from and to.
    pub area: (f64, f64),
    /// Width divided by height, from and to.
    pub aspect: (f64, f64),
}

impl RandomResizedCrop {
    /// Windows that do not fit are drawn again this often; then the largest allowed one in the middle is taken.
    const N_TRIALS: usize = 10;

    /// The usual ranges: 8 % to 100 % of the area, aspect 3/4 to 4/3.
    pub fn new(height: usize, width: usize) -> Self {
        Self { height, width, area: (0.08, 1.0), aspect: (3.0 / 4.0, 4.0 / 3.0) }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_range("random resized crop, area", self.area, 1.0)?;
        check_range("random resized crop, aspect", self.aspect, f64::MAX)
    }

    pub(super) fn draw(&self, picture: &Picture, stream: &mut Stream) -> Window {
        let (height, width) = (picture.height, picture.width);
        for _ in 0..Self::N_TRIALS {
            let area = (height * width) as f64 * stream.between(self.area.0, self.area.1);
            let aspect = stream.between(self.aspect.0.ln(), self.aspect.1.ln()).exp();
            let w = (area * aspect).sqrt().round_ties_even() as usize;
            let h = (area / aspect).sqrt().round_ties_even() as usize;
            if 0 < w && w <= width && 0 < h && h <= height {
                return (stream.below(height - h + 1) as isize, stream.below(width - w + 1) as isize, h, w);
            }
        }
        let ratio = width as f64 / height as f64;
        let (h, w) = if ratio < self.aspect.0 {
            ((width as f64 / self.aspect.0).round_ties_even() as usize, width)
        } else if ratio > self.aspect.1 {
            (height, (height as f64 * self.aspect.1).round_ties_even() as usize)
        } else {
            (height, width)
        };
        let (h, w) = (h.clamp(1, height), w.clamp(1, width));
        (((height - h) / 2) as isize, ((width - w) / 2) as isize, h, w)
    }
}
