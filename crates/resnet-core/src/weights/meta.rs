//! What a weights file says about the network it is for.

use super::header::{Header, Metadata};
use crate::zoo::ResNetSpec;
use crate::{Error, Result};

/// Metadata that lets a file be used without being told its network: `arch`, the whole `spec` as JSON, and `format`, which
/// tells other readers that layouts are PyTorch's. The caller may add more, such as how pictures were normalised.
pub fn describe(spec: &ResNetSpec) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("format".into(), "pt".into());
    metadata.insert("arch".into(), spec.arch.clone());
    // A struct of numbers, strings and unit variants always serialises.
    if let Ok(json) = serde_json::to_string(spec) {
        metadata.insert("spec".into(), json);
    }
    metadata
}

/// The network a file says it is for, if it says so. Building it and [`compare`](super::compare) find out whether that is true.
///
/// # Errors
/// [`Error::Weights`] if there is a `spec` that is not one.
pub fn described_spec(header: &Header) -> Result<Option<ResNetSpec>> {
    let Some(json) = header.metadata.get("spec") else { return Ok(None) };
    serde_json::from_str(json)
        .map(Some)
        .map_err(|e| Error::Weights(format!("the metadata's `spec` does not describe a network: {e}")))
}
