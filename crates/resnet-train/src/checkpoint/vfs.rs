//! The file operations that checkpoints are made of.
//!
//! They are behind a trait so that tests can fail the n-th call and can enumerate what a crash may leave.

use std::fmt::Debug;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A file being written.
pub trait FileWriter: Write {
    /// Returns when everything written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system.
pub trait Vfs: Debug + Send + Sync {
    /// Creates a directory and those above it; one that is there is fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Creates a file, or empties one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>>;
    /// Returns when the entries of a directory are on the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file or directory another name, atomically. A file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a directory and everything in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Reads a file of at most `limit` bytes; a longer one is an error of kind [`io::ErrorKind::InvalidData`].
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// Names of the entries of a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdVfs;

impl FileWriter for fs::File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Vfs for StdVfs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        Ok(Box::new(fs::File::create(path)?))
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(()) // directories cannot be opened there; the system writes their entries in order
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        let too_long = || io::Error::new(io::ErrorKind::InvalidData, format!("longer than {limit} bytes"));
        if size > limit {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        // A file of gigabytes that does not fit is an error, not an abort.
        bytes.try_reserve_exact(size as usize).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(path)?.map(name).collect()
    }
}

/// Writes a file so that a crash leaves the old one or the new one: under another name, synced, then renamed.
///
/// # Errors
/// The path that failed, what was tried, and what the system said.
pub fn replace(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let (dir, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or_default());
    let temporary = dir.join(format!(".tmp-{}", name.to_string_lossy()));
    write_synced(vfs, &temporary, bytes)?;
    vfs.rename(&temporary, path).map_err(failed(path, "rename to"))?;
    vfs.sync_dir(dir).map_err(failed(dir, "sync"))
}

/// Writes a file and waits until it is on the disk. Its entry in the directory may not be yet.
pub(super) fn write_synced(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let mut file = vfs.create(path).map_err(failed(path, "create"))?;
    file.write_all(bytes).map_err(failed(path, "write"))?;
    file.flush().map_err(failed(path, "write"))?;
    file.sync().map_err(failed(path, "sync"))
}

/// An operation that the file system refused.
#[derive(Debug)]
pub struct Failed {
    /// The file or directory.
    pub path: PathBuf,
    /// What was tried.
    pub action: &'static str,
    /// What the system said.
    pub source: io::Error,
}

pub(super) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Failed {
    let path = path.to_owned();
    move |source| Failed { path, action, source }
}

impl From<Failed> for crate::Error {
    fn from(f: Failed) -> Self {
        crate::Error::Io { path: f.path, action: f.action, source: f.source }
    }
}
