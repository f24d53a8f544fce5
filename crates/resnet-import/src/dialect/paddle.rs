//! Paddle: statistics are called `_mean` and `_variance`, matrices are `[in, out]`.

use super::{Renamed, Tensor, same};
use crate::error::Why;
use crate::layout::Layout;

pub(super) fn matches_vision(has: impl Fn(&str) -> bool) -> bool {
    has("layer1.0.conv1.weight") && has("bn1._mean")
}

pub(super) fn matches_tutorial(has: impl Fn(&str) -> bool) -> bool {
    has("in_block.0.weight") && has("block.0.block.0.weight")
}

/// `paddle.vision.models`: torchvision's names otherwise.
pub(super) fn rename_vision(tensor: &Tensor) -> Option<Renamed> {
    named(&tensor.name)
}

fn named(name: &str) -> Option<Renamed> {
    if name == "fc.weight" {
        return Some((name.into(), Layout::Transposed));
    }
    let (layer, role) = name.rsplit_once('.')?;
    let role = match role {
        "_mean" => "running_mean",
        "_variance" => "running_var",
        other => other,
    };
    same(format!("{layer}.{role}"))
}

/// The tutorial network: `block.N` counts the blocks of all stages, and a stage begins where there is a `sample_block`.
pub(super) fn rename_tutorial(tensors: &[Tensor]) -> Why<Vec<Option<Renamed>>> {
    let number = |name: &str| name.strip_prefix("block.")?.split('.').next()?.parse::<usize>().ok();
    let n_blocks = tensors.iter().filter_map(|t| number(&t.name)).max().map_or(0, |last| last + 1);
    if n_blocks > tensors.len() {
        return Err(format!("block {} is named, but there are fewer tensors than blocks", n_blocks - 1));
    }
    let projects = |block: usize| {
        let name = format!("block.{block}.sample_block.0.weight");
        tensors.iter().any(|t| t.name == name)
    };
    let mut places = Vec::with_capacity(n_blocks);
    let (mut stage, mut b) = (0, 0);
    for block in 0..n_blocks {
        if block == 0 || projects(block) {
            (stage, b) = (stage + 1, 0);
        }
        places.push(format!("layer{stage}.{b}"));
        b += 1;
    }
    Ok(tensors.iter().map(|t| tutorial(&t.name, &places)).collect())
}

fn tutorial(name: &str, places: &[String]) -> Option<Renamed> {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        ["fc", _] => named(name),
        ["in_block", "0", role] => named(&format!("conv1.{role}")),
        ["in_block", "1", role] => named(&format!("bn1.{role}")),
        ["block", n, part, i, role] => {
            let place = places.get(n.parse::<usize>().ok()?)?;
            let layer = match (part, i) {
                ("sample_block", "0") => "downsample.0",
                ("sample_block", "1") => "downsample.1",
                // Convolution, normalisation, ReLU; the last has no ReLU.
                ("block", "0") => "conv1",
                ("block", "1") => "bn1",
                ("block", "3") => "conv2",
                ("block", "4") => "bn2",
                ("block", "6") => "conv3",
                ("block", "7") => "bn3",
                _ => return None,
            };
            named(&format!("{place}.{layer}.{role}"))
        }
        _ => None,
    }
}
