//! Flags that commands share.

mod data;
mod device;
mod finetune;
mod model;
mod network;
mod recipe;
mod weights;

pub(crate) use data::DataArgs;
pub(crate) use device::{DeviceArgs, Precision};
pub(crate) use finetune::FinetuneArgs;
pub(crate) use model::ModelArgs;
pub(crate) use network::{NetworkArgs, label};
pub(crate) use recipe::RecipeArgs;
pub(crate) use weights::{SourceArgs, WeightsArgs, tell};

/// A path as a TOML string, so that a folder called 2024 is no number.
fn quoted(path: &std::path::Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}
