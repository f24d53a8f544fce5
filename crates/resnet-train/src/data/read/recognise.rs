//! What is at a path, decided by what is there.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::{Dataset, Known};
use super::{cifar, columns, folder, shards, table};
use crate::{Error, Result};

/// What to do about a set that has no parts of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenOptions {
    /// Share of every class that is held out for testing, 0 to 1.
    pub split: f64,
    /// Decides which pictures those are, together with their names.
    pub split_seed: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { split: 0.2, split_seed: 0 }
    }
}

/// What this program reads, for messages.
const READABLE: &str = "a folder with a folder of pictures for each class, IDX files, CIFAR batches, tar shards, a CSV of paths and labels, \
     or Parquet files with a column of pictures";

/// Opens the set at a path: a folder or a file.
///
/// # Errors
/// [`Error::Io`] if there is nothing; [`Error::Format`] for what is not recognised or damaged, naming file or member.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Dataset> {
    let meta = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
    if meta.is_dir() { open_folder(path, options) } else { open_file(path, options) }
}

fn open_folder(path: &Path, options: &OpenOptions) -> Result<Dataset> {
    let known = Known::ALL.into_iter().find(|k| k.files().iter().all(|f| f.path_in(path).is_file()));
    if let Some(known) = known {
        // The files of all relatives of MNIST have the same names; only the content tells them apart.
        let [images, ..] = known.files();
        let real = Known::ALL.into_iter().find(|k| k.files()[0].check(&images.path_in(path)).is_ok());
        return real.unwrap_or(Known::Mnist).load(path);
    }
    if let Some(dir) = cifar::find(path) {
        return cifar::read_folder(&dir);
    }
    let with = |dir: &Path, extensions: &[&str]| -> Result<Vec<PathBuf>> {
        let entries = folder::entries(dir)?.into_iter().map(|e| e.path());
        let has = |p: &PathBuf| {
            let name = p.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            p.is_file() && extensions.iter().any(|e| name.ends_with(e))
        };
        Ok(entries.filter(has).collect())
    };
    // Hugging Face puts the files into a folder `data`.
    let data = path.join("data");
    for dir in [path.to_owned(), data] {
        if !dir.is_dir() {
            continue;
        }
        let parquet = with(&dir, &[".parquet"])?;
        if !parquet.is_empty() {
            return columns::list(&parquet)?.into_dataset(path, options);
        }
        let tar = with(&dir, &[".tar", ".tar.gz", ".tgz"])?;
        if !tar.is_empty() {
            return shards::list(&tar)?.into_dataset(path, options);
        }
    }
    let tables = with(path, &[".csv", ".tsv"])?;
    let labelled: Vec<PathBuf> =
        tables.iter().filter(|t| table::list(std::slice::from_ref(t)).is_ok()).cloned().collect();
    if !labelled.is_empty() && folder::parts(path)?.is_empty() {
        return table::list(&labelled)?.into_dataset(path, options);
    }
    let mut found = folder::list(path)?;
    if found.listings.iter().all(|l| l.items.is_empty()) {
        let shown = path.display().to_string();
        let what = match found.left_out.as_slice() {
            [] => "an empty folder".to_owned(),
            [first, ..] => format!("a folder in which nothing is recognised, such as {first}"),
        };
        return Err(Error::format(&shown, what, READABLE));
    }
    found.left_out.sort();
    found.into_dataset(path, options)
}

fn open_file(path: &Path, options: &OpenOptions) -> Result<Dataset> {
    let shown = path.display().to_string();
    let mut start = vec![];
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    file.take(512).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let paths = [path.to_owned()];
    if start.starts_with(b"PAR1") {
        return columns::list(&paths)?.into_dataset(path, options);
    }
    let is_tar = start.get(257..262) == Some(b"ustar");
    if is_tar || start.starts_with(&[0x1f, 0x8b]) && (name.ends_with(".tgz") || name.ends_with(".tar.gz")) {
        if let Some(set) = cifar::read_archive(path)? {
            return Ok(set);
        }
        return shards::list(&paths)?.into_dataset(path, options);
    }
    if start.starts_with(b"PK\x03\x04") {
        return Err(Error::format(&shown, "a zip archive", "it unpacked, as a folder"));
    }
    if start.starts_with(&[0, 0, 8]) || name.contains("-ubyte") {
        return Err(Error::format(&shown, "one IDX file", "the folder with all four of them"));
    }
    if name.ends_with(".csv") || name.ends_with(".tsv") || name.ends_with(".txt") {
        return table::list(&paths)?.into_dataset(path, options);
    }
    Err(Error::format(&shown, "a file that is not recognised", READABLE))
}
