//! Hugging Face transformers, `ResNetForImageClassification`.

use super::{Renamed, Tensor, same};

pub(super) fn matches(has: impl Fn(&str) -> bool) -> bool {
    has("resnet.embedder.embedder.convolution.weight") || has("embedder.embedder.convolution.weight")
}

pub(super) fn rename(tensor: &Tensor) -> Option<Renamed> {
    let name = tensor.name.strip_prefix("resnet.").unwrap_or(&tensor.name);
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        ["classifier", "1", role] => same(format!("fc.{role}")),
        ["embedder", "embedder", "convolution", role] => same(format!("conv1.{role}")),
        ["embedder", "embedder", "normalization", role] => same(format!("bn1.{role}")),
        ["encoder", "stages", s, "layers", b, ref rest @ ..] => {
            let stage = s.parse::<usize>().ok()?.checked_add(1)?;
            let layer = match *rest {
                ["shortcut", "convolution", role] => format!("downsample.0.{role}"),
                ["shortcut", "normalization", role] => format!("downsample.1.{role}"),
                ["layer", i, kind, role] => {
                    let i = i.parse::<usize>().ok()?.checked_add(1)?;
                    match kind {
                        "convolution" => format!("conv{i}.{role}"),
                        "normalization" => format!("bn{i}.{role}"),
                        _ => return None,
                    }
                }
                _ => return None,
            };
            same(format!("layer{stage}.{b}.{layer}"))
        }
        _ => None,
    }
}
