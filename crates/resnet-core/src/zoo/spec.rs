//! One network as a point in the space of the axes.

use serde::{Deserialize, Serialize};

use super::{Block, Conventions, Shortcut, Stem, Variant, Width};
use crate::{Error, Result};

/// Largest number of channels, classes or pixels along a side. Keeps every product of extents far from overflow.
pub const MAX_EXTENT: usize = 1 << 16;

/// Largest number of residual blocks. The deepest network of the papers, ResNet-1202, has 600.
pub const MAX_BLOCKS: usize = 1024;

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
    /// Blocks per stage. The image is halved between two stages.
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

    /// Stride of block `b` of stage `s`.
    pub(super) fn stride(&self, s: usize, b: usize) -> usize {
        let last = s + 1 < self.depths.len() && b + 1 == self.depths[s];
        let first = s > 0 && b == 0;
        let in_last = self.variant == Variant::V2 && self.conventions.v2_stride_last_block;
        let halves = if in_last { last } else { first };
        if halves { 2 } else { 1 }
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
        let narrowest = match self.stem {
            Stem::Deep => 2,
            Stem::Tiered => 3,
            Stem::Imagenet | Stem::Small => 1,
        };
        if self.stem_width < narrowest {
            return refuse(
                "stem width",
                format!(
                    "{} given, at least {narrowest} wanted: the first layers of this stem are narrower",
                    self.stem_width
                ),
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
