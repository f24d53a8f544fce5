//! What is trained, and how: a recipe, and flags that change it.

use std::fmt::Display;

use resnet_train::recipe::Recipe;

use super::{DataArgs, NetworkArgs, Precision};

/// The flags that change a recipe. The common fields have flags of their own, all others `--set`.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Recipe")]
pub(crate) struct RecipeArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    #[command(flatten)]
    pub(crate) data: DataArgs,

    /// Pictures per step
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    pub(crate) batch: Option<usize>,

    /// Passes over the training pictures
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    pub(crate) epochs: Option<u64>,

    /// Largest learning rate of the schedule
    #[arg(long, value_name = "RATE", help_heading = "Recipe", allow_negative_numbers = true)]
    pub(crate) lr: Option<f64>,

    /// Rule of the update: sgd, adam or adamw
    #[arg(long, value_name = "NAME", help_heading = "Recipe")]
    pub(crate) optimizer: Option<String>,

    /// Decides the start, the order and every augmentation
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    pub(crate) seed: Option<u64>,

    /// Type of activations; bf16 and f16 keep weights, sums and statistics in single precision
    #[arg(long, value_enum, value_name = "TYPE", hide_possible_values = true, help_heading = "Recipe")]
    pub(crate) precision: Option<Precision>,

    /// Threads that read and augment pictures
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    pub(crate) workers: Option<usize>,

    /// Any field of a recipe, such as `--set schedule.name=step`; may be given again
    #[arg(long, value_name = "FIELD=VALUE", help_heading = "Recipe")]
    pub(crate) set: Vec<String>,
}

impl RecipeArgs {
    /// The changes as `path=value`: first the flags, then `--set` in its order, which therefore wins.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let mut all = vec![];
        let mut add = |path: &str, value: Option<String>| all.extend(value.map(|v| format!("{path}={v}")));
        let n = &self.network;
        add("model.arch", n.arch.clone());
        add("model.variant", text(n.variant.as_ref()));
        add("model.classes", text(n.classes.as_ref()));
        add("model.channels", text(n.channels.as_ref()));
        add("model.size", text(n.size.as_ref()));
        add("train.batch", text(self.batch.as_ref()));
        add("train.epochs", text(self.epochs.as_ref()));
        add("optimizer.name", self.optimizer.clone());
        add("optimizer.lr", text(self.lr.as_ref()));
        add("train.seed", text(self.seed.as_ref()));
        add("train.precision", self.precision.map(|p| p.name().to_owned()));
        add("run.workers", text(self.workers.as_ref()));
        all.extend(self.data.overrides());
        all.extend(self.set.iter().cloned());
        all
    }

    /// A recipe by name or file, changed by the flags and checked.
    pub(crate) fn recipe(&self, name_or_path: &str) -> resnet_train::Result<Recipe> {
        let mut recipe = Recipe::load(name_or_path)?;
        recipe.apply(&self.overrides())?;
        Ok(recipe)
    }
}

fn text<T: Display>(value: Option<&T>) -> Option<String> {
    value.map(T::to_string)
}
