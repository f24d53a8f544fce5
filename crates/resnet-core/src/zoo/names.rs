//! Which name means which spec.
//!
//! ```text
//! resnet50  resnet50v1  resnet50v1.5  resnet50v2  plain34        ImageNet; no suffix means v1.5, as in torchvision
//! resnet50d  resnext50_32x4d  wide_resnet50_2                    its relatives
//! resnet18-small  resnet18v2-small  wide_resnet50_2-small        the same on small pictures
//! resnet110-cifar  resnet164v2-cifar  plain56-cifar              CIFAR, any depth 6n+2 or 9n+2; no suffix means v1
//! d2l18  keras18  tensorflow18  paddle50                         tutorial dialects
//! ```

use super::presets::{self, CIFAR_BASIC_DEPTHS, CIFAR_BOTTLENECK_DEPTHS, DIALECT_DEPTHS, IMAGENET_DEPTHS};
use super::{ResNetSpec, Variant};
use crate::{Error, Result};

/// What a family makes of a depth; `None` where it has no such network.
type Preset = fn(usize) -> Option<ResNetSpec>;

/// The relatives of the ImageNet networks, by torchvision's names.
const RELATIVES: [(&str, usize, Preset); 5] = [
    ("resnext50_32x4d", 50, |depth| presets::resnext(depth, 32, 4)),
    ("resnext101_32x8d", 101, |depth| presets::resnext(depth, 32, 8)),
    ("resnext101_64x4d", 101, |depth| presets::resnext(depth, 64, 4)),
    ("wide_resnet50_2", 50, |depth| presets::wide(depth, 2)),
    ("wide_resnet101_2", 101, |depth| presets::wide(depth, 2)),
];

/// The tutorial dialects. `keras` and `tensorflow` are two names of one network.
const DIALECTS: [(&str, Preset); 4] = [
    ("d2l", presets::d2l),
    ("keras", presets::keras),
    ("tensorflow", presets::keras),
    ("paddle", presets::paddle),
];

/// The spec of a named network.
///
/// # Errors
/// [`Error::UnknownArch`] with the nearest names; [`Error::Invalid`] where the family is known and the depth is not one of
/// its depths, naming those.
pub fn arch(name: &str) -> Result<ResNetSpec> {
    let spec = match (name.strip_suffix("-small"), name.strip_suffix("-cifar")) {
        (Some(base), _) => imagenet(base).map(presets::small),
        (_, Some(base)) => cifar(name, base)?,
        _ => match dialect(name)? {
            Some(spec) => Some(spec),
            None => imagenet(name),
        },
    };
    match spec {
        Some(spec) => Ok(ResNetSpec { arch: name.to_owned(), ..spec }),
        None => Err(Error::UnknownArch { found: name.to_owned(), suggestions: nearest(name) }),
    }
}

/// The names of all networks of the papers and libraries. [`arch`] knows more CIFAR depths than these.
pub fn names() -> Vec<String> {
    let mut names = vec![];
    for depth in IMAGENET_DEPTHS {
        names.extend(["", "v1", "v1.5", "v2", "d"].map(|suffix| format!("resnet{depth}{suffix}")));
        names.push(format!("plain{depth}"));
    }
    names.extend(RELATIVES.map(|(name, ..)| name.to_owned()));
    let small: Vec<String> = names.iter().map(|name| format!("{name}-small")).collect();
    names.extend(small);
    for depth in CIFAR_BASIC_DEPTHS.into_iter().chain(CIFAR_BOTTLENECK_DEPTHS) {
        names.extend(["", "v2"].map(|suffix| format!("resnet{depth}{suffix}-cifar")));
        names.push(format!("plain{depth}-cifar"));
    }
    for (family, _) in DIALECTS {
        names.extend(DIALECT_DEPTHS.map(|depth| format!("{family}{depth}")));
    }
    names
}

/// ImageNet networks and their relatives.
fn imagenet(name: &str) -> Option<ResNetSpec> {
    if let Some((_, depth, preset)) = RELATIVES.iter().find(|(relative, ..)| *relative == name) {
        return preset(*depth);
    }
    let (family, depth, suffix) = split(name)?;
    match (family, suffix) {
        ("resnet", "d") => presets::deep(depth),
        _ => Some(presets::imagenet(depth)?.variant(variant(family, suffix, Variant::V1_5)?)),
    }
}

/// CIFAR networks, by the name without its suffix.
fn cifar(name: &str, base: &str) -> Result<Option<ResNetSpec>> {
    let Some((family, depth, suffix)) = split(base) else { return Ok(None) };
    let Some(variant) = variant(family, suffix, Variant::V1) else { return Ok(None) };
    match presets::cifar(depth, variant) {
        Some(spec) => Ok(Some(spec)),
        None => Err(Error::invalid(
            name,
            format!(
                "depth {depth} given, 6n+2 (basic blocks) or 9n+2 (bottlenecks) wanted, such as {CIFAR_BASIC_DEPTHS:?} or \
                 {CIFAR_BOTTLENECK_DEPTHS:?}; ImageNet widths on small pictures are called `{base}-small`"
            ),
        )),
    }
}

/// Tutorial dialects.
fn dialect(name: &str) -> Result<Option<ResNetSpec>> {
    let Some((family, depth, "")) = split(name) else { return Ok(None) };
    let Some((_, preset)) = DIALECTS.iter().find(|(dialect, _)| *dialect == family) else { return Ok(None) };
    match preset(depth).filter(|_| DIALECT_DEPTHS.contains(&depth)) {
        Some(spec) => Ok(Some(spec)),
        None => Err(Error::invalid(
            name,
            format!("depth {depth} given, {family} networks have one of {DIALECT_DEPTHS:?}"),
        )),
    }
}

/// `resnet50v2` is `resnet`, 50 and `v2`.
fn split(name: &str) -> Option<(&str, usize, &str)> {
    let (family, rest) = ["resnet", "plain", "d2l", "keras", "tensorflow", "paddle"]
        .into_iter()
        .find_map(|family| Some((family, name.strip_prefix(family)?)))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (depth, suffix) = rest.split_at(digits);
    Some((family, depth.parse().ok()?, suffix))
}

/// The variant that family and suffix name.
fn variant(family: &str, suffix: &str, default: Variant) -> Option<Variant> {
    match (family, suffix) {
        ("resnet", "") => Some(default),
        ("resnet", _) => suffix.parse().ok().filter(|v| *v != Variant::Plain),
        ("plain", "") => Some(Variant::Plain),
        _ => None,
    }
}

/// Up to three names that look like this one.
fn nearest(name: &str) -> Vec<String> {
    const CLOSE: f64 = 0.75; // fewer than one edit in four characters
    let mut scored: Vec<(f64, String)> = names()
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &known), known))
        .filter(|(score, _)| *score >= CLOSE)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.len().cmp(&b.1.len())));
    scored.into_iter().take(3).map(|(_, known)| known).collect()
}
