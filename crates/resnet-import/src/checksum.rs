//! The digest in a file's name, as PyTorch Hub writes it: `resnet18-f37072fd.pth`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Compares the name's digest with the file's. A line for the report, or nothing if the name has none.
///
/// # Errors
/// [`Error::Checksum`] if they differ; [`Error::File`] if the file cannot be read. Eight decimal digits may be a date: then a
/// difference is only a line.
pub(crate) fn verify(path: &Path) -> Result<Option<String>> {
    let Some(wanted) = path.file_name().and_then(|name| name.to_str()).and_then(digest_in) else {
        return Ok(None);
    };
    let found = sha256(path)?;
    let found = &found[..wanted.len()];
    if found == wanted {
        return Ok(Some(format!("SHA-256 begins {wanted}, as the name says")));
    }
    if wanted.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Some(format!("{wanted} in the name is not the file's SHA-256; taken for a date")));
    }
    Err(Error::Checksum { path: path.to_owned(), found: found.to_owned(), wanted: wanted.to_owned() })
}

/// Eight or more hexadecimal digits between the last hyphen and the first dot behind it.
fn digest_in(name: &str) -> Option<&str> {
    let digest = name.rsplit_once('-')?.1.split('.').next()?;
    let hex = digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (hex && (8..=64).contains(&digest.len())).then_some(digest)
}

/// SHA-256 of a file in hexadecimal; of a folder, that of its files one after the other, by name.
///
/// # Errors
/// [`Error::File`] if it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let at = |e: std::io::Error| Error::File { path: path.to_owned(), why: format!("cannot list: {e}") };
        let entries: std::io::Result<Vec<_>> = std::fs::read_dir(path).map_err(at)?.collect();
        files = entries.map_err(at)?.into_iter().map(|e| e.path()).filter(|p| p.is_file()).collect();
        files.sort();
    }
    for file in files {
        add(&mut digest, &file)?;
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn add(digest: &mut Sha256, path: &Path) -> Result<()> {
    let at = |e: std::io::Error| Error::File { path: path.to_owned(), why: format!("cannot read: {e}") };
    let mut file = File::open(path).map_err(at)?;
    let mut chunk = vec![0; 1 << 18];
    loop {
        match file.read(&mut chunk).map_err(at)? {
            0 => return Ok(()),
            n => digest.update(&chunk[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_told_from_other_words() {
        assert_eq!(digest_in("resnet18-f37072fd.pth"), Some("f37072fd"));
        assert_eq!(digest_in("a-b-0676ba61.tar.gz"), Some("0676ba61"));
        for name in ["resnet18.pth", "my-model.pth", "x-abc.pth", "x-F37072FD.pth", "x-f37072fdz.pth"] {
            assert_eq!(digest_in(name), None, "{name}");
        }
    }

    #[test]
    fn a_wrong_digest_is_refused_and_a_date_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, b"abc").expect("writes");
            path
        };
        assert!(verify(&at("x-ba7816bf.pth")).is_ok_and(|line| line.is_some()));
        assert!(matches!(verify(&at("x-ba7816be.pth")), Err(Error::Checksum { .. })));
        assert!(verify(&at("x-20240101.pth")).is_ok());
        assert!(verify(&at("x.pth")).is_ok_and(|line| line.is_none()));
    }
}
