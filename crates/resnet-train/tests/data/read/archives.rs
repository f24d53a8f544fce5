//! Tar archives: shards of samples, and folders per class.

use std::io::Write;

use resnet_train::data::{OpenOptions, open};

use super::{Place, content, flat, owned, refused};

/// A tar archive of these files.
pub(super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (name, bytes) in files {
        builder.append(&header(name, bytes.len() as u64, tar::EntryType::Regular), *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A header with any name, also one that no library would write.
pub(super) fn header(name: &str, size: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn shards_of_samples() {
    let place = Place::new();
    let first = tar(&[
        ("0001.png", &flat(1)),
        ("0001.cls", b"1\n"),
        ("0001.mask.png", &flat(99)),
        ("0002.cls", b"0"),
        ("./0002.png", &flat(2)),
    ]);
    let second = tar(&[("0003.json", br#"{"caption": "a dog", "label": 1}"#), ("0003.png", &flat(3))]);
    let test = tar(&[("0001.png", &flat(4)), ("0001.cls", b"0")]);
    for (ending, pack) in [("tar", false), ("tar.gz", true)] {
        let place = Place::new();
        let packed = |bytes: &[u8]| if pack { gzip(bytes) } else { bytes.to_vec() };
        place.write(&format!("train-000.{ending}"), &packed(&first));
        place.write(&format!("train-001.{ending}"), &packed(&second));
        place.write(&format!("val-000.{ending}"), &packed(&test));
        let set = place.open().unwrap();
        assert_eq!(set.classes, ["0", "1"]);
        assert_eq!(content(&set, set.train.as_ref()), owned(&[("0", 2), ("1", 1), ("1", 3)]));
        assert_eq!(content(&set, set.test.as_ref()), owned(&[("0", 4)]));
        assert!(set.describe().contains("0001.mask"), "{}", set.describe());
    }
    place.write("shards/val-0.tar", &test).write("shards/test-0.tar", &test);
    refused(&place.path("shards"), &["none to train with"]);
    place.write("shards/more.tar", &test);
    refused(&place.path("shards"), &["some whose names do not"]);
    place.write("no-class.tar", &tar(&[("1.png", &flat(1)), ("1.cls", b"0"), ("2.png", &flat(2))]));
    refused(&place.path("no-class.tar"), &["`2` without a class"]);
    place.write("large.tar", &tar(&[("1.png", &flat(1)), ("1.cls", b"4000000000")]));
    refused(&place.path("large.tar"), &["class 4000000000"]);
}

#[test]
fn an_archive_of_a_folder_per_class() {
    let place = Place::new();
    let files = [("pets/train/cat/a.1.png", 1), ("pets/train/cat/a.2.png", 2), ("pets/train/dog/1.png", 3)];
    let mut files: Vec<(&str, Vec<u8>)> = files.map(|(name, level)| (name, flat(level))).to_vec();
    files.push(("pets/test/dog/x/1.png", flat(4)));
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (*n, b.as_slice())).collect();
    place.write("pets.tar", &tar(&borrowed)).write("pets.tgz", &gzip(&tar(&borrowed)));
    for name in ["pets.tar", "pets.tgz"] {
        let set = open(&place.path(name), &OpenOptions::default()).unwrap();
        assert_eq!(set.classes, ["cat", "dog"]);
        assert_eq!(content(&set, set.train.as_ref()), owned(&[("cat", 1), ("cat", 2), ("dog", 3)]));
        assert_eq!(content(&set, set.test.as_ref()), owned(&[("dog", 4)]));
    }
    place.write("bare.tar", &tar(&[("1.png", &flat(1)), ("2.png", &flat(1))]));
    refused(&place.path("bare.tar"), &["without a class", "bare.tar"]);
}

#[test]
fn archives_cannot_lead_outside() {
    let place = Place::new();
    for name in ["../1.png", "/etc/1.png", "a/../../1.png", "a//1.png", "a\\..\\1.png"] {
        place.write("bad.tar", &tar(&[("1.cls", b"1"), (name, &flat(1))]));
        refused(&place.path("bad.tar"), &[name, "stay inside"]);
    }
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Fifo] {
        let mut builder = tar::Builder::new(vec![]);
        builder.append(&header("1.png", 0, kind), std::io::empty()).unwrap();
        place.write("bad.tar", &builder.into_inner().unwrap());
        refused(&place.path("bad.tar"), &["1.png", "files and folders only"]);
    }
    // A sparse file may claim any size.
    let mut sparse = header("1.png", 0, tar::EntryType::GNUSparse).as_bytes().to_vec();
    sparse.resize(2048, 0);
    place.write("bad.tar", &sparse);
    refused(&place.path("bad.tar"), &["bad.tar", "sparse"]);
    place.write("bad.tar", &tar(&[("1.png", &flat(1)), ("1.png", &flat(2))]));
    refused(&place.path("bad.tar"), &["1.png", "twice"]);
    let mut huge = tar(&[]);
    huge.splice(0..0, header("1.png", 1 << 32, tar::EntryType::Regular).as_bytes().to_vec());
    place.write("bad.tar", &huge);
    refused(&place.path("bad.tar"), &["4294967296 bytes", "at most"]);
    let whole = tar(&[("a/1.png", &flat(1)), ("b/2.png", &flat(2))]);
    place.write("cut.tar.gz", &gzip(&whole)[..100]);
    refused(&place.path("cut.tar.gz"), &["cut.tar.gz"]);
}
