//! Sets of pictures as people keep them: recognised, listed, labelled, split; and what is refused.

mod archives;
mod cifar;
mod folders;
mod parquet;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use resnet_train::data::{Dataset, OpenOptions, Picture, Source, open};

use crate::decode::folder as pictures;

/// A folder that goes away, and what to do in it.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and the folders above it.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub(super) fn open(&self) -> resnet_train::Result<Dataset> {
        open(self.0.path(), &OpenOptions::default())
    }

    pub(super) fn refused(&self, parts: &[&str]) {
        refused(self.0.path(), parts);
    }
}

pub(super) fn refused(path: &Path, parts: &[&str]) {
    let message = open(path, &OpenOptions::default()).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// A PNG of one grey level, by which it is known again.
pub(super) fn flat(level: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![]);
    image::GrayImage::from_pixel(5, 4, image::Luma([level]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// Class and grey level of every picture, sorted.
pub(super) fn content(set: &Dataset, source: &dyn Source) -> Vec<(String, u8)> {
    let mut picture = Picture::default();
    let mut all: Vec<(String, u8)> = (0..source.len())
        .map(|i| {
            source.read(i, &mut picture).unwrap();
            assert_eq!((picture.height, picture.width, picture.channels), (4, 5, 3), "{}", source.name(i));
            (set.classes[source.label(i) as usize].clone(), picture.pixels[0])
        })
        .collect();
    all.sort();
    all
}

pub(super) fn owned(pairs: &[(&str, u8)]) -> Vec<(String, u8)> {
    pairs.iter().map(|(class, level)| ((*class).to_owned(), *level)).collect()
}

#[test]
fn single_files_that_are_no_set_are_refused() {
    let place = Place::new();
    place
        .write("a.zip", b"PK\x03\x04....")
        .write("train-images-idx3-ubyte", &[0, 0, 8, 3])
        .write("b.bin", b"hello");
    refused(&place.path("a.zip"), &["zip archive", "unpacked"]);
    refused(&place.path("train-images-idx3-ubyte"), &["one IDX file", "folder"]);
    refused(&place.path("b.bin"), &["not recognised", "Parquet"]);
}
