//! The axes along which ResNets differ.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Largest number of channels, classes or pixels along a side. Keeps every product of extents far from overflow.
pub const MAX_EXTENT: usize = 1 << 16;

/// Largest number of residual blocks. The deepest network of the papers, ResNet-1202, has 600.
pub const MAX_BLOCKS: usize = 4096;

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
    /// Whether convolutions have a bias although a normalisation follows.
    pub conv_bias: bool,
    /// Added to the variance in every normalisation.
    pub norm_eps: f32,
    /// Weight of the new batch in the running statistics (Keras and Paddle write 1 minus it).
    pub norm_momentum: f32,
    /// Whether the running variance takes the unbiased estimate, as in PyTorch.
    pub unbiased_running_var: bool,
    /// How windows are padded.
    pub padding: PaddingStyle,
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
            norm_eps: 1e-5,
            norm_momentum: 0.1,
            unbiased_running_var: true,
            padding: PaddingStyle::Symmetric,
            v2_stride_first: false,
            zero_init_residual: false,
            init: InitScheme::Torchvision,
            count_statistics: false,
        }
    }
}

/// One ResNet, as plain data. [`arch`](crate::zoo::arch) makes the known ones; every field may be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetSpec {
    /// The name it was made from.
    pub arch: String,
    /// Where normalisation, activation and stride stand.
    pub variant: Variant,
    /// What a block is made of.
    pub block: Block,
    /// Blocks per stage. Each stage but the first halves the image.
    pub depths: Vec<usize>,
    /// Channels per stage.
    pub widths: Vec<Width>,
    /// Groups of the 3×3 in a bottleneck.
    pub groups: usize,
    /// The layers before the first block.
    pub stem: Stem,
    /// Channels after the stem.
    pub stem_width: usize,
    /// What happens to the input of a block where the shape changes.
    pub shortcut: Shortcut,
    /// What libraries do differently.
    #[serde(default)]
    pub conventions: Conventions,
    /// Channels of the picture.
    pub channels: usize,
    /// Rows of the picture.
    pub height: usize,
    /// Columns of the picture.
    pub width: usize,
    /// Number of classes.
    pub classes: usize,
}

impl ResNetSpec {
    /// With another number of classes.
    pub fn classes(mut self, classes: usize) -> Self {
        self.classes = classes;
        self
    }

    /// With another number of picture channels.
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = channels;
        self
    }

    /// With another size of the picture.
    pub fn size(mut self, height: usize, width: usize) -> Self {
        (self.height, self.width) = (height, width);
        self
    }

    /// As another variant of the same network.
    pub fn variant(mut self, variant: Variant) -> Self {
        self.variant = variant;
        self
    }

    /// With residual branches that start at zero.
    pub fn zero_init_residual(mut self, on: bool) -> Self {
        self.conventions.zero_init_residual = on;
        self
    }

    /// Number of layers with weights on the longest path, which names the network: 18, 50, 110.
    pub fn depth(&self) -> usize {
        let per_block = match self.block {
            Block::Basic => 2,
            Block::Bottleneck => 3,
        };
        2 + per_block * self.depths.iter().sum::<usize>()
    }

    /// Whether the stride of a bottleneck is on its first 1×1.
    pub(super) fn strides_first(&self) -> bool {
        match self.variant {
            Variant::V1 => true,
            Variant::V1_5 | Variant::Plain => false,
            Variant::V2 => self.conventions.v2_stride_first,
        }
    }

    /// Checks everything that no single layer can check.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |what: &str, why: String| Err(Error::invalid(format!("{}: {what}", self.arch), why));
        if self.classes < 2 {
            return refuse("classes", format!("{} given, a classifier needs at least 2", self.classes));
        }
        if self.depths.is_empty() || self.depths.len() != self.widths.len() {
            let (d, w) = (self.depths.len(), self.widths.len());
            return refuse(
                "stages",
                format!("{d} depths and {w} widths given, one of each per stage wanted"),
            );
        }
        let n_blocks = self.depths.iter().fold(0usize, |sum, d| sum.saturating_add(*d));
        if self.depths.contains(&0) || n_blocks > MAX_BLOCKS {
            return refuse(
                "depths",
                format!(
                    "{:?} given, at least 1 block per stage and at most {MAX_BLOCKS} in all wanted",
                    self.depths
                ),
            );
        }
        let mut extents = vec![
            ("channels", self.channels),
            ("height", self.height),
            ("width", self.width),
            ("classes", self.classes),
            ("stem width", self.stem_width),
            ("groups", self.groups),
        ];
        extents
            .extend(self.widths.iter().flat_map(|w| [("middle width", w.middle), ("output width", w.out)]));
        if let Some((what, n)) = extents.into_iter().find(|(_, n)| !(1..=MAX_EXTENT).contains(n)) {
            return refuse(what, format!("{n} given, 1 to {MAX_EXTENT} wanted"));
        }
        if self.block == Block::Basic && self.groups != 1 {
            return refuse("groups", format!("{} given, a basic block has 1", self.groups));
        }
        if self.stem == Stem::Deep && self.stem_width < 2 {
            return refuse(
                "stem width",
                "1 given, a deep stem needs at least 2: its first layers are half as wide".into(),
            );
        }
        let c = &self.conventions;
        let (eps_valid, momentum_valid) =
            (c.norm_eps > 0.0 && c.norm_eps.is_finite(), (0.0..=1.0).contains(&c.norm_momentum));
        if !eps_valid || !momentum_valid {
            let why = format!(
                "epsilon {} must be positive, momentum {} within 0 and 1",
                c.norm_eps, c.norm_momentum
            );
            return refuse("normalisation", why);
        }
        if c.zero_init_residual && self.variant == Variant::Plain {
            return refuse(
                "zero_init_residual",
                "a plain network has no residual branch that could start at zero".into(),
            );
        }
        Ok(())
    }
}
