//! What stands beside a weights file, or in its name, about the pictures it was trained on.
//!
//! Model hubs keep a `config.json` beside the weights: timm's has `pretrained_cfg`, that of transformers is joined by a
//! `preprocessor_config.json`. torchvision has two trainings of most networks, which only the name of the file tells apart.

use std::path::Path;

use resnet_core::preprocessing::{Interpolation, Preprocessing, Resize};
use serde_json::Value;

use crate::profile::{IMAGENET_MEAN, IMAGENET_STD};

/// Longest description that is read: a list of 21,000 classes has about one MiB.
const MAX_BYTES: u64 = 16 << 20;

/// What was found beside the weights.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    /// Number of classes that it is about.
    n_classes: Option<usize>,
    /// What they are called.
    pub(crate) classes: Option<Vec<String>>,
    /// How pictures become input.
    pub(crate) pictures: Option<Pictures>,
    /// What was found, or could not be used, for the report.
    pub(crate) notes: Vec<String>,
}

/// [`Preprocessing`] that does not know yet for how many pixels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pictures {
    /// Rows and columns that the weights were trained for.
    pub(crate) size: Option<(usize, usize)>,
    pub(crate) resize: Fraction,
    pub(crate) interpolation: Interpolation,
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
}

/// How large a picture is made before its centre is cut out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fraction {
    /// The cut is this share of the shorter side.
    Of(f64),
    /// The whole picture becomes the input.
    Squeezed,
}

/// Files of torchvision's second training: at the same crop as the first, out of a shorter side of 232.
///
/// Source: `Weights` of `torchvision.models`, version 0.29.
const SHORT_SIDE_232: [&str; 8] = [
    "resnet50-11ad3fa6",
    "resnet101-cd907fc2",
    "resnet152-f82ba261",
    "resnext50_32x4d-1a0047aa",
    "resnext101_32x8d-110c445d",
    "resnext101_64x4d-173b62eb",
    "wide_resnet50_2-9ba9bcbe",
    "wide_resnet101_2-d733dc28",
];

impl Beside {
    /// What is known of the file at a path beyond its content. A description that cannot be used is a note, no failure.
    pub(crate) fn of(path: &Path) -> Self {
        let mut found = Self::default();
        let Some(folder) = path.parent().filter(|_| path.is_file()) else { return found };
        if let Some(config) = read(&folder.join("config.json"), &mut found.notes) {
            found.timm(&config);
            found.transformers(&config);
        }
        if found.n_classes.is_some() && found.pictures.is_none() {
            let processor = read(&folder.join("preprocessor_config.json"), &mut found.notes);
            found.pictures = processor.as_ref().and_then(of_processor);
        }
        let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
        if found.pictures.is_none() && SHORT_SIDE_232.contains(&name) {
            found.pictures = Some(Pictures {
                size: None,
                resize: Fraction::Of(224.0 / 232.0),
                interpolation: Interpolation::Bilinear,
                mean: IMAGENET_MEAN.to_vec(),
                std: IMAGENET_STD.to_vec(),
            });
            found.notes.push("torchvision's second training: the shorter side is 232".into());
        }
        found
    }

    /// What of it holds for a network of so many classes: what is about another one is left alone.
    pub(crate) fn for_classes(mut self, n: usize) -> Self {
        match self.n_classes {
            Some(other) if other != n => Self {
                notes: vec![format!(
                    "config.json beside the file is for {other} classes, not {n}; left alone"
                )],
                ..Self::default()
            },
            Some(_) => {
                let parts =
                    [(self.pictures.is_some(), "pre-processing"), (self.classes.is_some(), "class names")];
                let told: Vec<&str> = parts.iter().filter(|p| p.0).map(|p| p.1).collect();
                if !told.is_empty() {
                    self.notes.push(format!("{} from config.json beside the file", told.join(" and ")));
                }
                self
            }
            None => self,
        }
    }

