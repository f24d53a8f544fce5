//! Sets of pictures as people keep them, each recognised by what is there.
//!
//! [`open`] looks at a path and hands it to one of: `folder` (a folder per class), `cifar`, `shards` (tar), `table` (CSV),
//! `columns` (Parquet), or the IDX reader. Each lists files and what their classes are called; `parts` makes a data set of that.

mod cifar;
mod columns;
mod folder;
mod parts;
mod recognise;
mod shards;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use cifar::{CIFAR, find_cifar};
pub use recognise::{OpenOptions, open};

/// Extensions of picture files, in lower case. A file with another one is counted, named by `resnet data`, and left out.
pub(super) const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif"];

/// Most pictures of a set.
const MAX_PICTURES: usize = 1 << 28;

/// Whether a file's name says that it is a picture.
fn is_picture(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Which part a name stands for: `train`, `val-00000-of-00002`, `test.csv`.
fn part_of(name: &str) -> Option<Part> {
    let word = name.split(|c: char| !c.is_ascii_alphabetic()).next()?.to_ascii_lowercase();
    Some(match word.as_str() {
        "train" | "training" => Part::Train,
        "val" | "valid" | "validation" | "dev" => Part::Validation,
        "test" | "testing" => Part::Test,
        _ => return None,
    })
}

/// Files by the part that their names stand for; where all stand for the same, they are the whole set.
fn by_part(files: &[PathBuf]) -> BTreeMap<Option<Part>, Vec<&PathBuf>> {
    let mut by_part: BTreeMap<Option<Part>, Vec<&PathBuf>> = BTreeMap::new();
    for path in files {
        let part = path.file_name().and_then(|n| part_of(&n.to_string_lossy()));
        by_part.entry(part).or_default().push(path);
    }
    match by_part.len() {
        1 => by_part.into_values().map(|paths| (None, paths)).collect(),
        _ => by_part,
    }
}

/// Parts that a set may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Train,
    Validation,
    Test,
}
