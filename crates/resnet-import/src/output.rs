//! Writing a file so that no reader ever sees half of it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::{Error, Result};

/// Writes beside the target and renames. On failure the target is as it was.
///
/// # Errors
/// [`Error::File`] if the file cannot be written; whatever `content` returns.
pub fn write_file(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let at = |e: std::io::Error| Error::File { path: path.to_owned(), why: format!("cannot write: {e}") };
    let Some(name) = path.file_name() else {
        return Err(Error::File { path: path.to_owned(), why: "is no name for a file".into() });
    };
    let mut partial = name.to_owned();
    partial.push(".partial");
    let partial = path.with_file_name(partial);
    let written = (|| {
        let mut out = BufWriter::new(File::create(&partial).map_err(at)?);
        content(&mut out)?;
        out.flush().map_err(at)?;
        out.get_ref().sync_all().map_err(at)?;
        std::fs::rename(&partial, path).map_err(at)
    })();
    if written.is_err() {
        drop(std::fs::remove_file(&partial)); // the first error is the one to report
    }
    written
}
