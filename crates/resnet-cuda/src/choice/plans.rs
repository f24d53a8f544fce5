//! Choices on disk: what was the fastest on a device, and cuDNN's plans as text, so that neither is sought again.
//!
//! One file for each device, driver, cuDNN and version of this crate, whose kernels were timed too. A file that is damaged, or of
//! something else, is ignored and said so; the next choice replaces it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache;

/// Changes with the meaning of what is written.
const FORMAT: u32 = 2;

/// A file of choices.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plans {
    format: u32,
    /// What they hold for.
    made_for: String,
    entries: BTreeMap<String, Entry>,
    #[serde(skip)]
    path: Option<PathBuf>,
    #[serde(skip)]
    changed: bool,
}

/// What was chosen for one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The way.
    pub way: Kept,
    /// Its median time in milliseconds.
    pub ms: f32,
}

/// A way as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Ordinary units.
    Simt,
    /// Tensor cores.
    Tensor {
        /// Rows and columns of a block, by [`Tile::name`](crate::tensor::tile::Tile::name).
        tile: String,
    },
    /// A plan of cuDNN.
    Cudnn {
        /// The graph, by the name of its [`Pattern`](crate::cudnn::Pattern).
        pattern: String,
        /// cuDNN's number of the engine.
        engine: i64,
        /// The plan as cuDNN tells it.
        plan: String,
    },
}

impl Plans {
    /// The choices in a folder for a device with its driver, and a library; none where there are none. Says what was ignored.
    pub fn load(folder: Option<&Path>, device: &str, library: &str) -> (Self, Option<String>) {
        let made_for =
            format!("{device}; {library}; {} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let path =
            folder.map(|folder| folder.join(format!("{}.json", &cache::key([made_for.as_str()])[..16])));
        let empty = Plans { format: FORMAT, made_for, entries: BTreeMap::new(), path, changed: false };
        let Some(Ok(bytes)) = empty.path.as_ref().map(std::fs::read) else { return (empty, None) };
        let why = match serde_json::from_slice::<Plans>(&bytes) {
            Ok(read) if (read.format, &read.made_for) == (FORMAT, &empty.made_for) => {
                return (Plans { entries: read.entries, ..empty }, None);
            }
            Ok(read) => format!("it is of format {} and was made for {}", read.format, read.made_for),
            Err(error) => error.to_string(),
        };
        let name = empty.path.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        (empty, Some(format!("choices of earlier runs in {name} are ignored: {why}")))
    }

    /// What was chosen for a task under a choice of kernels.
    pub fn get(&self, choice: &str, task: &str) -> Option<&Entry> {
        self.entries.get(&format!("{choice}: {task}"))
    }

    /// Notes what was chosen.
    pub fn put(&mut self, choice: &str, task: &str, entry: Entry) {
        self.entries.insert(format!("{choice}: {task}"), entry);
        self.changed = true;
    }

    /// Writes the file if anything was noted. Another process never sees it half written.
    ///
    /// # Errors
    /// The file and what the system says about it.
    pub fn save(&mut self) -> Result<(), String> {
        let Some(path) = self.path.as_deref().filter(|_| self.changed) else { return Ok(()) };
        let fail = |error: &dyn std::fmt::Display| {
            format!(
                "choices cannot be kept in {}: {error}; RESNET_CACHE_DIR names another place",
                path.display()
            )
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| fail(&e))?;
        let text = serde_json::to_vec(self).map_err(|e| fail(&e))?;
        let own = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&own, text).and_then(|()| std::fs::rename(&own, path)).map_err(|e| fail(&e))?;
        self.changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_file(folder: &Path) -> PathBuf {
        let mut files =
            std::fs::read_dir(folder).expect("is a folder").map(|entry| entry.expect("is there").path());
        let file = files.next().expect("has a file");
        assert_eq!(files.next(), None);
        file
    }

    #[test]
    fn what_is_put_is_found_again_for_the_same_device_and_library_only() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let folder = dir.path().join("made when needed");
        let load = |device: &str, library: &str| Plans::load(Some(&folder), device, library);
        let cudnn = Kept::Cudnn { pattern: "forward".into(), engine: 62, plan: "{\"a\": \"plan\"}".into() };
        let entry = Entry { way: cudnn, ms: 0.25 };

        let (mut plans, ignored) = load("H200, driver 13.0", "cuDNN 9.19.0");
        assert_eq!((plans.get("auto", "a task"), ignored), (None, None));
        plans.save().expect("nothing to write");
        assert!(!folder.exists());
        plans.put("auto", "a task", entry.clone());
        plans.save().expect("written");

        let (again, ignored) = load("H200, driver 13.0", "cuDNN 9.19.0");
        assert_eq!((again.get("auto", "a task"), ignored), (Some(&entry), None));
        assert_eq!(again.get("cudnn", "a task"), None);
        for (device, library) in
            [("H200, driver 13.1", "cuDNN 9.19.0"), ("H200, driver 13.0", "cuDNN 9.20.0")]
        {
            assert_eq!(load(device, library).0.get("auto", "a task"), None);
        }
        only_file(&folder);
        assert!(Plans::load(None, "H200", "cuDNN").1.is_none());
    }

    #[test]
    fn what_is_damaged_or_stale_is_ignored_and_said() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let load = || Plans::load(Some(dir.path()), "H200", "cuDNN 9.19.0");
        let (mut plans, _) = load();
        plans.put("auto", "a task", Entry { way: Kept::Tensor { tile: "128×64".into() }, ms: 1.0 });
        plans.save().expect("written");
        let file = only_file(dir.path());
        let text = std::fs::read_to_string(&file).expect("is text");

        for (damaged, why) in [
            (text[..text.len() / 2].to_owned(), "EOF"),
            (text.replace("\"format\":2", "\"format\":7"), "of format 7"),
            (text.replace("H200", "A100"), "was made for A100"),
        ] {
            std::fs::write(&file, damaged).expect("written");
            let (mut plans, ignored) = load();
            assert_eq!(plans.get("auto", "a task"), None);
            let ignored = ignored.expect("is said");
            assert!(ignored.contains(why) && ignored.contains(&file.display().to_string()), "{ignored}");
            plans.put("auto", "another", Entry { way: Kept::Simt, ms: 2.0 });
            plans.save().expect("replaced");
            assert!(load().1.is_none());
        }
    }
}
