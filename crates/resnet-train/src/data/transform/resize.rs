//! Resampling with antialiasing, as Pillow does it and so torchvision's `Resize` of pictures, within one level per pass.
//!
//! Each axis is a pass of its own, with bytes in between; which comes first decides how halves and overshoots are rounded.
//! When shrinking, the filter is widened by the scale, so that every input pixel counts.
//! The passes are `fast_image_resize`'s: vectorised, and equal on every instruction set. Its weights have 16 bits where
//! Pillow's have 22, which is the whole difference.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeError, ResizeOptions};
use resnet_core::preprocessing::Interpolation;

use super::crop::center_of;
use crate::data::Picture;
use crate::{Error, Result};

/// Height and width that a picture gets when its shorter side becomes `size`, as torchvision's `Resize(size)` rounds them.
pub fn shorter_side((height, width): (usize, usize), size: usize) -> (usize, usize) {
    let in_proportion = |long: usize, short: usize| (size * long).checked_div(short).unwrap_or(0).max(1);
    if width <= height { (in_proportion(height, width), size) } else { (size, in_proportion(width, height)) }
}

/// Whether the rows are resized before the columns: when the picture loses rows, and more than twice as many as columns.
///
/// This is the rule of Pillow 13. Before it, columns always came first; the results differ by at most one level.
fn rows_first((from_height, from_width): (usize, usize), (height, width): (usize, usize)) -> bool {
    let lost = |from: usize, to: usize| from as isize - to as isize;
    lost(from_height, height) > 0 && lost(from_height, height) > 2 * lost(from_width, width)
}

/// What one pass does along one axis: a part of the input becomes so many pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    start: f64,
    len: f64,
    n_out: usize,
}

impl Span {
    /// All of `from` pixels to `to` pixels.
    fn whole(from: usize, to: usize) -> Self {
        Self { start: 0.0, len: from as f64, n_out: to }
    }

    /// The same, of which only the `wanted` pixels in the middle of the result are computed, if it has more.
    fn middle(from: usize, to: usize, wanted: usize) -> Self {
        if wanted >= to {
            return Self::whole(from, to);
        }
        let scale = from as f64 / to as f64;
        Self { start: center_of(to, wanted) as f64 * scale, len: wanted as f64 * scale, n_out: wanted }
    }

    /// The input pixels that this may read, first and number, the wider of the two filters considered.
    fn reads(self, n_in: usize) -> (usize, usize) {
        let reach = 2.0 * (self.len / self.n_out as f64).max(1.0) + 1.0;
        let first = (self.start - reach).max(0.0) as usize;
        let end = ((self.start + self.len + reach).ceil() as usize).min(n_in);
        (first, end - first)
    }

    fn is_copy_of(self, n_in: usize) -> bool {
        self == Self::whole(n_in, n_in)
    }
}

/// Resizes pictures; keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Resizer {
    inner: fast_image_resize::Resizer,
    bytes: Vec<u8>,
}

impl Resizer {
    /// The whole picture to this size.
    pub(super) fn run(
        &mut self,
        picture: &mut Picture,
        size: (usize, usize),
        filter: Interpolation,
    ) -> Result<()> {
        self.run_middle(picture, size, size, filter)
    }