    fn timm(&mut self, config: &Value) {
        let of = config.get("pretrained_cfg").unwrap_or(config);
        if of.get("crop_pct").is_none() || config.get("model_type").is_some() {
            return;
        }
        self.n_classes = [config, of].iter().find_map(|v| number(v.get("num_classes")?));
        let names = [config, of].iter().find_map(|v| v.get("label_names")?.as_array().cloned());
        self.classes =
            names.and_then(|n| self.named(n.iter().map(|v| v.as_str().map(str::to_owned)).collect()));
        let size = of.get("input_size").and_then(|v| match v.as_array()?.as_slice() {
            [_, h, w] => Some((number(h)?, number(w)?)),
            _ => None,
        });
        let squeezed = of.get("crop_mode").and_then(Value::as_str) == Some("squash");
        let fraction = of.get("crop_pct").and_then(Value::as_f64).filter(|f| *f > 0.0 && *f <= 1.0);
        let interpolation = of.get("interpolation").and_then(Value::as_str).and_then(|name| match name {
            "bilinear" => Some(Interpolation::Bilinear),
            "bicubic" => Some(Interpolation::Bicubic),
            _ => None,
        });
        match (fraction, interpolation, numbers(of.get("mean")), numbers(of.get("std"))) {
            (Some(fraction), Some(interpolation), Some(mean), Some(std)) => {
                let resize = if squeezed { Fraction::Squeezed } else { Fraction::Of(fraction) };
                self.pictures = Some(Pictures { size, resize, interpolation, mean, std });
            }
            _ => self.notes.push(
                "config.json beside the file has no usable crop_pct, interpolation, mean and std; left alone"
                    .into(),
            ),
        }
    }

    fn transformers(&mut self, config: &Value) {
        let Some(names) = config.get("id2label").and_then(Value::as_object) else { return };
        self.n_classes = Some(names.len());
        let name = |i: usize| names.get(&i.to_string()).and_then(|v| v.as_str()).map(str::to_owned);
        // Numbered by the library itself, where nobody named them.
        let unnamed = name(0).is_some_and(|n| n == "LABEL_0");
        let all = (0..names.len()).map(name).collect();
        self.classes = if unnamed { None } else { self.named(all) };
    }

    fn named(&self, names: Option<Vec<String>>) -> Option<Vec<String>> {
        names.filter(|names| self.n_classes == Some(names.len()))
    }
}

impl Pictures {
    /// For a network of these rows, columns and channels. timm and transformers round the shorter side down.
    pub(crate) fn at(&self, height: usize, width: usize, channels: usize) -> Preprocessing {
        let resize = match self.resize {
            Fraction::Squeezed => Resize::Exact(height, width),
            Fraction::Of(share) => {
                Resize::ShortSide((height.max(width) as f64 / share + 1e-6).floor() as usize)
            }
        };
        let (mean, std) = (self.mean.clone(), self.std.clone());
        Preprocessing {
            resize,
            interpolation: self.interpolation,
            ..Preprocessing::exact(height, width, mean, std)
        }
        .for_channels(channels)
    }
}

/// transformers' image processors: of ConvNeXT (which ResNets use: `size` is cut out), and of ViT (`crop_size` is).
fn of_processor(json: &Value) -> Option<Pictures> {
    let side = |v: &Value| number(v).or_else(|| number(v.get("shortest_edge").or(v.get("height"))?));
    let size = side(json.get("size")?)?;
    let crop = json.get("crop_size").and_then(side);
    let (crop, share) = match (crop, json.get("crop_pct").and_then(Value::as_f64)) {
        (Some(crop), _) => (crop, crop as f64 / size.max(1) as f64),
        (None, share) => (size, share.unwrap_or(1.0)),
    };
    let interpolation = match json.get("resample").and_then(number) {
        Some(2) => Interpolation::Bilinear,
        Some(3) => Interpolation::Bicubic,
        _ => return None,
    };
    let resize = Fraction::Of(Some(share).filter(|s| *s > 0.0 && *s <= 1.0)?);
    let (mean, std) = (numbers(json.get("image_mean"))?, numbers(json.get("image_std"))?);
    Some(Pictures { size: Some((crop, crop)), resize, interpolation, mean, std })
}

fn number(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok().filter(|n| (1..=1 << 20).contains(n))
}

fn numbers(value: Option<&Value>) -> Option<Vec<f32>> {
    let all: Option<Vec<f32>> = value?.as_array()?.iter().map(|v| v.as_f64().map(|v| v as f32)).collect();
    all.filter(|v| !v.is_empty())
}

/// A file of JSON, if it is there; what is wrong with it becomes a note.
fn read(path: &Path, notes: &mut Vec<String>) -> Option<Value> {
    let name = path.file_name()?.to_string_lossy();
    let length = std::fs::metadata(path).ok().filter(|m| m.is_file())?.len();
    if length > MAX_BYTES {
        notes.push(format!("{name} beside the file has {length} bytes, which is no description; left alone"));
        return None;
    }
    match std::fs::read(path).map_err(|e| e.to_string()).and_then(|b| parse(&b)) {
        Ok(json) => Some(json),
        Err(why) => {
            notes.push(format!("{name} beside the file is left alone: {why}"));
            None
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}
