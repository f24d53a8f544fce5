//! A folder per class, at any depth below it; with `train` and `val` or `test` above the classes, or without.
//!
//! Classes and files are sorted as torchvision's `ImageFolder` sorts them, so labels are the same numbers.
//! Links to files and folders are followed, except into a folder that they lie in.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::files::Folder;
use super::parts::{Found, Label, Listing};
use super::{MAX_PICTURES, Part, is_picture, part_of};
use crate::{Error, Result};

/// Deepest folder below a class.
const MAX_DEPTH: usize = 32;

/// The folders in a folder that are parts of a set.
pub(super) fn parts(root: &Path) -> Result<Vec<(Part, PathBuf)>> {
    let mut found: Vec<(Part, PathBuf)> = vec![];
    for entry in entries(root)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The whole name: a class may be called `test tubes`.
        let is_word = name.chars().all(|c| c.is_ascii_alphabetic());
        if let Some(part) = part_of(&name).filter(|_| is_word && entry.path().is_dir()) {
            if let Some((_, other)) = found.iter().find(|(p, _)| *p == part) {
                let both = format!("{} and {name}", other.display());
                return Err(Error::format(&root.display().to_string(), both, "one folder for each part"));
            }
            found.push((part, entry.path()));
        }
    }
    found.sort();
    let has_train = found.iter().any(|(part, _)| *part == Part::Train);
    Ok(if has_train && found.len() > 1 { found } else { vec![] })
}

/// Lists a set of folders.
pub(super) fn list(root: &Path) -> Result<Found> {
    let parts = parts(root)?;
    let parts: Vec<(Option<Part>, PathBuf)> = match parts.is_empty() {
        true => vec![(None, root.to_owned())],
        false => parts.into_iter().map(|(part, path)| (Some(part), path)).collect(),
    };
    let (mut listings, mut left_out) = (vec![], vec![]);
    for (part, path) in parts {
        listings.push(part_of_set(root, part, &path, &mut left_out)?);
    }
    Ok(Found { kind: "folder per class", listings, names: None, left_out })
}

fn part_of_set(root: &Path, part: Option<Part>, path: &Path, left_out: &mut Vec<String>) -> Result<Listing> {
    let (mut files, mut items) = (vec![], vec![]);
    for class in entries(path)? {
        let (name, class_path) = (class.file_name().to_string_lossy().into_owned(), class.path());
        if !class_path.is_dir() {
            if !name.starts_with('.') {
                left_out.push(class_path.display().to_string());
            }
            continue;
        }
        if name.starts_with('.') || name == "__MACOSX" {
            continue;
        }
        let mut walk = Walk { found: vec![], left_out, above: vec![] };
        walk.folder(&class_path)?;
        let mut found = walk.found;
        if found.is_empty() {
            return Err(Error::format(
                &class_path.display().to_string(),
                "a class without a picture",
                format!("a file ending in {}; or remove the folder", super::EXTENSIONS.join(", ")),
            ));
        }
        found.sort();
        for (folder, file, bytes) in found {
            let path = Path::new(&folder).join(file);
            let relative = path.strip_prefix(root).map(Path::to_owned).unwrap_or(path);
            items.push((files.len() as u32, Label::Name(name.clone()))); // at most MAX_PICTURES
            files.push((relative, bytes));
            if files.len() > MAX_PICTURES {
                let found = format!("more than {MAX_PICTURES} pictures");
                return Err(Error::format(&root.display().to_string(), found, "fewer"));
            }
        }
    }
    Ok(Listing { part, files: Arc::new(Folder::new(root, files)), items })
}

struct Walk<'a> {
    /// Folder, name and size, in the order they are found.
    found: Vec<(String, String, u64)>,
    left_out: &'a mut Vec<String>,
    /// The folders above, as the system names them when links are resolved.
    above: Vec<PathBuf>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path) -> Result<()> {
        let real = path.canonicalize().map_err(Error::io(path, "open"))?;
        if self.above.contains(&real) || self.above.len() == MAX_DEPTH {
            self.left_out.push(format!("{} (leads in a circle, or too deep)", path.display()));
            return Ok(());
        }
        self.above.push(real);
        for entry in entries(path)? {
            let (name, inside) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            let Ok(meta) = std::fs::metadata(&inside) else {
                self.left_out.push(format!("{} (a link to nothing)", inside.display()));
                continue;
            };
            if meta.is_dir() {
                if !name.starts_with('.') {
                    self.folder(&inside)?;
                }
            } else if meta.is_file() && is_picture(&name) && !name.starts_with("._") {
                self.found.push((path.display().to_string(), name, meta.len()));
            } else if !name.starts_with('.') && name != "Thumbs.db" && name != "desktop.ini" {
                self.left_out.push(inside.display().to_string());
            }
        }
        self.above.pop();
        Ok(())
    }
}

/// What is in a folder, by name.
pub(super) fn entries(path: &Path) -> Result<Vec<DirEntry>> {
    let read = std::fs::read_dir(path).map_err(Error::io(path, "open"))?;
    let mut entries = read.collect::<Result<Vec<_>, _>>().map_err(Error::io(path, "read"))?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}
