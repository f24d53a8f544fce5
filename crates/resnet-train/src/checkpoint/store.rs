//! A directory of checkpoints that survives what happens to it.
//!
//! A save writes `.tmp-<pid>-<step>/`: every file, synced, the manifest last; syncs that directory; renames it to
//! `step-0000123/`; syncs the parent; reads it back; writes `LATEST`; and only then removes old ones.
//! So at any moment the newest directory whose manifest holds is a whole checkpoint. `LATEST` is a hint for people.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{self, Entry, Manifest};
use super::vfs::{Vfs, failed, replace, write_synced};
use crate::{Error, Result};

/// Content of one file of a checkpoint, by name.
pub type Content = Vec<(String, Vec<u8>)>;

/// A directory of checkpoints.
#[derive(Clone, Debug)]
pub struct Store {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    keep: usize,
}

/// A checkpoint that was read and verified.
#[derive(Debug)]
pub struct Found {
    /// Its step.
    pub step: u64,
    /// Its directory.
    pub path: PathBuf,
    /// Its files.
    pub content: Content,
}

/// What looking for the newest checkpoint found.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest good one.
    pub found: Option<Found>,
    /// Newer ones that did not verify, the newest first. They are left in place.
    pub rejected: Vec<Error>,
}

impl Store {
    /// A store in `dir`, which is made by the first save. The last `keep` checkpoints stay, at least 2.
    pub fn new(vfs: Arc<dyn Vfs>, dir: impl Into<PathBuf>, keep: usize) -> Self {
        Self { vfs, dir: dir.into(), keep: keep.max(2) }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of a step's checkpoint.
    pub fn path_of(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step:07}"))
    }

    /// Saves a checkpoint, verifies it, and removes old ones but the step `best`.
    ///
    /// # Errors
    /// [`Error::Io`] with the path; the checkpoints that were there are as before. Failing to remove old ones is no error.
    pub fn save(&self, step: u64, files: &[(&str, &[u8])], best: Option<u64>) -> Result<PathBuf> {
        let path = self.path_of(step);
        let temporary = self.write_temporary(step, files)?;
        self.publish(&temporary, &path)?;
        self.verify(&path)?;
        replace(self.vfs.as_ref(), &self.dir.join("LATEST"), format!("{}\n", name(&path)).as_bytes())?;
        self.prune(step, best);
        Ok(path)
    }

    /// Reads checkpoints from the newest on until one verifies.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be listed. One that is not there holds no checkpoint.
    pub fn newest(&self) -> Result<Newest> {
        let mut newest = Newest::default();
        for step in self.steps()?.into_iter().rev() {
            match self.load(step) {
                Ok(found) => {
                    newest.found = Some(found);
                    break;
                }
                Err(why) => newest.rejected.push(why),
            }
        }
        Ok(newest)
    }

    /// Reads and verifies the checkpoint of a step.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the directory and what does not hold.
    pub fn load(&self, step: u64) -> Result<Found> {
        let path = self.path_of(step);
        let content = self.read(&path).map_err(|why| Error::checkpoint(&path, why))?;
        Ok(Found { step, path, content })
    }

