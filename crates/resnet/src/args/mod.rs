//! Flags that commands share.

mod device;
mod model;
mod network;
mod recipe;

pub(crate) use device::{DeviceArgs, Precision};
pub(crate) use model::ModelArgs;
pub(crate) use network::{NetworkArgs, label};
pub(crate) use recipe::RecipeArgs;
