//! Parameters and optimizer state as one safetensors file: weights under torchvision's names, state n of `x` as `optimizer.n.x`.

use std::io::Cursor;

use resnet_core::weights::{Entry, Metadata, Reader, Writer};
use resnet_core::{Backend, ParamId, Params, Part};

use crate::Result;

/// Every tensor that training changes, by name.
fn parts<B: Backend>(params: &Params<B>) -> Vec<(String, ParamId, Part)> {
    let mut parts = vec![];
    for (i, (spec, param)) in params.specs().iter().zip(&params.list).enumerate() {
        if spec.kind.is_saved() {
            parts.push((spec.name.clone(), ParamId(i), Part::Value));
        }
        for n in (0..param.states.len()).filter(|n| param.states[*n].is_some()) {
            parts.push((format!("optimizer.{n}.{}", spec.name), ParamId(i), Part::State(n)));
        }
    }
    parts
}

/// The file, or the name of the first tensor that has a value which is no number.
pub(crate) fn write_tensors<B: Backend>(
    backend: &mut B,
    params: &Params<B>,
) -> Result<Result<Vec<u8>, String>> {
    let parts = parts(params);
    let shape = |id: ParamId| params.specs()[id.0].shape.as_slice();
    let entries = parts.iter().map(|(name, id, _)| Entry::f32(name, shape(*id))).collect();
    let n_elements: usize = parts.iter().map(|(_, id, _)| params.specs()[id.0].len()).sum();
    let mut writer = Writer::new(Vec::with_capacity(4 * n_elements + (1 << 16)), entries, &Metadata::new())?;
    for (name, id, part) in &parts {
        let values = params.read(backend, *id, *part)?;
        if values.iter().any(|v| !v.is_finite()) {
            return Ok(Err(name.clone()));
        }
        writer.write_f32(name, &values)?;
    }
    Ok(Ok(writer.finish()?))
}

/// Restores what [`write_tensors`] wrote: all tensors and no others.
pub(crate) fn read_tensors<B: Backend>(backend: &mut B, params: &mut Params<B>, file: &[u8]) -> Result<()> {
    let mut reader = Reader::new(Cursor::new(file))?;
    let parts = parts(params);
    for (name, id, part) in &parts {
        let found = reader.read(name)?;
        let wanted = &params.specs()[id.0].shape;
        if found.shape() != wanted {
            return Err(differs(name, format!("{:?}", found.shape()), format!("{wanted:?}")));
        }
        params.write(backend, *id, *part, &found.into_raw_vec_and_offset().0)?;
    }
    let known = |name: &&String| parts.iter().any(|(n, ..)| n == *name);
    match reader.header().tensors.keys().find(|name| !known(name)) {
        Some(name) => Err(differs(name, "a tensor".into(), "none of this name".into())),
        None => Ok(()),
    }
}

fn differs(name: &str, found: String, wanted: String) -> crate::Error {
    resnet_core::Error::Mismatch { tensor: name.to_owned(), found, wanted }.into()
}
