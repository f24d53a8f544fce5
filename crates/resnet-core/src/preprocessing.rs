//! How pictures become the numbers a network was trained on. It travels with the weights, because no shape shows it.
//!
//! ```
//! use resnet_core::preprocessing::{Preprocessing, Resize};
//! let p = Preprocessing::exact(28, 28, vec![0.286], vec![0.353]);
//! assert_eq!(p.resize, Resize::Exact(28, 28));
//! assert_eq!(p.for_channels(3).mean, [0.286; 3]);
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::weights::Metadata;
use crate::{Error, Result};

/// The key of safetensors metadata under which [`Preprocessing`] is stored as JSON.
pub const METADATA_KEY: &str = "preprocessing";

/// From a decoded picture to a network's input: resize, crop the centre, order channels, then `(pixel · scale − mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// How the picture is brought near the size.
    pub resize: Resize,
    /// Rows and columns cut from the centre. They are the network's input.
    pub crop: (usize, usize),
    /// How new pixels are computed when resizing.
    pub interpolation: Interpolation,
    /// Order of the colours.
    pub channel_order: ChannelOrder,
    /// What a byte is multiplied by: 1/255, or 1.
    pub scale: f32,
    /// Subtracted, per channel of the network's input, in the order of its channels.
    pub mean: Vec<f32>,
    /// Divided by, in the same order.
    pub std: Vec<f32>,
}

/// What resizing aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// The shorter side has this many pixels; the ratio of the sides stays.
    ShortSide(usize),
    /// Exactly these rows and columns, whatever the ratio was.
    Exact(usize, usize),
}

/// How new pixels are computed. Always with a filter as wide as the step when shrinking (antialiasing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Triangle filter.
    Bilinear,
    /// Keys's cubic filter with a = −0.5, as Pillow has it.
    Bicubic,
}

/// Order of the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

impl Preprocessing {
    /// Resized to `height × width`, scaled to 0…1, and normalised with these numbers per channel.
    pub fn exact(height: usize, width: usize, mean: Vec<f32>, std: Vec<f32>) -> Self {
        Self {
            resize: Resize::Exact(height, width),
            crop: (height, width),
            interpolation: Interpolation::Bilinear,
            channel_order: ChannelOrder::Rgb,
            scale: 1.0 / 255.0,
            mean,
            std,
        }
    }

    /// For a network that reads another size: the part of the picture that the crop leaves stays as large as it was.
    pub fn for_size(&self, height: usize, width: usize) -> Self {
        let resize = match self.resize {
            Resize::Exact(h, w) => {
                Resize::Exact(rescale(h, self.crop.0, height), rescale(w, self.crop.1, width))
            }
            Resize::ShortSide(side) => {
                Resize::ShortSide(rescale(side, self.crop.0.max(self.crop.1), height.max(width)))
            }
        };
        Self { resize, crop: (height, width), ..self.clone() }
    }

    /// For a network that reads another number of channels: grey gets the mean of the colours' numbers, further channels
    /// repeat them.
    pub fn for_channels(&self, channels: usize) -> Self {
        let convert = |old: &[f32]| match channels {
            n if n == old.len() => old.to_vec(),
            1 => vec![old.iter().sum::<f32>() / old.len().max(1) as f32],
            n => old.iter().copied().cycle().take(n).collect(),
        };
        Self { mean: convert(&self.mean), std: convert(&self.std), ..self.clone() }
    }

    /// Scale and shift from bytes to input: all scales, then all shifts.
    pub fn pixel_affine(&self) -> Vec<f32> {
        let scales = self.std.iter().map(|s| (f64::from(self.scale) / f64::from(*s)) as f32);
        let shifts = self.mean.iter().zip(&self.std).map(|(m, s)| (-f64::from(*m) / f64::from(*s)) as f32);
        scales.chain(shifts).collect()
    }

    /// Whether a network that reads `channels × height × width` can be given what this makes.
    ///
    /// # Errors
    /// [`Error::Weights`] saying what does not fit: numbers per channel, their range, sizes.
    pub fn check(&self, channels: usize, height: usize, width: usize) -> Result<()> {
        let wrong = |why: String| Err(Error::Weights(format!("pre-processing: {why}")));
        let (means, deviations) = (self.mean.len(), self.std.len());
        if means != channels || deviations != channels {
            return wrong(format!("{means} means and {deviations} deviations for {channels} channels"));
        }
        let finite = self.mean.iter().chain(&self.std).chain([&self.scale]).all(|v| v.is_finite());
        if !finite || self.std.iter().any(|v| *v <= 0.0) || self.scale <= 0.0 {
            return wrong("means must be finite, deviations and scale above 0".into());
        }
        if self.crop != (height, width) {
            let (h, w) = self.crop;
            return wrong(format!("makes pictures of {h}×{w}, the network reads {height}×{width}"));
        }
        let (resized, least) = match self.resize {
            Resize::ShortSide(side) => ((side, side), (height.max(width), height.max(width))),
            Resize::Exact(h, w) => ((h, w), (height, width)),
        };
        if resized.0 < least.0 || resized.1 < least.1 {
            return wrong(format!(
                "resizes to {}×{}, from which {height}×{width} cannot be cut",
                resized.0, resized.1
            ));
        }
        Ok(())
    }

