//! Files that are made once and kept: compiled kernels, by a name that says what they were made from.

use std::path::{Path, PathBuf};

use resnet_core::{Error, Result};
use sha2::{Digest, Sha256};

/// A name for everything that a file depends on: a hash of all parts.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // Each part goes in with its length, so that no two lists of parts look alike.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of a kind of files: below `RESNET_CACHE_DIR`, or else `resnet` in the user's cache (`XDG_CACHE_HOME`, `~/.cache`).
/// Where none of these is set, files are kept for this process only.
pub fn folder(kind: &str) -> PathBuf {
    let dir = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || dir("XDG_CACHE_HOME").or_else(|| dir("HOME").map(|home| home.join(".cache")));
    let base = dir("RESNET_CACHE_DIR").or_else(|| user().map(|cache| cache.join("resnet")));
    base.unwrap_or_else(|| std::env::temp_dir().join(format!("resnet-{}", std::process::id()))).join(kind)
}

/// The file of this name, made by `make` if it is not there. Another process never sees it half written:
/// it is made under a name of its own and then renamed.
///
/// # Errors
/// What `make` says; [`Error::Device`] with the path if the folder cannot be written.
pub fn file(kind: &str, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = folder(kind);
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    let io = |error: std::io::Error| Error::Device {
        backend: crate::NAME,
        action: format!("the cache {}: {error}; RESNET_CACHE_DIR names another place", folder.display()),
    };
    std::fs::create_dir_all(&folder).map_err(io)?;
    let own = folder.join(format!("{}-{name}", std::process::id()));
    make(&own)?;
    std::fs::rename(&own, &path).map_err(io)?;
    Ok(path)
}
