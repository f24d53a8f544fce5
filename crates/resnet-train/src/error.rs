//! Every way reading data or training can fail.

use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way reading data or training can fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open, read or write a file.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried: `open`, `read`.
        action: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// A data file that is not what it should be: wrong magic, cut, too long, damaged.
    #[error("{file}: {found}; wanted {wanted}")]
    Format {
        /// The file, or the name of what is embedded.
        file: String,
        /// What was found.
        found: String,
        /// What was wanted.
        wanted: String,
    },

    /// A label that names no class, found when a data set is read.
    #[error("{file}: label {label} of picture {index} is out of range; wanted 0 to {}", n_classes.saturating_sub(1))]
    Label {
        /// The file, or the name of the data set.
        file: String,
        /// The picture, counted from 0.
        index: usize,
        /// The label found.
        label: u32,
        /// Number of classes.
        n_classes: usize,
    },

    /// A picture that cannot be read or decoded.
    #[error("{name}: {why}")]
    Picture {
        /// The file, or the member of an archive.
        name: String,
        /// What is wrong with it.
        why: String,
    },

    /// More pictures than allowed cannot be read.
    #[error(
        "{n} pictures cannot be read, and at most {allowed} may be left out (`data.max_bad`); the last: {last}; `resnet data` names all"
    )]
    TooManyBad {
        /// How many were found so far.
        n: usize,
        /// How many may be left out.
        allowed: usize,
        /// The last of them, and what is wrong with it.
        last: String,
    },

    /// A data set that is in none of the places searched.
    #[error("{name} was not found in:{}\n{hint}", list(.searched))]
    DataNotFound {
        /// The data set.
        name: &'static str,
        /// The directories searched, in order.
        searched: Vec<PathBuf>,
        /// How to get it.
        hint: String,
    },

    /// An option that no run can have, or that does not fit the data: a batch larger than the data, a crop without size.
    #[error("{what}: {why}")]
    Invalid {
        /// The option.
        what: String,
        /// What was found and what was wanted.
        why: String,
    },

    /// Loading a batch panicked, which is a bug; the batch it would have been is lost.
    #[error("loading batch {batch} of epoch {epoch} panicked: {message}")]
    LoaderPanic {
        /// The epoch.
        epoch: u64,
        /// The batch, counted from 0.
        batch: usize,
        /// What the panic said.
        message: String,
    },

    /// A recipe or an override that is not TOML, has an unknown field, a wrong type or a value out of range.
    #[error("{origin}: {why}")]
    Recipe {
        /// The file, the name of the recipe or the override.
        origin: String,
        /// What was found and what was wanted.
        why: String,
    },

    /// A run directory that cannot be used: it holds a run already, or none where one was to be resumed.
    #[error("{}: {why}", .path.display())]
    RunDir {
        /// The directory.
        path: PathBuf,
        /// What was found and what to do.
        why: String,
    },

    /// Another process writes to the run directory.
    #[error("{}: another process trains here ({owner}); wait for it or choose another directory", .path.display())]
    RunTaken {
        /// The directory.
        path: PathBuf,
        /// Who: process, host.
        owner: String,
    },

    /// A checkpoint that is cut, changed, of another version or of another network.
    #[error("checkpoint {}: {why}", .path.display())]
    Checkpoint {
        /// Its directory.
        path: PathBuf,
        /// What was found and what was wanted.
        why: String,
    },

    /// A run that cannot be resumed exactly: another recipe, other data, another backend.
    #[error("this run cannot be resumed exactly:{}", .differences.iter().map(|d| format!("\n  {d}")).collect::<String>())]
    Inexact {
        /// What differs.
        differences: Vec<String>,
    },

    /// A loss or a weight is no number any more. The checkpoints before it are kept.
    #[error("step {step}: {what} is not finite (learning rate {lr}{}); the last checkpoint is kept; \
             a smaller learning rate, a longer warm-up or `train.clip_norm` may help", losses(.last_losses))]
    NonFinite {
        /// The step, counted from 1.
        step: u64,
        /// The loss, or a tensor.
        what: String,
        /// Learning rate of the step.
        lr: f64,
        /// The last losses that were finite, the oldest first.
        last_losses: Vec<f64>,
    },

    /// A description or a backend refused.
    #[error(transparent)]
    Core(#[from] resnet_core::Error),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| format!("\n  {}", p.display())).collect()
}

fn losses(last: &[f64]) -> String {
    let last: Vec<String> = last.iter().map(|loss| format!("{loss:.4}")).collect();
    if last.is_empty() { String::new() } else { format!(", losses before it: {}", last.join(", ")) }
}

impl Error {
    /// Builds [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// Builds [`Error::Picture`].
    pub(crate) fn picture(name: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Picture { name: name.into(), why: why.into() }
    }

    /// Builds [`Error::Recipe`].
    pub(crate) fn recipe(origin: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Recipe { origin: origin.into(), why: why.into() }
    }

    /// Builds [`Error::Checkpoint`].
    pub(crate) fn checkpoint(path: &Path, why: impl Into<String>) -> Self {
        Error::Checkpoint { path: path.to_owned(), why: why.into() }
    }

    /// Builds [`Error::Format`].
    pub(crate) fn format(file: &str, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Error::Format { file: file.to_owned(), found: found.into(), wanted: wanted.into() }
    }

    /// Gives an [`std::io::Error`] its path and what was tried.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Io { path, action, source }
    }
}
