//! Verify, then appear in one step.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use resnet_train::data::Known;

/// Checks that a folder has every file of the set with the published content, plain or gzipped.
pub(crate) fn verify(known: Known, folder: &Path) -> Result<()> {
    for file in known.files() {
        let path = file.path_in(folder);
        if !path.exists() {
            bail!("{} has no {} or {0}.gz", folder.display(), file.name);
        }
        file.check(&path)?;
    }
    Ok(())
}

/// Copies the files of a set into `root/NAME` and returns that folder.
///
/// They are copied beside it first, verified there, and renamed as a whole:
/// a run that is killed leaves nothing that looks like a data set.
pub(crate) fn install(known: Known, from: &Path, root: &Path) -> Result<PathBuf> {
    let target = root.join(known.name());
    let prefix = format!(".{}-", known.name());
    let beside = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(root)
        .with_context(|| format!("cannot write in {}", root.display()))?;
    for file in known.files() {
        let path = file.path_in(from);
        let Some(name) = path.file_name().filter(|_| path.is_file()) else {
            bail!("{} has no {} or {1}.gz", from.display(), file.name);
        };
        let copy = beside.path().join(name);
        std::fs::copy(&path, &copy)
            .and_then(|_| std::fs::File::open(&copy)?.sync_all())
            .with_context(|| format!("cannot copy {} to {}", path.display(), copy.display()))?;
        file.check(&copy).with_context(|| format!("copied from {}", path.display()))?;
    }
    share(beside.path())?;
    std::fs::rename(beside.path(), &target)
        .with_context(|| format!("cannot rename {} to {}", beside.path().display(), target.display()))?;
    // The folder has its final name; only the guard of the temporary one is left, and it must not delete it.
    let _ = beside.keep();
    Ok(target)
}

/// A temporary folder is private; a data set is as readable as the user's other folders.
#[cfg(unix)]
fn share(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the permissions of {}", folder.display()))
}

#[cfg(not(unix))]
fn share(_folder: &Path) -> Result<()> {
    Ok(())
}