    /// The picture to this size, of which only the middle is computed where `crop` is smaller.
    /// Where it is larger, the crop that follows adds the black.
    pub(super) fn run_middle(
        &mut self,
        picture: &mut Picture,
        (height, width): (usize, usize),
        crop: (usize, usize),
        filter: Interpolation,
    ) -> Result<()> {
        let (from_height, from_width) = (picture.height, picture.width);
        let found = (from_height, from_width, picture.channels);
        if picture.pixels.is_empty() {
            let why = format!("a picture of {found:?} (height, width, channels) has no pixel");
            return Err(Error::invalid("resize", why));
        }
        let rows = Span::middle(from_height, height, crop.0);
        let columns = Span::middle(from_width, width, crop.1);
        let done = if rows_first((from_height, from_width), (height, width)) {
            let (first, n) = columns.reads(from_width);
            let cut = Span { start: first as f64, len: n as f64, n_out: n };
            let behind = Span { start: columns.start - first as f64, ..columns };
            self.pass(picture, rows, cut, filter)
                .and_then(|()| self.pass(picture, Span::whole(rows.n_out, rows.n_out), behind, filter))
        } else {
            let (first, n) = rows.reads(from_height);
            let cut = Span { start: first as f64, len: n as f64, n_out: n };
            let behind = Span { start: rows.start - first as f64, ..rows };
            self.pass(picture, cut, columns, filter)
                .and_then(|()| self.pass(picture, behind, Span::whole(columns.n_out, columns.n_out), filter))
        };
        done.map_err(|e| Error::invalid("resize", format!("a picture of {found:?}: {e}")))
    }

    /// Resizes along one axis; the other one is at most cut.
    fn pass(
        &mut self,
        picture: &mut Picture,
        rows: Span,
        columns: Span,
        filter: Interpolation,
    ) -> Result<(), ResizeError> {
        if rows.is_copy_of(picture.height) && columns.is_copy_of(picture.width) {
            return Ok(());
        }
        let filter = match filter {
            Interpolation::Bilinear => FilterType::Bilinear,
            Interpolation::Bicubic => FilterType::CatmullRom, // Keys's cubic with a = −0.5
        };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
            columns.start,
            rows.start,
            columns.len,
            rows.len,
        );
        let (c, to) = (picture.channels, (rows.n_out, columns.n_out));
        self.bytes.resize(to.0 * to.1 * c, 0);
        match pixel_type(c) {
            Some(pixels) => {
                self.call((picture.height, picture.width), &picture.pixels, to, pixels, &options)?;
            }
            None => self.pass_by_channel(picture, to, &options)?,
        }
        std::mem::swap(&mut self.bytes, &mut picture.pixels);
        (picture.height, picture.width) = to;
        Ok(())
    }

    /// From these pixels to `self.bytes`.
    fn call(
        &mut self,
        from: (usize, usize),
        pixels: &[u8],
        to: (usize, usize),
        kind: PixelType,
        options: &ResizeOptions,
    ) -> Result<(), ResizeError> {
        let extent = |n: usize| u32::try_from(n).unwrap_or(u32::MAX); // what is longer does not fit its bytes either
        let source = ImageRef::new(extent(from.1), extent(from.0), pixels, kind);
        let target = Image::from_slice_u8(extent(to.1), extent(to.0), &mut self.bytes, kind);
        match (source, target) {
            (Ok(source), Ok(mut target)) => self.inner.resize(&source, &mut target, options),
            _ => Err(ResizeError::PixelTypesAreDifferent), // a picture whose bytes are not its size
        }
    }

    /// For a number of channels that the library has no pixels for.
    fn pass_by_channel(
        &mut self,
        picture: &Picture,
        to: (usize, usize),
        options: &ResizeOptions,
    ) -> Result<(), ResizeError> {
        let c = picture.channels;
        let mut whole = vec![0; to.0 * to.1 * c];
        for channel in 0..c {
            let plane: Vec<u8> = picture.pixels.iter().skip(channel).step_by(c).copied().collect();
            self.bytes.resize(to.0 * to.1, 0);
            self.call((picture.height, picture.width), &plane, to, PixelType::U8, options)?;
            for (byte, value) in whole.iter_mut().skip(channel).step_by(c).zip(&self.bytes) {
                *byte = *value;
            }
        }
        self.bytes = whole;
        Ok(())
    }
}

fn pixel_type(channels: usize) -> Option<PixelType> {
    Some(match channels {
        1 => PixelType::U8,
        2 => PixelType::U8x2,
        3 => PixelType::U8x3,
        4 => PixelType::U8x4,
        _ => return None,
    })
}
