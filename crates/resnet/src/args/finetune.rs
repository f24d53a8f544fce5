//! Learning on from trained weights: the flags of `resnet train` for it.

use resnet::{Starting, starting_weights};
use resnet_train::data::Dataset;
use resnet_train::recipe::{DEFAULT, Recipe};

use super::{NetworkArgs, WeightsArgs, quoted, tell};

/// The flags of fine-tuning; each sets a field of the recipe's table `[finetune]`.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Fine-tuning")]
pub(crate) struct FinetuneArgs {
    #[command(flatten)]
    weights: WeightsArgs,

    /// First layer or stage that is trained, such as layer4 or fc; what stands before it stays as it is
    #[arg(long, value_name = "LAYER", help_heading = "Fine-tuning")]
    freeze_until: Option<String>,

    /// Normalisations that keep their running statistics: frozen-layers, none or all
    #[arg(long, value_name = "WHICH", help_heading = "Fine-tuning")]
    freeze_norm: Option<String>,

    /// Factor on the learning rate from one stage to the one before it
    #[arg(long, value_name = "FACTOR", help_heading = "Fine-tuning")]
    lr_decay: Option<f64>,

    /// Factor on the learning rate of the classifier
    #[arg(long, value_name = "FACTOR", help_heading = "Fine-tuning")]
    head_lr: Option<f64>,

    /// What becomes of the classifier in the file: auto, fresh or keep
    #[arg(long, value_name = "WHAT", help_heading = "Fine-tuning")]
    head: Option<String>,
}

/// The recipe for fine-tuning that comes with the program.
const FINETUNE: &str = "finetune";

impl FinetuneArgs {
    /// The recipe that is meant where none is named.
    pub(crate) fn default_recipe(&self) -> &'static str {
        if self.weights.weights.is_some() { FINETUNE } else { DEFAULT }
    }

    /// The changes as `path=value`.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let mut all = vec![];
        let mut add = |field: &str, value: Option<String>| {
            all.extend(value.map(|v| format!("finetune.{field}={v}")));
        };
        add("weights", self.weights.weights.as_ref().map(|path| quoted(path)));
        add(
            "from",
            (self.weights.source.from != Default::default()).then(|| self.weights.source.from.to_string()),
        );
        add("freeze_until", self.freeze_until.clone());
        add("freeze_norm", self.freeze_norm.clone());
        add("lr_decay", self.lr_decay.map(|v| v.to_string()));
        add("head_lr", self.head_lr.map(|v| v.to_string()));
        add("head", self.head.clone());
        all
    }

    /// Opens the weights that the recipe names, and says what was found and changed.
    pub(crate) fn start(
        &self,
        recipe: &mut Recipe,
        data: &Dataset,
        network: &NetworkArgs,
    ) -> anyhow::Result<Starting> {
        let options = self.weights.source.options(network)?;
        let start = starting_weights(recipe, data, &options)?;
        tell(&start.report);
        Ok(start)
    }
}
