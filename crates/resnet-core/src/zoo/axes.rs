//! The axes along which ResNets differ.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where normalisation and activation stand, and where the stride.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Variant {
    /// Post-activation; a bottleneck's stride is on its first 1×1. He et al. 2015, *Deep Residual Learning*.
    #[serde(rename = "v1")]
    V1,
    /// Post-activation; a bottleneck's stride is on its 3×3. What torchvision calls ResNet.
    #[default]
    #[serde(rename = "v1.5")]
    V1_5,
    /// Full pre-activation: BN and ReLU before every convolution. He et al. 2016, *Identity Mappings*, figure 1b.
    /// The stride of a bottleneck is on its 3×3, or on the first 1×1 if the spec says [`Conventions::v2_stride_first`].
    #[serde(rename = "v2")]
    V2,
    /// v1.5 without shortcuts, for the study of degradation. He et al. 2015, section 4.1.
    #[serde(rename = "plain")]
    Plain,
}

impl Variant {
    /// All of them.
    pub const ALL: [Variant; 4] = [Variant::V1, Variant::V1_5, Variant::V2, Variant::Plain];
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Variant::V1 => "v1",
            Variant::V1_5 => "v1.5",
            Variant::V2 => "v2",
            Variant::Plain => "plain",
        })
    }
}

impl FromStr for Variant {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Variant::ALL
            .into_iter()
            .find(|v| v.to_string() == s)
            .ok_or_else(|| Error::invalid("variant", format!("`{s}` is none of v1, v1.5, v2, plain")))
    }
}

/// What a residual block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 (grouped in ResNeXt), 1×1.
    Bottleneck,
}

/// Channels inside and after the blocks of one stage.
///
/// Basic: 64 and 64. Bottleneck: 64 and 256. Wide: 128 and 256. ResNeXt 32×4d: 128 and 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Width {
    /// Channels between the convolutions of a block.
    pub middle: usize,
    /// Channels of a block's output.
    pub out: usize,
}

/// The layers before the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// 7×7 with stride 2, then a 3×3 max-pool with stride 2. He et al. 2015, table 1.
    Imagenet,
    /// Three 3×3 (the first with stride 2, the first two half as wide), then the max-pool.
    /// He et al. 2018, *Bag of Tricks*, ResNet-C.
    Deep,
    /// As [`Stem::Deep`], the first 3×3 three eighths as wide: the `t` networks of timm.
    Tiered,
    /// One 3×3 with stride 1, no pool: CIFAR networks, and ImageNet widths on small pictures.
    Small,
}

/// How the input of a block reaches its output where the shape changes. Where it does not change it is the input itself.
///
/// In v2 every kind but the plain input reads the pre-activation that it shares with the branch (He et al. 2016, appendix).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortcut {
    /// 1×1 convolution and, unless the net is v2, a normalisation (option B).
    Projection,
    /// 1×1 convolution alone.
    BareProjection,
    /// Every second pixel, and half of the new zero channels on either side (option A). No parameters.
    ZeroPad,
    /// 2×2 average pool where there is a stride, then as [`Shortcut::Projection`]. *Bag of Tricks*, ResNet-D.
    Pooled,
}

/// How windows are padded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaddingStyle {
    /// Half a window on every side.
    #[default]
    Symmetric,
    /// As TensorFlow's "same": an odd sum goes below and to the right.
    Same,
}

/// Which library's way of starting weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitScheme {
    /// Kernels: Kaiming normal, fan-out. Biases and the last layer: PyTorch's default.
    #[default]
    Torchvision,
    /// PyTorch's default: everything uniform within `1/√fan_in`.
    Pytorch,
    /// Glorot uniform, biases zero.
    Keras,
    /// Kernels: Kaiming normal, fan-in. Last layer: Glorot uniform. Biases zero.
    Paddle,
}

/// What libraries do differently with the same picture of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conventions {
    /// Whether convolutions have a bias.
    pub conv_bias: bool,
    /// Whether that holds for a convolution that a normalisation follows at once, which makes its bias superfluous.
    /// In the v2 networks of Keras Applications only the others have one.
    pub bias_before_norm: bool,
    /// Added to the variance in every normalisation.
    pub norm_eps: f32,
    /// Weight of the new batch in the running statistics (Keras and Paddle write 1 minus it).
    pub norm_momentum: f32,
    /// Whether the running variance takes the unbiased estimate, as in PyTorch.
    pub unbiased_running_var: bool,
    /// How windows are padded.
    pub padding: PaddingStyle,
    /// Whether the stem's max-pool sees zeros outside the image, as in Keras Applications, rather than nothing.
    /// Changes the result in v2 only, where the pool reads values of either sign.
    pub stem_pool_zeros: bool,
    /// Whether the stride of a v2 stage is in its last block, in every stage but the last, rather than in the first block of
    /// every stage but the first: Keras Applications. The input of such a block passes as every second pixel of itself.
    pub v2_stride_last_block: bool,
    /// Whether a v2 bottleneck has its stride on the first 1×1 (He et al. 2016) rather than on the 3×3 (timm).
    pub v2_stride_first: bool,
    /// Whether residual branches start at zero, by γ of the last normalisation, or in v2 by the last kernel.
    /// Goyal et al. 2017, *Accurate, Large Minibatch SGD*, section 5.1.
    pub zero_init_residual: bool,
    /// How weights start.
    pub init: InitScheme,
    /// Whether a count of parameters includes the running statistics, as Keras and Paddle print it.
    pub count_statistics: bool,
}

impl Default for Conventions {
    /// torchvision's.
    fn default() -> Self {
        Self {
            conv_bias: false,
            bias_before_norm: true,
            norm_eps: 1e-5,
            norm_momentum: 0.1,
            unbiased_running_var: true,
            padding: PaddingStyle::Symmetric,
            stem_pool_zeros: false,
            v2_stride_last_block: false,
            v2_stride_first: false,
            zero_init_residual: false,
            init: InitScheme::Torchvision,
            count_statistics: false,
        }
    }
}