    /// Steps that have a directory, in ascending order, verified or not.
    ///
    /// # Errors
    /// As [`Store::newest`].
    pub fn steps(&self) -> Result<Vec<u64>> {
        let names = match self.vfs.list(&self.dir) {
            Ok(names) => names,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(failed(&self.dir, "list")(e).into()),
        };
        let mut steps: Vec<u64> =
            names.iter().filter_map(|n| n.strip_prefix("step-")?.parse().ok()).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Removes what killed saves left. Only for who holds the lock of the run.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn sweep(&self) -> Result<()> {
        let names = self.vfs.list(&self.dir).unwrap_or_default();
        for path in
            names.iter().filter(|n| n.starts_with(".tmp-") && *n != ".tmp-LATEST").map(|n| self.dir.join(n))
        {
            self.vfs.remove_dir_all(&path).map_err(failed(&path, "remove"))?;
        }
        Ok(())
    }

    fn write_temporary(&self, step: u64, files: &[(&str, &[u8])]) -> Result<PathBuf> {
        let vfs = self.vfs.as_ref();
        let temporary = self.dir.join(format!(".tmp-{}-{step}", std::process::id()));
        let written = (|| {
            vfs.create_dir_all(&temporary).map_err(failed(&temporary, "create"))?;
            let mut entries = std::collections::BTreeMap::new();
            for (name, bytes) in files {
                write_synced(vfs, &temporary.join(name), bytes)?;
                entries.insert((*name).to_owned(), Entry::of(bytes));
            }
            let manifest = Manifest { format: manifest::FORMAT, files: entries };
            let json = serde_json::to_vec_pretty(&manifest)
                .map_err(|e| Error::checkpoint(&temporary, e.to_string()))?;
            write_synced(vfs, &temporary.join(manifest::FILE), &json)?;
            Ok(vfs.sync_dir(&temporary).map_err(failed(&temporary, "sync"))?)
        })();
        if written.is_err() {
            // Free the disk for the next try; if even that fails, the next start sweeps.
            vfs.remove_dir_all(&temporary).ok();
        }
        written.map(|()| temporary)
    }

    fn publish(&self, temporary: &Path, path: &Path) -> Result<()> {
        let vfs = self.vfs.as_ref();
        if self.vfs.list(path).is_ok() {
            // A directory of this step that is not what is saved now: cut by a fault, or of an abandoned future.
            vfs.remove_dir_all(path).map_err(failed(path, "remove"))?;
        }
        let renamed = vfs.rename(temporary, path).map_err(failed(path, "rename to"));
        if renamed.is_err() {
            vfs.remove_dir_all(temporary).ok();
        }
        renamed?;
        vfs.sync_dir(&self.dir).map_err(failed(&self.dir, "sync"))?;
        // The store's own entry, which the first save made.
        let parent = self.dir.parent().unwrap_or(Path::new("."));
        vfs.sync_dir(parent).map_err(failed(parent, "sync"))?;
        Ok(())
    }

    fn verify(&self, path: &Path) -> Result<()> {
        self.read(path).map(drop).map_err(|why| Error::checkpoint(path, why))
    }

    /// Reads all files of a directory and checks them against its manifest.
    fn read(&self, path: &Path) -> Result<Content, String> {
        let read = |file: &str, limit: u64| {
            self.vfs.read(&path.join(file), limit).map_err(|e| format!("cannot read {file}: {e}"))
        };
        let manifest: Manifest =
            manifest::versioned(manifest::FILE, &read(manifest::FILE, manifest::MAX_BYTES)?)?;
        let mut content = vec![];
        for (file, wanted) in manifest.files {
            if Path::new(&file).components().count() != 1 || file.starts_with(['.', '/']) {
                return Err(format!(
                    "{} names `{file}`, which is no file of its own directory",
                    manifest::FILE
                ));
            }
            let bytes = read(&file, wanted.bytes)?;
            let found = Entry::of(&bytes);
            if found != wanted {
                return Err(format!(
                    "{file} has {} bytes with SHA-256 {}; {} says {} bytes with {}",
                    found.bytes,
                    found.sha256,
                    manifest::FILE,
                    wanted.bytes,
                    wanted.sha256
                ));
            }
            content.push((file, bytes));
        }
        Ok(content)
    }

    /// Removes what is older than the last `keep` good ones, except the best. Bad ones do not count, and those that are
    /// newer than the last `keep` good ones stay for whoever wants to know what happened.
    fn prune(&self, saved: u64, best: Option<u64>) {
        let mut n_good = 0;
        for step in self.steps().unwrap_or_default().into_iter().rev() {
            let path = self.path_of(step);
            if n_good < self.keep {
                n_good += usize::from(step == saved || self.verify(&path).is_ok());
            } else if Some(step) != best {
                self.vfs.remove_dir_all(&path).ok(); // the next save tries again
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
