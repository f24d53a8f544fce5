//! The ways in which the libraries bring pictures to their networks.

use resnet_core::preprocessing::{ChannelOrder, Interpolation, Preprocessing, Resize};
use resnet_core::zoo::{Block, ResNetSpec, Stem, Variant};

use crate::beside::{Fraction, Pictures};

/// Mean and standard deviation of ImageNet's colours, as all libraries round them.
pub(crate) const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
pub(crate) const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

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
        const IMAGENET: ([f32; 3], [f32; 3]) = (IMAGENET_MEAN, IMAGENET_STD);
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

/// How timm's own weights of a network want their pictures: cubic interpolation, and a share that depends on the network.
///
/// Source: `default_cfgs` of timm 1.0, the first entry of each network. Another training may want another share; then a
/// `config.json` beside the file says so.
pub(crate) fn timm(spec: &ResNetSpec) -> Preprocessing {
    let deep = matches!(spec.stem, Stem::Deep | Stem::Tiered);
    let depth = spec.depth();
    let wide = spec.widths.first().is_some_and(|w| w.middle == 128) && spec.groups == 1;
    let (v2, basic) = (spec.variant == Variant::V2, spec.block == Block::Basic);
    let share = match (v2, deep) {
        (true, false) if basic => 0.9,
        (true, false) if depth <= 101 => 0.95,
        (false, true) if depth > 100 => 0.95,
        (false, false) if !wide && depth != 26 => 0.95,
        _ => 0.875,
    };
    let (mean, std) = if v2 { ([0.5; 3], [0.5; 3]) } else { (IMAGENET_MEAN, IMAGENET_STD) };
    Pictures {
        size: None,
        resize: Fraction::Of(share),
        interpolation: Interpolation::Bicubic,
        mean: mean.to_vec(),
        std: std.to_vec(),
    }
    .at(spec.height, spec.width, spec.channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use resnet_core::zoo;

    /// Read off `timm.get_pretrained_cfg(name).crop_pct` of timm 1.0.31.
    #[test]
    fn crops_are_those_of_timm_s_own_weights() {
        for (ours, timm_s, share) in [
            ("resnet18", "resnet18", 0.95),
            ("resnet50", "resnet50", 0.95),
            ("resnext50_32x4d", "resnext50_32x4d", 0.95),
            ("wide_resnet50_2", "wide_resnet50_2", 0.875),
            ("resnet18d", "resnet18d", 0.875),
            ("resnet50d", "resnet50d", 0.875),
            ("resnet101d", "resnet101d", 0.95),
            ("resnet18v2", "resnetv2_18", 0.9),
            ("resnet50v2", "resnetv2_50", 0.95),
            ("resnet101v2", "resnetv2_101", 0.95),
        ] {
            let spec = zoo::arch(ours).expect(ours);
            let found = timm(&spec);
            assert_eq!(found.interpolation, Interpolation::Bicubic, "{timm_s}");
            assert_eq!(found.resize, Resize::ShortSide((224.0_f64 / share).floor() as usize), "{timm_s}");
            assert_eq!(found.mean[0] == 0.5, spec.variant == Variant::V2, "{timm_s}");
        }
    }
}
