//! Machine code on disk, by the hash of everything it depends on.
//!
//! A file is written under a temporary name and renamed, so a reader sees all of it or nothing.
//! It begins with the hash of what follows, so a file that was damaged later is compiled anew.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Cubin, Unit};
use crate::probe::DriverVersion;

/// Changes when the form of the files does.
const FORMAT: &str = "resnet-cuda cubin 1";

/// Bytes of a SHA-256.
const HASH: usize = 32;

/// A folder of compiled kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in this folder, which is made when something is stored.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Cache { folder: folder.into() }
    }

    /// The usual cache of this crate; see [`cache::folder`](crate::cache::folder).
    pub fn usual() -> Self {
        Cache::at(crate::cache::folder("kernels"))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was stored under the key and is undamaged.
    pub fn get(&self, key: &str) -> Option<Cubin> {
        let file = fs::read(self.path(key)).ok()?;
        let (hash, rest) = file.split_at_checked(HASH)?;
        if Sha256::digest(rest).as_slice() != hash {
            return None;
        }
        let (length, rest) = rest.split_at_checked(size_of::<u64>())?;
        let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (log, code) = rest.split_at_checked(length)?;
        Some(Cubin { code: code.to_vec(), log: String::from_utf8(log.to_vec()).ok()? })
    }

    /// Stores under the key. A folder that cannot be written costs the next start time, and nothing else.
    pub fn put(&self, key: &str, cubin: &Cubin) {
        let mut rest = (cubin.log.len() as u64).to_le_bytes().to_vec();
        rest.extend_from_slice(cubin.log.as_bytes());
        rest.extend_from_slice(&cubin.code);
        let mut file = Sha256::digest(&rest).to_vec();
        file.extend(rest);
        let temporary = self.folder.join(format!("{key}.{}.tmp", std::process::id()));
        let written = fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(&temporary, &file))
            .and_then(|()| fs::rename(&temporary, self.path(key)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.cubin"))
    }
}

/// The hash of everything that machine code depends on: source, headers, options (architecture and macros among them), compiler.
pub fn key(unit: &Unit, options: &[String], compiler: DriverVersion) -> String {
    let compiler = compiler.to_string();
    let before = [FORMAT, &compiler];
    crate::cache::key(before.into_iter().chain(unit.texts()).chain(options.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::super::{Arch, options::options};
    use super::*;

    fn cubin() -> Cubin {
        Cubin { code: vec![1, 2, 3], log: "ptxas info\n".to_owned() }
    }

    #[test]
    fn comes_back_and_damage_is_seen() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let cache = Cache::at(dir.path().join("new/folder"));
        assert_eq!(cache.get("k"), None);
        cache.put("k", &cubin());
        assert_eq!(cache.get("k"), Some(cubin()));
        assert_eq!(fs::read_dir(cache.folder()).expect("listed").count(), 1, "no temporary file is left");

        let path = cache.path("k");
        let whole = fs::read(&path).expect("read");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("written");
            assert_eq!(cache.get("k"), None, "cut to {length} bytes");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        fs::write(&path, flipped).expect("written");
        assert_eq!(cache.get("k"), None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("written");
        let cache = Cache::at(file.join("below"));
        cache.put("k", &cubin());
        assert_eq!(cache.get("k"), None);
    }

    #[test]
    fn key_depends_on_everything() {
        let unit = Unit { name: "a.cu", text: "x", headers: &[("h", "t")], macros: vec![] };
        let version = |minor| DriverVersion { major: 13, minor };
        let of = |unit: &Unit, arch, minor| key(unit, &options(unit, arch), version(minor));
        let base = of(&unit, Arch::SM_80, 0);
        assert_eq!(base, of(&unit.clone(), Arch::SM_80, 0));
        let changed = [
            of(&unit, Arch::SM_90A, 0),
            of(&unit, Arch::SM_80, 1),
            of(&Unit { name: "b.cu", ..unit.clone() }, Arch::SM_80, 0),
            of(&Unit { text: "y", ..unit.clone() }, Arch::SM_80, 0),
            of(&Unit { headers: &[("ht", "")], ..unit.clone() }, Arch::SM_80, 0),
            of(&Unit { macros: vec![("A", "1".to_owned())], ..unit.clone() }, Arch::SM_80, 0),
        ];
        for (i, other) in changed.iter().enumerate() {
            assert_ne!(*other, base, "{i}");
        }
    }
}
