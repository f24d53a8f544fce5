//! Sets: archives, tables and batches.

use std::io::Write;
use std::path::{Path, PathBuf};

use resnet_train::data::{Dataset, OpenOptions, Picture, open};

use crate::harness::{Outcome, damage};
use crate::pictures::file;

fn sets(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../resnet-train/tests/data/sets", name].iter().collect()
}

/// Labels and pixels of everything in a set.
fn content(set: &Dataset) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut all = vec![];
    for source in [&set.train, &set.test] {
        for i in 0..source.len() {
            let mut picture = Picture::default();
            source.read(i, &mut picture).map_err(|e| e.to_string())?;
            all.push((set.classes[source.label(i) as usize].clone(), picture.pixels));
        }
    }
    Ok(all)
}

fn opened(path: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    content(&open(path, &OpenOptions { split: 0.5, split_seed: 0 }).map_err(|e| e.to_string())?)
}

/// Damages the file `name` in a folder; `set` is that file or, if it has others beside it, the folder.
fn tried(home: &Path, set: &Path, name: &str, whole: &[u8]) -> Outcome {
    damage(name, whole, |bytes| {
        std::fs::write(home.join(name), bytes).unwrap();
        opened(set)
    })
}

/// Damages a file that is a set by itself.
fn alone(name: &str, whole: &[u8]) -> Outcome {
    let home = tempfile::tempdir().unwrap();
    tried(home.path(), &home.path().join(name), name, whole)
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (name, picture, class) in
        [("1", "colour.png", "cat"), ("2", "grey.png", "dog"), ("3", "alpha.png", "cat")]
    {
        for (extension, bytes) in [("png", file(picture)), ("cls", class.as_bytes().to_vec())] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("{name}.{extension}"), bytes.as_slice()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[test]
fn shards() {
    assert!(alone("set.tar", &tar()).n_refused > 0);
    let packed = alone("set.tar.gz", &gzip(&tar()));
    assert_eq!(packed.n_other, 0, "gzip has a checksum: {packed:?}");
}

#[test]
fn parquet() {
    for codec in ["none", "snappy", "gzip", "lz4", "zstd", "brotli"] {
        let name = format!("{codec}.parquet");
        assert!(alone(&name, &std::fs::read(sets(&name)).unwrap()).n_refused > 0);
    }
}

#[test]
fn cifar_batches() {
    for form in ["cifar10-python2", "cifar10-python3"] {
        let home = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(sets(form)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, home.path().join(from.file_name().unwrap())).unwrap();
        }
        for name in ["data_batch_1", "batches.meta"] {
            let whole = std::fs::read(sets(form).join(name)).unwrap();
            assert!(tried(home.path(), home.path(), name, &whole).n_refused > 0);
            std::fs::write(home.path().join(name), whole).unwrap();
        }
    }
}

#[test]
fn idx_files() {
    let home = tempfile::tempdir().unwrap();
    let pictures = |n: u8| [[0, 0, 8, 3].to_vec(), be(n.into()), be(2), be(2), (0..4 * n).collect()].concat();
    let labels = |n: u8| [[0, 0, 8, 1].to_vec(), be(n.into()), (0..n).map(|i| i % 2).collect()].concat();
    let files = [
        ("train-images-idx3-ubyte", pictures(6)),
        ("train-labels-idx1-ubyte", labels(6)),
        ("t10k-images-idx3-ubyte", pictures(4)),
        ("t10k-labels-idx1-ubyte", labels(4)),
    ];
    for (name, bytes) in &files {
        std::fs::write(home.path().join(name), bytes).unwrap();
    }
    for (name, whole) in &files[..2] {
        assert!(tried(home.path(), home.path(), name, whole).n_refused > 0, "{name}");
        std::fs::write(home.path().join(name), whole).unwrap();
    }
}

fn be(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

/// A table has no redundancy: a cut one is a shorter one. It must not panic, and what it names must be there.
#[test]
fn tables() {
    let home = tempfile::tempdir().unwrap();
    for name in ["colour.png", "grey.png"] {
        std::fs::write(home.path().join(name), file(name)).unwrap();
    }
    let whole = b"path,label\ncolour.png,cat\ngrey.png,dog\n";
    let path = home.path().join("t.csv");
    std::fs::write(&path, whole).unwrap();
    assert_eq!(opened(&path).unwrap().len(), 2);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.to_vec();
            changed[at] ^= 1 << bit;
            std::fs::write(&path, changed).unwrap();
            assert!(
                opened(&path).is_err() || opened(&path).is_ok_and(|all| all.len() == 2),
                "changed at {at}"
            );
        }
    }
}
