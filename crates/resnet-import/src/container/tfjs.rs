//! TensorFlow.js layers models: `model.json` lists tensors, and the shards beside it hold their bytes.
//!
//! The shards are laid end to end and cut in the order of the list; a tensor may cross from one shard into the next.
//! Source: the `weightsManifest` of the TensorFlow.js `model.json` format.

use std::fs::File;
use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::Value;

use super::{Archive, Element, Entry, Format, MAX_TENSORS, Stream};
use crate::error::Why;

/// Longest `model.json` that is read. That of a deep network has under a megabyte.
const MAX_JSON_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "weightsManifest")]
    manifest: Vec<Group>,
    #[serde(rename = "modelTopology", default)]
    topology: Value,
}

#[derive(Deserialize)]
struct Group {
    paths: Vec<String>,
    weights: Vec<Weight>,
}

#[derive(Deserialize)]
struct Weight {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    #[serde(default)]
    quantization: Option<Value>,
}

pub(super) fn open(mut json: Stream, folder: &Path) -> Why<Archive> {
    if json.len() > MAX_JSON_BYTES {
        return Err(format!("{} bytes of JSON, at most {MAX_JSON_BYTES} wanted", json.len()));
    }
    let text = json.head(json.len() as usize)?;
    let model: Model = serde_json::from_slice(&text)
        .map_err(|e| format!("not a TensorFlow.js model.json with a `weightsManifest`: {e}"))?;

    // The JSON is the first part of the stream; shards follow.
    let mut stream = json;
    let mut entries: Vec<Entry> = vec![];
    for group in &model.manifest {
        let mut position = stream.len();
        for path in &group.paths {
            let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
            if !plain || path.is_empty() {
                return Err(format!("shard `{path}` lies outside the model's folder"));
            }
            let shard = folder.join(path);
            let file =
                File::open(&shard).map_err(|e| format!("cannot open shard {}: {e}", shard.display()))?;
            stream.append(Box::new(file))?;
        }
        for w in &group.weights {
            if entries.len() == MAX_TENSORS {
                return Err(format!("more than {MAX_TENSORS} tensors"));
            }
            let element = match (w.dtype.as_str(), &w.quantization) {
                ("float32", None) => Element::F32,
                ("int32", None) => Element::I32,
                ("bool", None) => Element::Bool,
                (_, Some(how)) => {
                    return Err(format!(
                        "tensor `{}` is quantised ({how}); convert the model without",
                        w.name
                    ));
                }
                (other, None) => return Err(format!("tensor `{}` has type {other}, float32 wanted", w.name)),
            };
            let entry = Entry::dense(w.name.clone(), w.shape.clone(), element, position)?;
            entry.check(stream.len())?;
            position += (entry.len() * element.size()) as u64;
            entries.push(entry);
        }
        if position != stream.len() {
            return Err(format!(
                "the tensors take {} bytes less than the shards have",
                stream.len() - position
            ));
        }
    }
    Ok(Archive {
        format: Format::TensorFlowJs,
        entries,
        stream,
        metadata: Default::default(),
        norm_eps: epsilon(&model.topology)?,
    })
}

/// As [`epsilon`], from the JSON text by which Keras describes a model.
pub(super) fn epsilon_in_text(json: &[u8]) -> Why<Option<f32>> {
    let topology =
        serde_json::from_slice(json).map_err(|e| format!("the model's description is no JSON: {e}"))?;
    epsilon(&topology)
}

/// The epsilon of the normalisation layers, which must be the same in all.
fn epsilon(topology: &Value) -> Why<Option<f32>> {
    let config = topology.pointer("/model_config/config").or_else(|| topology.pointer("/config"));
    let layers = config.map(|c| c.get("layers").unwrap_or(c)).and_then(Value::as_array);
    let mut found: Option<f64> = None;
    for layer in layers.into_iter().flatten() {
        let is_norm = layer.get("class_name").and_then(Value::as_str) == Some("BatchNormalization");
        let Some(eps) = layer.pointer("/config/epsilon").and_then(Value::as_f64).filter(|_| is_norm) else {
            continue;
        };
        if found.is_some_and(|other| other != eps) {
            return Err(format!("its normalisations have different epsilons, such as {eps} and {found:?}"));
        }
        found = Some(eps);
    }
    Ok(found.map(|eps| eps as f32))
}
