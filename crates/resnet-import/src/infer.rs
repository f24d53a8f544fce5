//! Which network a set of tensors belongs to, read off their names and shapes.

use std::collections::BTreeMap;

use resnet_core::zoo::{self, Block, Conventions, ResNetSpec, Shortcut, Stem, Variant, Width};

use crate::dialect::Dialect;
use crate::error::Why;

/// Shapes by our names.
pub(crate) type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// Most stages that are looked for.
const MAX_STAGES: usize = 16;

/// The network these tensors belong to, for 224 × 224 pictures, or 32 × 32 if its stem is that of a small network.
/// `classes` is used where there is no classifier.
pub(crate) fn spec(shapes: &Shapes<'_>, dialect: Dialect, classes: Option<usize>) -> Why<ResNetSpec> {
    let has = |name: &str| shapes.contains_key(name);
    let (stem, stem_width, channels) = stem(shapes)?;
    let variant = if has("norm.running_mean") { Variant::V2 } else { dialect.variant() };
    let (depths, widths, block, groups) = stages(shapes)?;
    let small = stem == Stem::Small;
    let classes = match (shapes.get("fc.weight"), classes) {
        (Some(fc), _) => *fc.first().unwrap_or(&0),
        (None, Some(classes)) => classes,
        (None, None) => {
            return Err("there is no classifier; say how many classes a new one shall have".into());
        }
    };
    let conv_bias = ["conv1.bias", "conv1.0.bias", "layer1.0.conv1.bias"].into_iter().any(has);
    let conventions = Conventions {
        conv_bias,
        bias_before_norm: !conv_bias || variant != Variant::V2 || has("layer1.0.conv1.bias"),
        ..dialect.conventions()
    };
    let size = if small { 32 } else { 224 };
    let mut spec = ResNetSpec {
        arch: String::new(),
        variant,
        block,
        depths,
        widths,
        groups,
        stem,
        stem_width,
        shortcut: shortcut(shapes, variant),
        conventions,
        channels,
        height: size,
        width: size,
        classes,
    };
    spec.arch = name(&spec, dialect);
    Ok(spec)
}

/// The stem, its width and the channels of the picture.
fn stem(shapes: &Shapes<'_>) -> Why<(Stem, usize, usize)> {
    if let (Some(&[first, c, 3, 3]), Some(&[second, _, 3, 3]), Some(&[out, _, 3, 3])) = (
        shapes.get("conv1.0.weight").copied(),
        shapes.get("conv1.3.weight").copied(),
        shapes.get("conv1.6.weight").copied(),
    ) {
        let stem = match (first, second) {
            _ if (first, second) == (out / 2, out / 2) => Stem::Deep,
            _ if (first, second) == (3 * out / 8, out / 2) => Stem::Tiered,
            _ => {
                return Err(format!(
                    "a stem of {first}, {second} and {out} channels, which no known network has"
                ));
            }
        };
        return Ok((stem, out, c));
    }
    match shapes.get("conv1.weight").copied() {
        Some(&[k, c, 7, 7]) => Ok((Stem::Imagenet, k, c)),
        Some(&[k, c, 3, 3]) => Ok((Stem::Small, k, c)),
        Some(other) => Err(format!("the first convolution is {other:?}; a kernel of 7×7 or 3×3 wanted")),
        None => Err("there is no first convolution".into()),
    }
}

/// Depths, widths, block and groups.
fn stages(shapes: &Shapes<'_>) -> Why<(Vec<usize>, Vec<Width>, Block, usize)> {
    let kernel =
        |s: usize, b: usize, i: usize| shapes.get(format!("layer{s}.{b}.conv{i}.weight").as_str()).copied();
    let block = if kernel(1, 0, 3).is_some() { Block::Bottleneck } else { Block::Basic };
    let last = if block == Block::Basic { 2 } else { 3 };
    let (mut depths, mut widths, mut groups) = (vec![], vec![], 1);
    for s in 1..=MAX_STAGES {
        let depth = (0..=zoo::MAX_BLOCKS).take_while(|b| kernel(s, *b, 1).is_some()).count();
        if depth == 0 {
            break;
        }
        let (Some(&[middle, ..]), Some(&[out, ..])) = (kernel(s, 0, 1), kernel(s, 0, last)) else {
            return Err(format!("layer{s}.0 lacks a convolution"));
        };
        if let (Block::Bottleneck, Some(&[_, per_group, ..])) = (block, kernel(s, 0, 2)) {
            groups = middle.checked_div(per_group).unwrap_or(1);
        }
        depths.push(depth);
        widths.push(Width { middle, out });
    }
    Ok((depths, widths, block, groups))
}

fn shortcut(shapes: &Shapes<'_>, variant: Variant) -> Shortcut {
    let downsample = |i: usize, role: &str| {
        let suffix = format!(".downsample.{i}.{role}");
        shapes.iter().find(|(name, _)| name.ends_with(&suffix)).map(|(_, shape)| shape.len())
    };
    match (downsample(0, "weight"), downsample(1, "weight")) {
        (_, Some(4)) => Shortcut::Pooled,
        (Some(_), Some(_)) => Shortcut::Projection,
        (Some(_), None) if variant == Variant::V2 => Shortcut::Projection,
        (Some(_), None) => Shortcut::BareProjection,
        (None, _) => Shortcut::ZeroPad,
    }
}

/// The name of a known network of this structure.
fn name(spec: &ResNetSpec, dialect: Dialect) -> String {
    let same = |known: &ResNetSpec| {
        let key = |s: &ResNetSpec| {
            (
                s.variant,
                s.block,
                s.depths.clone(),
                s.widths.clone(),
                s.groups,
                s.stem,
                s.stem_width,
                s.shortcut,
            )
        };
        key(known) == key(spec)
    };
    let prefer = match dialect {
        Dialect::KerasOrder => "keras",
        Dialect::D2l => "d2l",
        Dialect::PaddleTutorial => "paddle",
        _ => "resnet",
    };
    let mut names = zoo::names();
    names.sort_by_key(|name| !name.starts_with(prefer));
    let known = names.into_iter().find(|name| zoo::arch(name).is_ok_and(|known| same(&known)));
    known.unwrap_or_else(|| format!("resnet{}-{}-custom", spec.depth(), spec.variant))
}
