//! What is done to a picture between reading it and stacking it into a batch.
//!
//! A [`Pipeline`] is a list of transforms, applied in order.
//! Those that draw random numbers take them from one stream per (seed, epoch, index).
//! Pictures stay bytes: normalisation is done on the device, by [`Ingest`](resnet_core::op::Ingest).

mod crop;
mod erase;
mod flip;
mod pick;
mod pipeline;
mod resize;

pub use crop::RandomResizedCrop;
pub use erase::Erase;
pub(in crate::data) use pick::Picker;
pub use pipeline::Pipeline;
pub use resize::shorter_side;

use resnet_core::preprocessing::Interpolation;
use resnet_core::rng::Stream;

use super::Picture;
use crate::{Error, Result};

/// One step of a [`Pipeline`].
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// With antialiasing, to exactly this size.
    Resize {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// As [`Transform::Resize`], the shorter side to this length and the longer one in proportion.
    ResizeShorter {
        /// Pixels.
        size: usize,
    },
    /// The middle of the picture; where it is smaller, with black around it.
    CenterCrop {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Black on all four sides, then a random window of the original size.
    PadCrop {
        /// Pixels on each side.
        padding: usize,
    },
    /// A random part of the picture, resized.
    RandomResizedCrop(RandomResizedCrop),
    /// Left and right exchanged.
    HorizontalFlip {
        /// How often.
        probability: f32,
    },
    /// A random rectangle overwritten.
    Erase(Erase),
    /// Channels in the opposite order: red, green, blue as blue, green, red.
    ReverseChannels,
}

impl Transform {
    /// What it is called in messages.
    fn name(&self) -> &'static str {
        match self {
            Transform::Resize { .. } | Transform::ResizeShorter { .. } => "a resize",
            Transform::CenterCrop { .. } => "a centre crop",
            Transform::PadCrop { .. } => "a padded crop",
            Transform::RandomResizedCrop(_) => "a random resized crop",
            Transform::HorizontalFlip { .. } => "a flip",
            Transform::Erase(_) => "random erasing",
            Transform::ReverseChannels => "reversed channels",
        }
    }

    /// Whether the result depends on more than the picture.
    pub fn is_random(&self) -> bool {
        match self {
            Transform::Resize { .. }
            | Transform::ResizeShorter { .. }
            | Transform::CenterCrop { .. }
            | Transform::ReverseChannels => false,
            Transform::PadCrop { .. }
            | Transform::RandomResizedCrop(_)
            | Transform::HorizontalFlip { .. }
            | Transform::Erase(_) => true,
        }
    }

    /// Height and width of the result, where they are the same for all pictures. `input`: the same of the pictures.
    pub fn output(&self, input: Option<(usize, usize)>) -> Option<(usize, usize)> {
        match *self {
            Transform::Resize { height, width } | Transform::CenterCrop { height, width } => {
                Some((height, width))
            }
            Transform::RandomResizedCrop(RandomResizedCrop { height, width, .. }) => Some((height, width)),
            Transform::ResizeShorter { size } => input.map(|extent| shorter_side(extent, size)),
            Transform::PadCrop { .. }
            | Transform::HorizontalFlip { .. }
            | Transform::Erase(_)
            | Transform::ReverseChannels => input,
        }
    }

    /// The size a picture of this size is resized to, for those that do nothing but resize.
    fn resizes(&self, input: (usize, usize)) -> Option<(usize, usize)> {
        match *self {
            Transform::Resize { height, width } => Some((height, width)),
            Transform::ResizeShorter { size } => Some(shorter_side(input, size)),
            _ => None,
        }
    }

    fn apply(
        &self,
        picture: &mut Picture,
        filter: Interpolation,
        scratch: &mut Scratch,
        stream: &mut Stream,
    ) -> Result<()> {
        match self {
            Transform::Resize { .. } | Transform::ResizeShorter { .. } => {
                let size = self.resizes((picture.height, picture.width)).unwrap_or_default();
                return scratch.resize.run(picture, size, filter);
            }
            Transform::CenterCrop { height, width } => {
                crop::center(picture, &mut scratch.picture, *height, *width);
            }
            Transform::PadCrop { padding } => {
                let offset = crop::draw_offset(*padding, stream);
                crop::pad_crop(picture, &mut scratch.picture, *padding, offset);
            }
            Transform::RandomResizedCrop(op) => {
                let window = op.draw(picture, stream);
                crop::window(picture, &mut scratch.picture, window);
                return scratch.resize.run(picture, (op.height, op.width), filter);
            }
            Transform::HorizontalFlip { probability } => {
                if stream.chance(*probability) {
                    flip::horizontal(picture);
                }
            }
            Transform::Erase(op) => op.apply(picture, stream),
            Transform::ReverseChannels => {
                picture.pixels.chunks_exact_mut(picture.channels).for_each(<[u8]>::reverse);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let positive = |what: &str, height: usize, width: usize| {
            let fits = (1..=MAX_SIDE).contains(&height) && (1..=MAX_SIDE).contains(&width);
            let why = || format!("{height}×{width} pixels; 1 to {MAX_SIDE} wanted for each side");
            if fits { Ok(()) } else { Err(Error::invalid(what, why())) }
        };
        match self {
            Transform::Resize { height, width } => positive("resize", *height, *width),
            Transform::ResizeShorter { size } => positive("resize", *size, *size),
            Transform::CenterCrop { height, width } => positive("centre crop", *height, *width),
            Transform::PadCrop { padding } if *padding > MAX_SIDE => {
                Err(Error::invalid("padding", format!("{padding} pixels; at most {MAX_SIDE} wanted")))
            }
            Transform::PadCrop { .. } | Transform::ReverseChannels => Ok(()),
            Transform::RandomResizedCrop(op) => {
                positive("random resized crop", op.height, op.width)?;
                op.check()
            }
            Transform::HorizontalFlip { probability } => check_probability("horizontal flip", *probability),
            Transform::Erase(op) => op.check(),
        }
    }
}

/// Longest side a transform may produce: beyond it a typing error would ask for all memory.
const MAX_SIDE: usize = 1 << 14;

fn check_probability(what: &str, p: f32) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        Ok(())
    } else {
        Err(Error::invalid(what, format!("a probability of {p}; 0 to 1 wanted")))
    }
}

fn check_range(what: &str, (low, high): (f64, f64), max: f64) -> Result<()> {
    if 0.0 < low && low <= high && high <= max {
        Ok(())
    } else {
        Err(Error::invalid(what, format!("{low} to {high}; 0 < low ≤ high ≤ {max} wanted")))
    }
}

/// Memory and tables that one worker reuses from picture to picture.
#[derive(Debug, Default)]
pub struct Scratch {
    picture: Picture,
    resize: resize::Resizer,
}
