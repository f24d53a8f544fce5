//! Finished runs on disk.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use resnet_train::recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::Run;

/// The runs of one recipe, seed included, with one number of threads.
pub(crate) struct Kept {
    folder: PathBuf,
    /// What they depend on besides their way. A run of anything else is not taken for one of these.
    of: String,
    seed: u64,
}

#[derive(Deserialize, Serialize)]
struct File {
    of: String,
    run: Run,
}

impl Kept {
    /// Makes the folder.
    ///
    /// # Errors
    /// It cannot be made; the recipe cannot be written.
    pub(crate) fn open(folder: &Path, recipe: &Recipe, threads: usize) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let of = format!("{}# {threads} threads, version {}", recipe.to_toml()?, env!("CARGO_PKG_VERSION"));
        Ok(Self { folder: folder.to_owned(), of, seed: recipe.train.seed })
    }

    fn path(&self, name: &str) -> PathBuf {
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.folder.join(format!("seed{}-{}.json", self.seed, plain.to_lowercase()))
    }

    fn find(&self, name: &str) -> Option<Run> {
        let text = std::fs::read_to_string(self.path(name)).ok()?;
        let file: File = serde_json::from_str(&text).ok()?;
        (file.of == self.of).then_some(file.run)
    }

    /// Whether a run is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The run that is there, or a new one, which is kept.
    ///
    /// # Errors
    /// As `run`; it cannot be written.
    pub(crate) fn or_else(&self, name: &str, run: impl FnOnce() -> Result<Run>) -> Result<Run> {
        if let Some(run) = self.find(name) {
            return Ok(run);
        }
        let file = File { of: self.of.clone(), run: run()? };
        let path = self.path(name);
        let half = path.with_extension("part");
        let text = serde_json::to_string(&file)?;
        std::fs::write(&half, text)
            .and_then(|()| std::fs::rename(&half, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(file.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_made_once_and_for_one_recipe() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = |accuracy| Run { losses: vec![1.0], accuracy, seconds: 1.0, by: "x".into() };
        let mut recipe = Recipe::default();
        let kept = Kept::open(folder.path(), &recipe, 2).expect("opened");
        assert!(!kept.has("f32, strict"));
        assert_eq!(kept.or_else("f32, strict", || Ok(run(0.5))).expect("run").accuracy, 0.5);
        assert_eq!(kept.or_else("f32, strict", || anyhow::bail!("again")).expect("found").accuracy, 0.5);
        recipe.train.batch += 1;
        let other = Kept::open(folder.path(), &recipe, 2).expect("opened");
        assert!(!other.has("f32, strict"));
    }
}
