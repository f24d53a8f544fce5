//! How pictures become the numbers a network was trained on. It travels with the weights, because no shape shows it.

use serde::{Deserialize, Serialize};

/// The key of safetensors metadata under which [`Preprocessing`] is stored as JSON.
pub const METADATA_KEY: &str = "preprocessing";

/// From a decoded picture to a network's input: resize, crop, order channels, then `(pixel · scale − mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// How the picture is brought near the size.
    pub resize: Resize,
    /// Rows and columns cut from the centre.
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
#[allow(missing_docs)]
pub enum Interpolation {
    Bilinear,
    Bicubic,
}

/// Order of the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum ChannelOrder {
    Rgb,
    Bgr,
}

/// The ways that libraries have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Mean and standard deviation of ImageNet: torchvision.
    Imagenet,
    /// The same, resized by cubic interpolation: Hugging Face.
    ImagenetBicubic,
    /// −1 to 1: Keras's "tf" mode, timm's pre-activation networks.
    Symmetric,
    /// BGR, 0 to 255, mean subtracted: Keras's "caffe" mode.
    Caffe,
    /// 0 to 1, resized to the size: the tutorials.
    Unit,
}

impl Profile {
    /// For pictures of a size and a number of channels. Grey pictures get the mean of the colours' numbers, further channels
    /// repeat them.
    pub(crate) fn at(self, height: usize, width: usize, channels: usize) -> Preprocessing {
        const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let (interpolation, channel_order, scale, (mean, std)) = match self {
            Profile::Imagenet => (Interpolation::Bilinear, ChannelOrder::Rgb, 1.0 / 255.0, IMAGENET),
            Profile::ImagenetBicubic => (Interpolation::Bicubic, ChannelOrder::Rgb, 1.0 / 255.0, IMAGENET),
            Profile::Symmetric => {
                (Interpolation::Bilinear, ChannelOrder::Rgb, 1.0 / 255.0, ([0.5; 3], [0.5; 3]))
            }
            Profile::Caffe => {
                (Interpolation::Bilinear, ChannelOrder::Bgr, 1.0, ([103.939, 116.779, 123.68], [1.0; 3]))
            }
            Profile::Unit => (Interpolation::Bilinear, ChannelOrder::Rgb, 1.0 / 255.0, ([0.0; 3], [1.0; 3])),
        };
        let resize = match self {
            Profile::Unit => Resize::Exact(height, width),
            // 256 for 224, as all of them evaluate on ImageNet.
            _ => Resize::ShortSide(height.max(width) * 8 / 7),
        };
        let per_channel = |values: [f32; 3]| match channels {
            1 => vec![values.iter().sum::<f32>() / 3.0],
            _ => values.into_iter().cycle().take(channels).collect(),
        };
        Preprocessing {
            resize,
            crop: (height, width),
            interpolation,
            channel_order,
            scale,
            mean: per_channel(mean),
            std: per_channel(std),
        }
    }
}
