//! Flags that commands share.

mod device;
mod network;

pub(crate) use device::{DeviceArgs, Precision};
pub(crate) use network::{NetworkArgs, Size, label};
