//! Dialects: how each library names, lays out and counts the same tensors.
//!
//! A dialect is one file with a function from a library's names to ours (torchvision's, see
//! [`ResNetSpec::build`](resnet_core::zoo::ResNetSpec::build)), and what it takes for granted: conventions and pre-processing.
//! The network itself, its depths, widths, groups, stem and shortcuts, is read off the shapes (`infer`).

mod d2l;
mod hugging_face;
mod keras;
mod keras_order;
mod paddle;
pub(crate) mod timm_v2;
mod torchvision;

use std::fmt;
use std::str::FromStr;

use resnet_core::Preprocessing;
use resnet_core::zoo::{Conventions, InitScheme, ResNetSpec, Stem, Variant};
use serde::{Deserialize, Serialize};

use crate::error::Why;
use crate::layout::Layout;
use crate::profile::{self, Profile};

/// Where weights come from, as far as the user says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Recognised from the names.
    #[default]
    Auto,
    /// torchvision, and whatever copies its names.
    Torchvision,
    /// timm: `resnet*` and `resnetv2_*`.
    Timm,
    /// Keras Applications, or a Keras or TensorFlow tutorial network.
    Keras,
    /// `paddle.vision`, or the Paddle tutorial network.
    Paddle,
    /// *Dive into Deep Learning*, in PyTorch.
    D2l,
    /// Hugging Face transformers.
    HuggingFace,
}

impl Source {
    /// All of them.
    pub const ALL: [Source; 7] = [
        Source::Auto,
        Source::Torchvision,
        Source::Timm,
        Source::Keras,
        Source::Paddle,
        Source::D2l,
        Source::HuggingFace,
    ];
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Auto => "auto",
            Source::Torchvision => "torchvision",
            Source::Timm => "timm",
            Source::Keras => "keras",
            Source::Paddle => "paddle",
            Source::D2l => "d2l",
            Source::HuggingFace => "hugging-face",
        })
    }
}

impl FromStr for Source {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let names = Source::ALL.map(|source| source.to_string());
        Source::ALL
            .into_iter()
            .find(|source| source.to_string() == s)
            .ok_or_else(|| format!("`{s}` is none of {}", names.join(", ")))
    }
}

/// A way of naming tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// torchvision's names, also those of timm's `resnet*` and of this project.
    Torchvision,
    /// timm's `resnetv2_*`.
    TimmV2,
    /// Keras Applications: ResNet50, 101 and 152.
    KerasV1,
    /// Keras Applications: the V2 networks.
    KerasV2,
    /// Keras before 2.2: `res2a_branch2a`.
    KerasLegacy,
    /// A Keras or TensorFlow tutorial network, by the order of its weights.
    KerasOrder,
    /// Hugging Face transformers.
    HuggingFace,
    /// *Dive into Deep Learning*, in PyTorch.
    D2l,
    /// `paddle.vision.models`.
    PaddleVision,
    /// The Paddle tutorial network.
    PaddleTutorial,
}

/// The order in which dialects are tried: those with the most telling names first.
const ORDER: [Dialect; 10] = [
    Dialect::PaddleVision,
    Dialect::PaddleTutorial,
    Dialect::TimmV2,
    Dialect::HuggingFace,
    Dialect::KerasV2,
    Dialect::KerasV1,
    Dialect::KerasLegacy,
    Dialect::Torchvision,
    Dialect::D2l,
    Dialect::KerasOrder,
];

/// A tensor of the file, under the name that is left when wrappers are gone.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// Position in the archive.
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

/// Our name for a tensor, and how its layout becomes ours.
pub(crate) type Renamed = (String, Layout);

impl Dialect {
    /// The dialect of these tensors, if there is one among those of the source. Only where tensors are numbered is their order
    /// that of creation, which [`Dialect::KerasOrder`] needs.
    pub(crate) fn recognise(tensors: &[Tensor], source: Source, numbered: bool) -> Option<Dialect> {
        ORDER
            .into_iter()
            .filter(|d| source == Source::Auto || d.sources().contains(&source))
            .find(|d| (numbered || *d != Dialect::KerasOrder) && d.matches(tensors))
    }