    /// What a file's metadata says, if it says it.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is an entry that is not one.
    pub fn from_metadata(metadata: &Metadata) -> Result<Option<Self>> {
        let Some(json) = metadata.get(METADATA_KEY) else { return Ok(None) };
        serde_json::from_str(json)
            .map(Some)
            .map_err(|e| Error::Weights(format!("the metadata's `{METADATA_KEY}` is not one: {e}")))
    }

    /// Puts it into a file's metadata.
    pub fn describe(&self, metadata: &mut Metadata) {
        // A struct of numbers and unit variants always serialises.
        if let Ok(json) = serde_json::to_string(self) {
            metadata.insert(METADATA_KEY.into(), json);
        }
    }
}

/// `length` as it is to `from`, for `to`.
fn rescale(length: usize, from: usize, to: usize) -> usize {
    if from == 0 { to } else { ((length as f64 * to as f64 / from as f64).round() as usize).max(to) }
}

impl fmt::Display for Preprocessing {
    /// `shorter side to 256, bilinear, centre 224×224, RGB, mean 0.485 0.456 0.406, std 0.229 0.224 0.225`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interpolation = match self.interpolation {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
        };
        let (height, width) = self.crop;
        match self.resize {
            Resize::ShortSide(side) => {
                write!(f, "shorter side to {side}, {interpolation}, centre {height}×{width}")?
            }
            Resize::Exact(h, w) if (h, w) == self.crop => write!(f, "resized to {h}×{w}, {interpolation}")?,
            Resize::Exact(h, w) => write!(f, "resized to {h}×{w}, {interpolation}, centre {height}×{width}")?,
        }
        if self.mean.len() == 3 {
            f.write_str(if self.channel_order == ChannelOrder::Rgb { ", RGB" } else { ", BGR" })?;
        }
        if self.scale == 1.0 {
            f.write_str(", 0 to 255")?;
        }
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
        write!(f, ", mean {}, std {}", list(&self.mean), list(&self.std))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imagenet() -> Preprocessing {
        Preprocessing {
            resize: Resize::ShortSide(256),
            ..Preprocessing::exact(224, 224, vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225])
        }
    }

    #[test]
    fn it_travels_as_metadata() {
        let mut metadata = Metadata::new();
        assert_eq!(Preprocessing::from_metadata(&metadata).unwrap(), None);
        imagenet().describe(&mut metadata);
        assert_eq!(Preprocessing::from_metadata(&metadata).unwrap(), Some(imagenet()));
        metadata.insert(METADATA_KEY.into(), "{\"resize\":7}".into());
        assert!(Preprocessing::from_metadata(&metadata).unwrap_err().to_string().contains(METADATA_KEY));
    }

    #[test]
    fn the_affine_map_is_the_formula() {
        let affine = imagenet().pixel_affine();
        for c in 0..3 {
            let p = imagenet();
            let wanted = (100.0 / 255.0 - f64::from(p.mean[c])) / f64::from(p.std[c]);
            let found = f64::from(affine[c]) * 100.0 + f64::from(affine[3 + c]);
            // Two roundings of the coefficients, each of half an ulp of numbers below 4.
            assert!((found - wanted).abs() < 4.0 * f64::from(f32::EPSILON), "{found} {wanted}");
        }
    }

    #[test]
    fn another_size_keeps_the_part_that_is_seen() {
        assert_eq!(imagenet().for_size(288, 288).resize, Resize::ShortSide(329));
        assert_eq!(imagenet().for_size(112, 112).resize, Resize::ShortSide(128));
        assert_eq!(imagenet().for_size(224, 112).resize, Resize::ShortSide(256));
        let exact = Preprocessing::exact(28, 28, vec![0.5], vec![0.5]).for_size(32, 40);
        assert_eq!((exact.resize, exact.crop), (Resize::Exact(32, 40), (32, 40)));
    }

    #[test]
    fn what_does_not_fit_a_network_is_named() {
        imagenet().check(3, 224, 224).unwrap();
        let of = |p: &Preprocessing| p.check(3, 224, 224).unwrap_err().to_string();
        assert!(of(&imagenet().for_channels(1)).contains("1 means"));
        assert!(of(&imagenet().for_size(200, 200)).contains("200×200"));
        assert!(of(&Preprocessing { resize: Resize::ShortSide(100), ..imagenet() }).contains("100×100"));
        assert!(of(&Preprocessing { std: vec![1.0, 0.0, 1.0], ..imagenet() }).contains("above 0"));
        assert!(of(&Preprocessing { scale: f32::NAN, ..imagenet() }).contains("above 0"));
    }

    #[test]
    fn it_says_itself_in_one_line() {
        assert_eq!(
            imagenet().to_string(),
            "shorter side to 256, bilinear, centre 224×224, RGB, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
        );
    }
}
