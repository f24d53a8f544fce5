//! Where the bytes of picture files lie: in a folder, inside archives, or unpacked from something that has no random access.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// Largest picture file that is read. A camera's JPEG has ten million bytes.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 20;

/// Bytes that are unpacked into memory before a temporary file takes the rest.
const MAX_KEPT_BYTES: usize = 1 << 30;

/// The content of picture files by number. Read from several threads at once.
pub(super) trait Files: Send + Sync + std::fmt::Debug {
    /// Reads a file.
    fn read(&self, file: usize) -> Result<Vec<u8>>;

    /// What to call it in messages.
    fn name(&self, file: usize) -> String;

    /// What identifies it wherever the whole set is moved: its name inside the set, and its size.
    fn identity(&self, file: usize) -> (String, u64);
}

/// Files in a folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Relative to the root, and sizes.
    files: Vec<(PathBuf, u64)>,
}

impl Folder {
    pub(super) fn new(root: &Path, files: Vec<(PathBuf, u64)>) -> Self {
        Self { root: root.to_owned(), files }
    }
}

impl Files for Folder {
    fn read(&self, file: usize) -> Result<Vec<u8>> {
        let path = self.root.join(&self.files[file].0);
        let mut bytes = vec![];
        let open = File::open(&path).map_err(Error::io(&path, "open"))?;
        open.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(&path, "read"))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(Error::picture(self.name(file), format!("more than {MAX_FILE_BYTES} bytes")));
        }
        Ok(bytes)
    }

    fn name(&self, file: usize) -> String {
        self.root.join(&self.files[file].0).display().to_string()
    }

    fn identity(&self, file: usize) -> (String, u64) {
        let (path, bytes) = &self.files[file];
        // With one separator on all systems.
        let parts: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy()).collect();
        (parts.join("/"), *bytes)
    }
}

/// Files that lie as they are inside larger ones.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    archives: Vec<(PathBuf, Mutex<File>)>,
    entries: Vec<Range>,
}

#[derive(Debug)]
struct Range {
    archive: usize,
    name: String,
    start: u64,
    len: u64,
}

impl Ranges {
    /// Adds an archive; what is added next lies in it.
    pub(super) fn open(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        self.archives.push((path.to_owned(), Mutex::new(file)));
        Ok(())
    }

    /// Adds a file in the archive opened last; returns its number.
    pub(super) fn push(&mut self, name: String, start: u64, len: u64) -> usize {
        self.entries.push(Range { archive: self.archives.len().saturating_sub(1), name, start, len });
        self.entries.len() - 1
    }
}

impl Files for Ranges {
    fn read(&self, file: usize) -> Result<Vec<u8>> {
        let Range { archive, start, len, .. } = self.entries[file];
        let (path, archive) = &self.archives[archive];
        let mut bytes = vec![0; len as usize]; // at most MAX_FILE_BYTES, checked when listed
        let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner); // its position is set anew each time
        archive
            .seek(SeekFrom::Start(start))
            .and_then(|_| archive.read_exact(&mut bytes))
            .map_err(Error::io(path, "read"))?;
        Ok(bytes)
    }

    fn name(&self, file: usize) -> String {
        let entry = &self.entries[file];
        format!("{}: {}", self.archives[entry.archive].0.display(), entry.name)
    }

    fn identity(&self, file: usize) -> (String, u64) {
        (self.entries[file].name.clone(), self.entries[file].len)
    }
}

/// Files that were unpacked: into memory, and beyond a limit into a temporary file that goes away with this value.
#[derive(Debug)]
pub(super) struct Kept {
    origin: String,
    memory: Vec<u8>,
    spilled: Option<Mutex<File>>,
    spilled_bytes: u64,
    limit: usize,
    /// Names, positions and lengths. Positions count on from memory into the file.
    entries: Vec<(String, u64, usize)>,
}

impl Kept {
    /// Nothing yet. `origin` is for messages.
    pub(super) fn new(origin: &Path) -> Self {
        Self::with_limit(origin, MAX_KEPT_BYTES)
    }

    fn with_limit(origin: &Path, limit: usize) -> Self {
        Self {
            origin: origin.display().to_string(),
            memory: vec![],
            spilled: None,
            spilled_bytes: 0,
            limit,
            entries: vec![],
        }
    }

    /// Keeps a file; returns its number.
    pub(super) fn push(&mut self, name: String, bytes: &[u8]) -> Result<usize> {
        if self.spilled.is_none() && self.memory.len() + bytes.len() <= self.limit {
            self.entries.push((name, self.memory.len() as u64, bytes.len()));
            self.memory.extend_from_slice(bytes);
            return Ok(self.entries.len() - 1);
        }
        let place = std::env::temp_dir();
        let file = match self.spilled.take() {
            Some(file) => file,
            None => Mutex::new(tempfile::tempfile().map_err(Error::io(&place, "make a temporary file in"))?),
        };
        let mut open = file.lock().unwrap_or_else(PoisonError::into_inner);
        open.write_all(bytes).map_err(Error::io(&place, "write a temporary file in"))?;
        drop(open);
        self.spilled = Some(file);
        let start = self.memory.len() as u64 + self.spilled_bytes;
        self.entries.push((name, start, bytes.len()));
        self.spilled_bytes += bytes.len() as u64;
        Ok(self.entries.len() - 1)
    }
}

impl Files for Kept {
    fn read(&self, file: usize) -> Result<Vec<u8>> {
        let (_, start, len) = self.entries[file];
        let Some(beyond) = start.checked_sub(self.memory.len() as u64) else {
            return Ok(self.memory[start as usize..][..len].to_vec());
        };
        let mut bytes = vec![0; len];
        let Some(spilled) = &self.spilled else { return Ok(bytes) }; // an empty file at the very end of memory
        let mut open = spilled.lock().unwrap_or_else(PoisonError::into_inner);
        open.seek(SeekFrom::Start(beyond))
            .and_then(|_| open.read_exact(&mut bytes))
            .map_err(Error::io(&std::env::temp_dir(), "read a temporary file in"))?;
        Ok(bytes)
    }

    fn name(&self, file: usize) -> String {
        format!("{}: {}", self.origin, self.entries[file].0)
    }

    fn identity(&self, file: usize) -> (String, u64) {
        (self.entries[file].0.clone(), self.entries[file].2 as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_memory_is_spilled_and_read_back() {
        let mut kept = Kept::with_limit("archive".as_ref(), 10);
        let files: Vec<Vec<u8>> = (0..6u8).map(|i| vec![i; usize::from(i) + 1]).collect();
        for (i, bytes) in files.iter().enumerate() {
            assert_eq!(kept.push(format!("file {i}"), bytes).unwrap(), i);
        }
        assert_eq!((kept.memory.len(), kept.spilled_bytes), (10, 11));
        for i in [5, 0, 4, 3, 1, 2] {
            assert_eq!(kept.read(i).unwrap(), files[i]);
        }
        assert_eq!(kept.identity(4), ("file 4".into(), 5));
    }
}