    fn sources(self) -> &'static [Source] {
        match self {
            Dialect::Torchvision => &[Source::Torchvision, Source::Timm],
            Dialect::TimmV2 => &[Source::Timm],
            Dialect::KerasV1 | Dialect::KerasV2 | Dialect::KerasLegacy | Dialect::KerasOrder => {
                &[Source::Keras]
            }
            Dialect::HuggingFace => &[Source::HuggingFace],
            Dialect::D2l => &[Source::D2l],
            Dialect::PaddleVision | Dialect::PaddleTutorial => &[Source::Paddle],
        }
    }

    fn matches(self, tensors: &[Tensor]) -> bool {
        let has = |name: &str| tensors.iter().any(|t| t.name == name);
        match self {
            Dialect::Torchvision => torchvision::matches(has),
            Dialect::TimmV2 => timm_v2::matches(has),
            Dialect::KerasV1 => keras::matches_v1(tensors),
            Dialect::KerasV2 => keras::matches_v2(tensors),
            Dialect::KerasLegacy => keras::matches_legacy(tensors),
            Dialect::KerasOrder => keras_order::matches(tensors),
            Dialect::HuggingFace => hugging_face::matches(has),
            Dialect::D2l => d2l::matches(tensors),
            Dialect::PaddleVision => paddle::matches_vision(has),
            Dialect::PaddleTutorial => paddle::matches_tutorial(has),
        }
    }

    /// Our names, in the order of the tensors; `None` for a tensor that no ResNet has.
    pub(crate) fn rename(self, tensors: &[Tensor]) -> Why<Vec<Option<Renamed>>> {
        let each = |rename: fn(&Tensor) -> Option<Renamed>| Ok(tensors.iter().map(rename).collect());
        match self {
            Dialect::Torchvision => each(torchvision::rename),
            Dialect::TimmV2 => {
                let pooled = timm_v2::has_pooled_shortcuts(tensors);
                Ok(tensors.iter().map(|t| timm_v2::rename(t, pooled)).collect())
            }
            Dialect::KerasV1 => each(keras::rename_v1),
            Dialect::KerasV2 => each(keras::rename_v2),
            Dialect::KerasLegacy => each(keras::rename_legacy),
            Dialect::KerasOrder => keras_order::rename(tensors),
            Dialect::HuggingFace => each(hugging_face::rename),
            Dialect::D2l => d2l::rename(tensors),
            Dialect::PaddleVision => each(paddle::rename_vision),
            Dialect::PaddleTutorial => paddle::rename_tutorial(tensors),
        }
    }

    /// The variant of its networks. Where names do not tell, as between v1 and v1.5, what the library itself builds.
    pub(crate) fn variant(self) -> Variant {
        match self {
            Dialect::KerasV1 | Dialect::KerasLegacy => Variant::V1,
            Dialect::KerasV2 | Dialect::TimmV2 => Variant::V2,
            _ => Variant::V1_5,
        }
    }

    /// What it does differently, as far as shapes do not show it.
    pub(crate) fn conventions(self) -> Conventions {
        let keras = Conventions {
            norm_eps: 1.001e-5,
            norm_momentum: 0.01,
            unbiased_running_var: false,
            init: InitScheme::Keras,
            count_statistics: true,
            ..Conventions::default()
        };
        match self {
            Dialect::KerasV1 => keras,
            Dialect::KerasV2 => Conventions { stem_pool_zeros: true, v2_stride_last_block: true, ..keras },
            Dialect::KerasLegacy => Conventions { norm_eps: 1e-3, ..keras },
            Dialect::KerasOrder => {
                let padding = resnet_core::zoo::PaddingStyle::Same;
                Conventions { norm_eps: 1e-3, padding, ..keras }
            }
            Dialect::PaddleVision | Dialect::PaddleTutorial => Conventions {
                unbiased_running_var: false,
                init: InitScheme::Paddle,
                count_statistics: true,
                ..Conventions::default()
            },
            Dialect::D2l => Conventions { init: InitScheme::Pytorch, ..Conventions::default() },
            Dialect::Torchvision | Dialect::TimmV2 | Dialect::HuggingFace => Conventions::default(),
        }
    }

    /// Whether its networks of 1000 classes are ImageNet's.
    pub(crate) fn knows_imagenet(self) -> bool {
        !matches!(self, Dialect::D2l | Dialect::KerasOrder | Dialect::PaddleTutorial)
    }

    /// How its networks want their pictures. Of networks with torchvision's names, timm's are those with a deep stem, and
    /// those that are said to be.
    pub(crate) fn preprocessing(self, spec: &ResNetSpec, source: Source) -> Preprocessing {
        let profile = match self {
            Dialect::TimmV2 => return profile::timm(spec),
            Dialect::Torchvision
                if source == Source::Timm || matches!(spec.stem, Stem::Deep | Stem::Tiered) =>
            {
                return profile::timm(spec);
            }
            Dialect::Torchvision | Dialect::PaddleVision => Profile::Imagenet,
            Dialect::HuggingFace => Profile::ImagenetBicubic,
            Dialect::KerasV2 => Profile::Symmetric,
            Dialect::KerasV1 | Dialect::KerasLegacy => Profile::Caffe,
            Dialect::D2l | Dialect::KerasOrder | Dialect::PaddleTutorial => Profile::Unit,
        };
        profile.at(spec.height, spec.width, spec.channels)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Torchvision => "torchvision (or timm resnet)",
            Dialect::TimmV2 => "timm resnetv2",
            Dialect::KerasV1 => "Keras Applications",
            Dialect::KerasV2 => "Keras Applications V2",
            Dialect::KerasLegacy => "Keras before 2.2",
            Dialect::KerasOrder => "Keras, by the order of its weights",
            Dialect::HuggingFace => "Hugging Face transformers",
            Dialect::D2l => "Dive into Deep Learning",
            Dialect::PaddleVision => "paddle.vision",
            Dialect::PaddleTutorial => "Paddle tutorial",
        })
    }
}

/// A renamed tensor whose layout is ours.
fn same(name: String) -> Option<Renamed> {
    Some((name, Layout::Same))
}
