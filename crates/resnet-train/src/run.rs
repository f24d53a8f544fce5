//! The directory of a run, and the right to write to it.
//!
//! ```text
//! runs/first/
//! ├── recipe.toml          the effective recipe
//! ├── metrics.jsonl        one line per log interval and epoch
//! ├── model.safetensors    the best weights so far, with all that is needed to use them
//! └── checkpoints/         the last ones and the best one, to go on from
//! ```

use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::Store;
use crate::checkpoint::vfs::{StdVfs, Vfs, replace};
use crate::metrics::Log;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// A run directory that this process may write to, as long as this value lives.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    vfs: Arc<dyn Vfs>,
    /// Locked by the operating system until it is closed, however the process ends.
    _lock: File,
}

impl RunDir {
    /// Starts a run in a new or empty directory.
    ///
    /// # Errors
    /// [`Error::RunDir`] if it holds a run already, [`Error::RunTaken`] if another process writes there,
    /// [`Error::Io`] if it cannot be written.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if Self::holds_run(&path) {
            let why = "holds a run already; resume it or choose another directory".into();
            return Err(Error::RunDir { path, why });
        }
        Self::open(path)
    }

    /// Opens a run to go on with it.
    ///
    /// # Errors
    /// [`Error::RunDir`] if there is none, [`Error::RunTaken`] if another process writes there.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !Self::holds_run(&path) {
            let why = "holds no run to resume: there is no recipe.toml".into();
            return Err(Error::RunDir { path, why });
        }
        Self::open(path)
    }

    /// Whether a directory holds a run.
    pub fn holds_run(path: &Path) -> bool {
        path.join("recipe.toml").exists()
    }

    /// As [`RunDir::create`] or [`RunDir::resume`], on another file system than the operating system's.
    /// The lock and the log stay with the operating system.
    pub fn with_vfs(mut self, vfs: Arc<dyn Vfs>) -> Self {
        self.vfs = vfs;
        self
    }

    fn open(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path).map_err(Error::io(&path, "create"))?;
        let lock = lock(&path)?;
        let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
        // The directory's own entry, so that no power cut takes the run as a whole.
        if let Some(parent) = std::path::absolute(&path).ok().as_deref().and_then(Path::parent) {
            vfs.sync_dir(parent).map_err(Error::io(parent, "sync"))?;
        }
        Ok(Self { path, vfs, _lock: lock })
    }

    /// Whether there is a checkpoint to go on from, good or not.
    pub fn has_checkpoint(&self) -> bool {
        std::fs::read_dir(self.path.join("checkpoints")).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The recipe this run was started with.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn recipe(&self) -> Result<Recipe> {
        Recipe::read(&self.path.join("recipe.toml"))
    }

    /// Where the log is.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Where the best weights are.
    pub fn model_path(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    pub(crate) fn save_recipe(&self, recipe: &Recipe) -> Result<()> {
        self.replace("recipe.toml", recipe.to_toml()?.as_bytes())
    }

    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(replace(self.vfs.as_ref(), &self.path.join(name), bytes)?)
    }

    pub(crate) fn store(&self, keep: usize) -> Store {
        Store::new(self.vfs.clone(), self.path.join("checkpoints"), keep)
    }

    pub(crate) fn log(&self, bytes: u64) -> Result<Log> {
        Log::open(&self.metrics_path(), bytes)
    }
}

/// Tries for a moment: where this process has just started another one, that one holds a copy of every lock until it has
/// become its own program, also of a lock that was given back here.
fn patient_lock(file: &File) -> std::result::Result<(), TryLockError> {
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..25 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
    file.try_lock()
}

/// Takes the lock, or says who has it.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io(&path, "open"))?;
    match patient_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = std::fs::read_to_string(&path).unwrap_or_default();
            let owner = if owner.is_empty() { "unknown".into() } else { owner.trim().to_owned() };
            return Err(Error::RunTaken { path: dir.to_owned(), owner });
        }
        Err(TryLockError::Error(e)) => return Err(Error::io(&path, "lock")(e)),
    }
    let written = (|| {
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "process {}", std::process::id())
    })();
    written.map_err(Error::io(&path, "write"))?;
    Ok(file)
}
