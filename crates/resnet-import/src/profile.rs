//! The ways in which the libraries bring pictures to their networks.

use resnet_core::preprocessing::{ChannelOrder, Interpolation, Preprocessing, Resize};

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
    /// For pictures of a size and a number of channels.
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
        let (mean, std) = (mean.to_vec(), std.to_vec());
        Preprocessing { resize, crop: (height, width), interpolation, channel_order, scale, mean, std }
            .for_channels(channels)
    }
}
