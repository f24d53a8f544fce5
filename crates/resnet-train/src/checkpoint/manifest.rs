//! What a checkpoint directory must hold: sizes and checksums, written last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::Fingerprint;

/// Version of the layout of a checkpoint directory.
pub const FORMAT: u32 = 1;

/// Name of the manifest's file.
pub(super) const FILE: &str = "manifest.json";

/// Largest manifest that is read.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Sizes and checksums of all other files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: u32,
    pub(super) files: BTreeMap<String, Entry>,
}

/// Size and checksum of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Entry {
    pub(super) fn of(content: &[u8]) -> Self {
        let sha256 = Fingerprint(Sha256::digest(content).into()).to_string();
        Self { bytes: content.len() as u64, sha256 }
    }
}

/// Reads JSON that says its version in `format`: an unknown version is refused before anything else is looked at.
pub(super) fn versioned<T: serde::de::DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let not_json = |e: serde_json::Error| format!("{file}: {e}");
    let Version { format } = serde_json::from_slice(bytes).map_err(not_json)?;
    if format != FORMAT {
        return Err(format!("{file} has format {format}; this program reads format {FORMAT}"));
    }
    serde_json::from_slice(bytes).map_err(not_json)
}
