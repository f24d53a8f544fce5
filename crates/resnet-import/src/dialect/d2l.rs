//! *Dive into Deep Learning*, section 8.6, in PyTorch: a sequence of sequences, named by number or as `b1` to `b5`.
//!
//! ```text
//! 0.0  0.1                     stem: convolution, normalisation        net.0.0, net.b1.0
//! 1.0.conv1 .conv2 .bn1 .bn2   first block of the first stage          net.1.0, net.b2.0
//! 2.0.conv3                    the 1×1 convolution of the shortcut
//! 7                            classifier                              net.5.2, net.last.2
//! ```

use std::collections::BTreeMap;

use super::{Renamed, Tensor, same};
use crate::error::Why;

pub(super) fn matches(tensors: &[Tensor]) -> bool {
    let blocks = blocks(tensors);
    !blocks.is_empty()
        && tensors.iter().any(|t| t.name.ends_with(".bn1.running_mean"))
        && tensors.iter().filter(|t| stem_conv(t)).count() == 1
}

/// A 7×7 convolution that belongs to no block.
fn stem_conv(t: &Tensor) -> bool {
    t.shape.len() == 4 && t.shape[2] == 7 && t.name.ends_with(".0.weight")
}

/// The blocks in the order of the network: the path of each, and its stage and number there.
fn blocks(tensors: &[Tensor]) -> BTreeMap<String, (usize, usize)> {
    let path = |t: &Tensor| t.name.strip_suffix(".conv1.weight").map(str::to_owned);
    let mut paths: Vec<(Vec<Part>, String)> =
        tensors.iter().filter_map(path).map(|p| (p.split('.').map(Part::new).collect(), p)).collect();
    paths.sort();
    let (mut stage, mut b) = (0, 0);
    let mut last_parent: Option<Vec<Part>> = None;
    let mut places = BTreeMap::new();
    for (parts, path) in paths {
        let parent = parts[..parts.len() - 1].to_vec();
        (stage, b) = if last_parent.as_ref() == Some(&parent) { (stage, b + 1) } else { (stage + 1, 0) };
        last_parent = Some(parent);
        places.insert(path, (stage, b));
    }
    places
}

/// A part of a path; numbers are ordered by value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(usize),
    Name(String),
}

impl Part {
    fn new(text: &str) -> Self {
        text.parse().map_or_else(|_| Part::Name(text.to_owned()), Part::Number)
    }
}

pub(super) fn rename(tensors: &[Tensor]) -> Why<Vec<Option<Renamed>>> {
    let places = blocks(tensors);
    let Some(stem) = tensors.iter().find(|t| stem_conv(t)).and_then(|t| t.name.strip_suffix(".0.weight"))
    else {
        return Err("there is no 7×7 convolution".into());
    };
    let matrices: Vec<&str> = tensors
        .iter()
        .filter(|t| t.shape.len() == 2)
        .filter_map(|t| t.name.strip_suffix(".weight"))
        .collect();
    let one = |t: &Tensor| {
        let (layer, role) = t.name.rsplit_once('.')?;
        if let Some(i) = layer.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.')) {
            return match i {
                "0" => same(format!("conv1.{role}")),
                "1" => same(format!("bn1.{role}")),
                _ => None,
            };
        }
        if matrices == [layer] {
            return same(format!("fc.{role}"));
        }
        let (block, layer) = layer.rsplit_once('.')?;
        let (stage, b) = places.get(block)?;
        // The block has two convolutions; the third is the shortcut's.
        let layer = if layer == "conv3" { "downsample.0" } else { layer };
        same(format!("layer{stage}.{b}.{layer}.{role}"))
    };
    Ok(tensors.iter().map(one).collect())
}
