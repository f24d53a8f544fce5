//! torchvision, timm's `resnet*`, and networks that copy their names: the names are ours.
//!
//! CIFAR networks in PyTorch often say `shortcut` for `downsample` and `linear` or `classifier` for `fc`.

use super::{Renamed, Tensor, same};

pub(super) fn matches(has: impl Fn(&str) -> bool) -> bool {
    has("layer1.0.conv1.weight") && (has("conv1.weight") || has("conv1.0.weight"))
}

pub(super) fn rename(tensor: &Tensor) -> Option<Renamed> {
    let name = tensor.name.replace(".shortcut.", ".downsample.");
    for head in ["linear.", "classifier."] {
        if let Some(rest) = name.strip_prefix(head) {
            return same(format!("fc.{rest}"));
        }
    }
    same(name)
}
