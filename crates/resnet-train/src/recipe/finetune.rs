//! Learning on from trained weights: which, and how much of them may change.

use std::path::PathBuf;

use resnet_core::zoo::ResNetSpec;
use resnet_core::{Freeze, FrozenNorms, Graph, Preprocessing};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Table `[finetune]`: training starts from weights, and layers near the picture may learn more slowly or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Finetune {
    /// The file to start from.
    pub weights: Option<PathBuf>,
    /// The library that wrote it; `auto` recognises it.
    pub from: String,
    /// What becomes of the file's classifier.
    pub head: Head,
    /// The first layer, or part such as `layer4`, that is trained. What stands before it stays as it is.
    pub freeze_until: Option<String>,
    /// Which normalisations normalise by their running statistics, and stay as they are.
    pub freeze_norm: FreezeNorm,
    /// Factor on the learning rate from one stage to the one before it, towards the picture.
    pub lr_decay: f64,
    /// Factor on the learning rate of the classifier.
    pub head_lr: f64,
    /// What was found in the file. The program writes this when the run starts, so that it goes on without the file.
    pub start: Option<Start>,
}

/// What becomes of the file's classifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// It is kept if it has as many classes as the data, and they are not known to be others.
    #[default]
    Auto,
    /// It starts fresh.
    Fresh,
    /// It is kept if it has as many classes as the data, whatever they are called.
    Keep,
}

/// Which normalisations are frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreezeNorm {
    /// Those of frozen layers.
    #[default]
    FrozenLayers,
    /// None: running statistics follow the new pictures everywhere.
    None,
    /// All, as is usual with very small batches.
    All,
}

/// A network as it was found in a weights file and made to fit the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The network, with the channels and classes of the data.
    pub network: ResNetSpec,
    /// How pictures become its input.
    pub preprocessing: Preprocessing,
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            weights: None,
            from: "auto".into(),
            head: Head::Auto,
            freeze_until: None,
            freeze_norm: FreezeNorm::FrozenLayers,
            lr_decay: 1.0,
            head_lr: 1.0,
            start: None,
        }
    }
}

impl Finetune {
    /// What training leaves as it is.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) listing the parts of the network, if none has the name of `freeze_until`.
    pub fn freeze(&self, graph: &Graph) -> Result<Freeze> {
        let norms = match self.freeze_norm {
            FreezeNorm::FrozenLayers => FrozenNorms::OfFrozenLayers,
            FreezeNorm::None => FrozenNorms::None,
            FreezeNorm::All => FrozenNorms::All,
        };
        match &self.freeze_until {
            Some(name) => Ok(Freeze::until(graph, name, norms)?),
            None => Ok(Freeze { layers: 0, norms }),
        }
    }

    /// Factor on the learning rate of a parameter in a network of so many stages.
    ///
    /// The classifier has `head_lr`. The last stage, and the normalisation after it, have 1; every stage before has
    /// `lr_decay` times that of the next, and the stem comes before the first.
    pub fn lr_scale(&self, parameter: &str, n_stages: usize) -> f64 {
        let part = parameter.split('.').next().unwrap_or_default();
        let stages_after = match (part, part.strip_prefix("layer").map(str::parse::<usize>)) {
            ("fc", _) => return self.head_lr,
            ("norm", _) => 0,
            (_, Some(Ok(stage))) => n_stages.saturating_sub(stage),
            _ => n_stages,
        };
        self.lr_decay.powi(i32::try_from(stages_after).unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_fall_from_the_head_to_the_stem() {
        let f = Finetune { lr_decay: 0.5, head_lr: 10.0, ..Finetune::default() };
        let names = [
            "fc.weight",
            "norm.weight",
            "layer4.0.conv1.weight",
            "layer3.1.bn2.bias",
            "layer1.0.conv1.weight",
        ];
        assert_eq!(names.map(|name| f.lr_scale(name, 4)), [10.0, 1.0, 1.0, 0.5, 0.125]);
        for stem in ["conv1.weight", "conv1.3.weight", "bn1.bias"] {
            assert_eq!(f.lr_scale(stem, 4), 0.0625, "{stem}");
        }
    }
}
