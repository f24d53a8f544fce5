//! Run directories by name: a new one, the newest one, and the model inside one.

use std::path::{Path, PathBuf};

use resnet_train::Error;
use resnet_train::run::RunDir;

use crate::exit::usage;

/// Where runs are kept unless said otherwise.
pub(crate) const HOME: &str = "runs";

/// Creates the first free directory of `runs/NAME-1`, `runs/NAME-2`, …
pub(crate) fn create_numbered(name: &str) -> anyhow::Result<RunDir> {
    for n in 1u32.. {
        let path = Path::new(HOME).join(format!("{name}-{n}"));
        if path.exists() {
            continue;
        }
        match RunDir::create(path) {
            Err(Error::RunDir { .. } | Error::RunTaken { .. }) => {} // another process was faster
            created => return Ok(created?),
        }
    }
    Err(usage(format!("{HOME}: no free name")))
}

/// The run that was written to last.
pub(crate) fn newest() -> anyhow::Result<PathBuf> {
    let written = |path: &Path| std::fs::metadata(path.join("recipe.toml")).and_then(|m| m.modified()).ok();
    let entries = std::fs::read_dir(HOME).into_iter().flatten().flatten().map(|e| e.path());
    let runs = entries.filter_map(|path| Some((written(&path)?, path)));
    let newest = runs.max_by_key(|(time, _)| *time).map(|(_, path)| path);
    newest.ok_or_else(|| {
        usage(format!("there is no run in {HOME}/; name one, or start one with `resnet train`"))
    })
}

/// The weights that a path means: the model of the run it is, or itself, as TensorFlow.js keeps weights in a folder, too.
pub(crate) fn model_file(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() || path.join("model.json").exists() {
        return Ok(path.to_owned());
    }
    let model = path.join("model.safetensors");
    if model.exists() {
        return Ok(model);
    }
    Err(anyhow::anyhow!(
        "{}: no model.safetensors; a run writes it after the first epoch that is evaluated",
        path.display()
    ))
}

/// What to call runs of a recipe: its name, or that of its file.
pub(crate) fn name_of(recipe: &str) -> String {
    let stem = Path::new(recipe).file_stem().map(|s| s.to_string_lossy().into_owned());
    stem.filter(|s| !s.is_empty()).unwrap_or_else(|| "run".into())
}
