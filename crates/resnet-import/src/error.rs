//! Every way an import or an export can refuse.

use std::path::PathBuf;

use crate::report::Report;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the readers inside say: why a file cannot be used. [`Error::File`] adds which.
pub(crate) type Why<T> = std::result::Result<T, String>;

/// Every way an import or an export can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be opened, read or written, or that is not what its first bytes claim.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was wanted.
        why: String,
    },

    /// The bytes are not those that the file's name promises.
    #[error("{}: SHA-256 begins {found}, the name promises {wanted}: the file is damaged or incomplete", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// As many hexadecimal digits as the name has.
        found: String,
        /// The digits in the name.
        wanted: String,
    },

    /// Names that belong to no library known here, or not to the one that was asked for.
    #[error("{0}")]
    Unrecognised(String),

    /// Tensors that do not fit the network, each by name.
    #[error("{}the weights do not fit {}: {report}", at(&report.file), report.arch)]
    Mismatch {
        /// Every difference.
        report: Box<Report>,
    },

    /// A network that the target format or library cannot express with the same results.
    #[error("cannot be written as {target}: {why}")]
    Inexpressible {
        /// Format or library.
        target: &'static str,
        /// The part that has no counterpart.
        why: String,
    },

    /// A network that cannot be built, or weights that cannot be processed.
    #[error(transparent)]
    Core(#[from] resnet_core::Error),
}

/// `file: `, or nothing where no file is known.
fn at(file: &std::path::Path) -> String {
    if file.as_os_str().is_empty() { String::new() } else { format!("{}: ", file.display()) }
}
