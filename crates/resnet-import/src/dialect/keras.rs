//! Keras Applications. Layers have stable names; a weight is `layer/role`, whatever stands before.

use super::{Renamed, Tensor};
use crate::layout::Layout;

/// Layer and role: the last two parts of a path, without TensorFlow's output number.
fn layer_and_role(name: &str) -> Option<(&str, &str)> {
    let (path, role) = name.rsplit_once('/')?;
    Some((path.rsplit('/').next()?, role.split(':').next()?))
}

fn has_layer(tensors: &[Tensor], layer: &str) -> bool {
    tensors.iter().any(|t| layer_and_role(&t.name).is_some_and(|(l, _)| l == layer))
}

pub(super) fn matches_v1(tensors: &[Tensor]) -> bool {
    has_layer(tensors, "conv1_conv")
        && has_layer(tensors, "conv1_bn")
        && has_layer(tensors, "conv2_block1_1_conv")
}

pub(super) fn matches_v2(tensors: &[Tensor]) -> bool {
    has_layer(tensors, "conv1_conv") && has_layer(tensors, "conv2_block1_preact_bn")
}

pub(super) fn matches_legacy(tensors: &[Tensor]) -> bool {
    has_layer(tensors, "bn_conv1") && has_layer(tensors, "res2a_branch2a")
}

/// Our role and layout for a weight of a Keras layer.
pub(super) fn role(role: &str, rank: usize) -> Option<(&'static str, Layout)> {
    Some(match (role, rank) {
        ("kernel", 4) => ("weight", Layout::Hwio),
        ("kernel", 2) => ("weight", Layout::Transposed),
        ("bias", 1) => ("bias", Layout::Same),
        ("gamma", 1) => ("weight", Layout::Same),
        ("beta", 1) => ("bias", Layout::Same),
        ("moving_mean", 1) => ("running_mean", Layout::Same),
        ("moving_variance", 1) => ("running_var", Layout::Same),
        _ => return None,
    })
}

/// `conv{2..5}_block{1..n}_{0..3}_{conv,bn}`: 0 is the shortcut.
pub(super) fn rename_v1(tensor: &Tensor) -> Option<Renamed> {
    rename(tensor, false)
}

/// As [`rename_v1`]; `preact_bn` is the first of the block's three normalisations.
pub(super) fn rename_v2(tensor: &Tensor) -> Option<Renamed> {
    rename(tensor, true)
}

fn rename(tensor: &Tensor, v2: bool) -> Option<Renamed> {
    let (layer, keras_role) = layer_and_role(&tensor.name)?;
    let (role, layout) = role(keras_role, tensor.shape.len())?;
    let ours = match layer {
        "conv1_conv" => "conv1".into(),
        "conv1_bn" => "bn1".into(),
        "post_bn" => "norm".into(),
        "predictions" => "fc".into(),
        // A classifier that somebody put in place of the old one.
        _ if layer.starts_with("dense") => "fc".into(),
        _ => in_block(layer, v2)?,
    };
    Some((format!("{ours}.{role}"), layout))
}

fn in_block(layer: &str, v2: bool) -> Option<String> {
    let (stage, rest) = layer.strip_prefix("conv")?.split_once("_block")?;
    let (block, part) = rest.split_once('_')?;
    let stage = stage.parse::<usize>().ok()?.checked_sub(1)?;
    let block = block.parse::<usize>().ok()?.checked_sub(1)?;
    let part = match (part, v2) {
        ("0_conv", _) => "downsample.0",
        ("0_bn", false) => "downsample.1",
        ("1_conv", _) => "conv1",
        ("2_conv", _) => "conv2",
        ("3_conv", _) => "conv3",
        ("preact_bn", true) | ("1_bn", false) => "bn1",
        ("1_bn", true) | ("2_bn", false) => "bn2",
        ("2_bn", true) | ("3_bn", false) => "bn3",
        _ => return None,
    };
    Some(format!("layer{stage}.{block}.{part}"))
}

/// The names of Keras before 2.2: `res{2..5}{a,b,...}_branch{1,2a,2b,2c}`, `bn…` likewise; `fc1000`.
pub(super) fn rename_legacy(tensor: &Tensor) -> Option<Renamed> {
    let (layer, keras_role) = layer_and_role(&tensor.name)?;
    let (role, layout) = role(keras_role, tensor.shape.len())?;
    let ours = match layer {
        "conv1" => "conv1".into(),
        "bn_conv1" => "bn1".into(),
        _ if layer.starts_with("fc") => "fc".into(),
        _ => {
            let (is_norm, rest) = match layer.strip_prefix("res") {
                Some(rest) => (false, rest),
                None => (true, layer.strip_prefix("bn")?),
            };
            let (place, branch) = rest.split_once("_branch")?;
            let stage = place.get(..1)?.parse::<usize>().ok()?.checked_sub(1)?;
            let block = block_number(place.get(1..)?)?;
            let part = match (branch, is_norm) {
                ("1", false) => "downsample.0",
                ("1", true) => "downsample.1",
                ("2a", false) => "conv1",
                ("2a", true) => "bn1",
                ("2b", false) => "conv2",
                ("2b", true) => "bn2",
                ("2c", false) => "conv3",
                ("2c", true) => "bn3",
                _ => return None,
            };
            format!("layer{stage}.{block}.{part}")
        }
    };
    Some((format!("{ours}.{role}"), layout))
}

/// `a` is 0, `b` is 1; deep networks write `b1`, `b2`, … for 1, 2, ….
fn block_number(text: &str) -> Option<usize> {
    let letter = text.bytes().next().filter(u8::is_ascii_lowercase)?;
    match text.get(1..)? {
        "" => Some(usize::from(letter - b'a')),
        digits => digits.parse().ok(),
    }
}
