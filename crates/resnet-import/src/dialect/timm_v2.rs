//! timm's pre-activation networks. The classifier is a 1×1 convolution.

use super::{Renamed, Tensor, same};
use crate::layout::Layout;

pub(super) fn matches(has: impl Fn(&str) -> bool) -> bool {
    has("stages.0.blocks.0.conv1.weight") && (has("stem.conv.weight") || has("stem.conv1.weight"))
}

/// Networks with a deep stem have pooled shortcuts (`d` and `t`), which have no names of their own.
pub(super) fn has_pooled_shortcuts(tensors: &[Tensor]) -> bool {
    tensors.iter().any(|t| t.name == "stem.conv1.weight")
}

pub(super) fn rename(tensor: &Tensor, pooled: bool) -> Option<Renamed> {
    let parts: Vec<&str> = tensor.name.split('.').collect();
    match parts[..] {
        ["head", "fc", "weight"] => Some(("fc.weight".into(), Layout::Kernel)),
        ["head", "fc", "bias"] => same("fc.bias".into()),
        ["norm", role] => same(format!("norm.{role}")),
        ["stem", "conv", role] => same(format!("conv1.{role}")),
        ["stem", "conv1", role] => same(format!("conv1.0.{role}")),
        ["stem", "norm1", role] => same(format!("conv1.1.{role}")),
        ["stem", "conv2", role] => same(format!("conv1.3.{role}")),
        ["stem", "norm2", role] => same(format!("conv1.4.{role}")),
        ["stem", "conv3", role] => same(format!("conv1.6.{role}")),
        ["stages", s, "blocks", b, layer, ref rest @ ..] => {
            let stage = s.parse::<usize>().ok()?.checked_add(1)?;
            let layer = match (layer, rest) {
                ("downsample", ["conv", role]) => format!("downsample.{}.{role}", u8::from(pooled)),
                (_, [role]) => match layer.strip_prefix("norm") {
                    Some(i) => format!("bn{i}.{role}"),
                    None => format!("{layer}.{role}"),
                },
                _ => return None,
            };
            same(format!("layer{stage}.{b}.{layer}"))
        }
        _ => None,
    }
}

/// The inverse of [`rename`], for writing. The second part says whether a matrix becomes a 1×1 kernel.
pub(crate) fn name_of(ours: &str) -> Option<(String, bool)> {
    let parts: Vec<&str> = ours.split('.').collect();
    let name = match parts[..] {
        ["fc", "weight"] => return Some(("head.fc.weight".into(), true)),
        ["fc", role] => format!("head.fc.{role}"),
        ["norm", role] => format!("norm.{role}"),
        ["conv1", role] => format!("stem.conv.{role}"),
        ["conv1", "0", role] => format!("stem.conv1.{role}"),
        ["conv1", "1", role] => format!("stem.norm1.{role}"),
        ["conv1", "3", role] => format!("stem.conv2.{role}"),
        ["conv1", "4", role] => format!("stem.norm2.{role}"),
        ["conv1", "6", role] => format!("stem.conv3.{role}"),
        [stage, b, layer, ref rest @ ..] => {
            let s = stage.strip_prefix("layer")?.parse::<usize>().ok()?.checked_sub(1)?;
            let layer = match (layer, rest) {
                ("downsample", ["0" | "1", role]) => format!("downsample.conv.{role}"),
                (_, [role]) => match layer.strip_prefix("bn") {
                    Some(i) => format!("norm{i}.{role}"),
                    None => format!("{layer}.{role}"),
                },
                _ => return None,
            };
            format!("stages.{s}.blocks.{b}.{layer}")
        }
        _ => return None,
    };
    Some((name, false))
}
