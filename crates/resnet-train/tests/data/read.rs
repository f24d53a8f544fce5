//! Sets of pictures as people keep them: recognised, listed, labelled, split; and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use resnet_train::data::{Dataset, OpenOptions, Picture, Source, open};

use crate::decode::folder as pictures;

/// A folder that goes away, and what to do in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and the folders above it.
    fn write(&self, name: &str, bytes: &[u8]) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    fn open(&self) -> resnet_train::Result<Dataset> {
        open(self.0.path(), &OpenOptions::default())
    }

    fn refused(&self, parts: &[&str]) {
        refused(self.0.path(), parts);
    }
}

fn refused(path: &Path, parts: &[&str]) {
    let message = open(path, &OpenOptions::default()).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn file(name: &str) -> Vec<u8> {
    fs::read(pictures().join(name)).unwrap()
}

/// A PNG of one grey level, by which it is known again.
fn flat(level: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![]);
    image::GrayImage::from_pixel(5, 4, image::Luma([level]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// Class and grey level of every picture, sorted.
fn content(set: &Dataset, source: &dyn Source) -> Vec<(String, u8)> {
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

fn owned(pairs: &[(&str, u8)]) -> Vec<(String, u8)> {
    pairs.iter().map(|(class, level)| ((*class).to_owned(), *level)).collect()
}

#[test]
fn a_folder_per_class_with_parts() {
    let place = Place::new();
    place.write("train/cat/1.png", &flat(1)).write("train/cat/deep/er/2.PNG", &flat(2));
    place
        .write("train/dog/a.png", &flat(3))
        .write("val/dog/b.png", &flat(4))
        .write("val/cat/c.png", &flat(5));
    // What lies around in such folders.
    place
        .write("train/cat/.DS_Store", b"x")
        .write("train/dog/Thumbs.db", b"x")
        .write("train/.hidden/1.png", b"x");
    place.write("train/dog/notes.txt", b"x").write("readme.md", b"x");
    let set = place.open().unwrap();
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(content(&set, set.train.as_ref()), owned(&[("cat", 1), ("cat", 2), ("dog", 3)]));
    assert_eq!(content(&set, set.test.as_ref()), owned(&[("cat", 5), ("dog", 4)]));
    assert!(set.describe().contains("parts train and validation"), "{}", set.describe());
    assert!(set.describe().contains("notes.txt"), "what is left out is said: {}", set.describe());
    assert_eq!(set.fingerprint().unwrap(), place.open().unwrap().fingerprint().unwrap());
    place.write("val/cat/c.png", &[flat(5), vec![0]].concat());
    assert_ne!(set.fingerprint().unwrap(), place.open().unwrap().fingerprint().unwrap());
}

/// `sorted(os.walk(class))` with sorted names, as torchvision lists a class: folders by their path, whatever their depth.
#[test]
fn files_are_sorted_as_torchvision_sorts_them() {
    let place = Place::new();
    for (i, name) in
        ["b.png", "a/z.png", "a-b/c.png", "a/b/d.png", "B.png", "10.png", "9.png"].iter().enumerate()
    {
        place.write(&format!("x/{name}"), &flat(i as u8)).write(&format!("y/{name}"), &flat(100));
    }
    let set = open(place.0.path(), &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (14, 0));
    let names: Vec<String> = (0..7).map(|i| set.train.name(i)).collect();
    let root = place.path("x").display().to_string();
    let names: Vec<&str> = names.iter().map(|n| &n[root.len() + 1..]).collect();
    assert_eq!(names, ["10.png", "9.png", "B.png", "b.png", "a/z.png", "a-b/c.png", "a/b/d.png"]);
}

#[test]
fn a_set_without_parts_is_split_by_names() {
    let place = Place::new();
    for i in 0..40u8 {
        place.write(&format!("cat/{i}.png"), &flat(i)).write(&format!("dog/{i}.png"), &flat(100 + i));
    }
    place.write("rare/1.png", &flat(200)).write("rare/2.png", &flat(201));
    let with = |split, split_seed| open(place.0.path(), &OpenOptions { split, split_seed }).unwrap();
    let set = with(0.25, 0);
    let count = |source: &dyn Source| {
        let mut n = BTreeMap::new();
        (0..source.len()).for_each(|i| *n.entry(source.label(i)).or_insert(0) += 1);
        n.into_values().collect::<Vec<usize>>()
    };
    assert_eq!(count(set.test.as_ref()), [10, 10, 1], "every class by its share");
    assert_eq!(count(set.train.as_ref()), [30, 30, 1]);
    let both = [content(&set, set.train.as_ref()), content(&set, set.test.as_ref())].concat();
    assert_eq!(both.iter().collect::<std::collections::BTreeSet<_>>().len(), 82, "nothing is in both");
    assert_eq!(content(&set, set.test.as_ref()), content(&with(0.25, 0), with(0.25, 0).test.as_ref()));
    assert_ne!(content(&set, set.test.as_ref()), content(&set, with(0.25, 1).test.as_ref()));
    assert_eq!((with(1.0, 0).train.len(), with(1.0, 0).test.len()), (0, 82));

    // One more picture takes at most one other out of the test part.
    let before = content(&set, set.test.as_ref());
    place.write("cat/more.png", &flat(99));
    let after = with(0.25, 0);
    let after = content(&after, after.test.as_ref());
    assert!(before.iter().filter(|item| !after.contains(item)).count() <= 1);
}

#[test]
fn folders_that_are_no_set_are_refused() {
    let place = Place::new();
    place.refused(&["an empty folder", "a folder of pictures for each class"]);
    place.write("letter.doc", b"x").refused(&["letter.doc"]);
    place.write("cat/1.png", &flat(1)).refused(&["1 classes"]);
    place.write("dog/notes.txt", b"x").refused(&["dog", "without a picture", "jpg"]);
    let place = Place::new();
    place
        .write("train/cat/1.png", &flat(1))
        .write("train/dog/1.png", &flat(1))
        .write("test/cow/1.png", &flat(1));
    place.refused(&["`cow` only in the test part"]);
    refused(&place.path("absent"), &["absent", "cannot open"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    let place = Place::new();
    place.write("elsewhere/1.png", &flat(7)).write("set/a/2.png", &flat(8));
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("set/b")).unwrap();
    std::os::unix::fs::symlink(place.path("set/a"), place.path("set/a/again")).unwrap();
    std::os::unix::fs::symlink(place.path("nothing"), place.path("set/a/dead.png")).unwrap();
    let set = open(&place.path("set"), &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
    assert_eq!(content(&set, set.train.as_ref()), owned(&[("a", 8), ("b", 7)]));
    assert!(set.describe().contains("circle"), "{}", set.describe());
}

#[test]
fn a_table_of_paths_and_labels() {
    let place = Place::new();
    for i in 1..5 {
        place.write(&format!("images/{i}.png"), &flat(i));
    }
    place.write(
        "all.csv",
        b"split,image,label\ntrain,images/1.png,cat\ntrain,images/2.png,dog\ntest,images/3,dog\n",
    );
    for path in [place.path("all.csv"), place.0.path().to_owned()] {
        let set = open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(content(&set, set.train.as_ref()), owned(&[("cat", 1), ("dog", 2)]));
        assert_eq!(content(&set, set.test.as_ref()), owned(&[("dog", 3)]));
    }
    place.write("bare.csv", "\u{feff}images/1.png;0\nimages/4.png;2\n\n".as_bytes());
    let set = open(&place.path("bare.csv"), &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
    assert_eq!(set.classes, ["0", "1", "2"], "numbers are labels");
    assert_eq!(content(&set, set.train.as_ref()), owned(&[("0", 1), ("2", 4)]));

    for (text, parts) in [
        ("a,b\n1,2\n", ["columns", "path"]),
        ("path,label\nimages/9.png,cat\n", ["9.png", "cannot open"]),
        ("path,label\n../secret.png,cat\n", ["line 2", "stays below"]),
        ("path,label\n/etc/passwd,cat\n", ["line 2", "stays below"]),
        ("path,label\nimages/1.png,\n", ["line 2", "a path and a label"]),
        ("path,label,split\nimages/1.png,cat,often\n", ["line 2", "often"]),
    ] {
        place.write("bad.csv", text.as_bytes());
        refused(&place.path("bad.csv"), &parts);
    }
}

/// A tar archive of these files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (name, bytes) in files {
        builder.append(&header(name, bytes.len() as u64, tar::EntryType::Regular), *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A header with any name, also one that no library would write.
fn header(name: &str, size: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
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

/// A tiny set in the form of CIFAR-10: every picture of its own colour.
fn cifar_record(label: u8, [r, g, b]: [u8; 3]) -> Vec<u8> {
    [vec![label], vec![r; 1024], vec![g; 1024], vec![b; 1024]].concat()
}

fn check_cifar(set: &Dataset) {
    assert_eq!((set.classes.len(), set.train.len(), set.test.len()), (10, 5, 1));
    let mut picture = Picture::default();
    set.train.read(3, &mut picture).unwrap();
    assert_eq!((set.train.label(3), &picture.pixels[..4]), (4, [4, 200, 7, 4].as_slice()));
    set.test.read(0, &mut picture).unwrap();
    assert_eq!((set.test.label(0), &picture.pixels[..3]), (9, [9, 200, 7].as_slice()));
}

#[test]
fn cifar_binary_in_a_folder_and_in_its_archive() {
    let place = Place::new();
    let name = |i: u8| format!("cifar-10-batches-bin/data_batch_{i}.bin");
    let batches: Vec<(String, Vec<u8>)> = (1..6).map(|i| (name(i), cifar_record(i, [i, 200, 7]))).collect();
    let test = cifar_record(9, [9, 200, 7]);
    for (name, bytes) in &batches {
        place.write(name, bytes);
    }
    place.write("cifar-10-batches-bin/test_batch.bin", &test);
    check_cifar(&place.open().unwrap());
    check_cifar(&open(&place.path("cifar-10-batches-bin"), &OpenOptions::default()).unwrap());
    assert_eq!(place.open().unwrap().classes[3], "cat");

    let mut files: Vec<(&str, &[u8])> = batches.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    files.push(("cifar-10-batches-bin/test_batch.bin", &test));
    place.write("cifar-10-binary.tar.gz", &gzip(&tar(&files)));
    check_cifar(&open(&place.path("cifar-10-binary.tar.gz"), &OpenOptions::default()).unwrap());
    check_cifar(&resnet_train::data::find_cifar("cifar10", Some(place.0.path())).unwrap());
    let absent = resnet_train::data::find_cifar("cifar100", Some(place.0.path())).unwrap_err().to_string();
    assert!(absent.contains("cifar-100-binary.tar.gz"), "{absent}");

    place.write(&name(2), &cifar_record(2, [0; 3])[1..]);
    place.refused(&["data_batch_2.bin", "3072 bytes", "3073"]);
    place.write(&name(2), &cifar_record(10, [0; 3]));
    place.refused(&["label 10"]);
    fs::remove_file(place.path(&name(2))).unwrap();
    place.refused(&["data_batch_2.bin"]);
}

#[test]
fn cifar_100_binary() {
    let place = Place::new();
    let record = |coarse: u8, fine: u8| [vec![coarse], cifar_record(fine, [fine, 1, 2])].concat();
    let names: Vec<String> = (0..100).map(|i| format!("class {i}")).collect();
    place.write("train.bin", &[record(3, 50), record(4, 99)].concat()).write("test.bin", &record(3, 50));
    place.write("fine_label_names.txt", names.join("\n").as_bytes());
    let set = place.open().unwrap();
    assert_eq!((set.classes.len(), set.train.label(0), set.train.label(1)), (100, 50, 99));
    place.write("fine_label_names.txt", b"apple\n").refused(&["fine_label_names.txt", "1 names", "100"]);
}

/// Pickles as Python 2 wrote the published ones (strings of bytes) and as Python 3 writes them.
#[test]
fn cifar_python_batches() {
    for (from, forms) in [("python2", "cifar10-python2"), ("python3", "cifar10-python3")] {
        let set = open(&pictures().parent().unwrap().join("sets").join(forms), &OpenOptions::default());
        let set = set.unwrap_or_else(|e| panic!("{from}: {e}"));
        check_cifar(&set);
        assert_eq!(set.classes[9], "truck");
    }
    let place = Place::new();
    let evil = b"cos\nsystem\n(S'echo'\ntR.";
    for i in 1..6 {
        place.write(&format!("data_batch_{i}"), evil);
    }
    place.write("test_batch", evil).refused(&["data_batch_1", "os.system", "refused"]);
}

#[test]
fn parquet_as_hugging_face_writes_it() {
    let sets = pictures().parent().unwrap().join("sets");
    let set = open(&sets.join("hugging-face"), &OpenOptions::default()).unwrap();
    assert_eq!(set.classes, ["cat", "dog", "bird"]);
    let wanted = [("bird", 20), ("cat", 0), ("cat", 30), ("dog", 10), ("dog", 40)];
    assert_eq!(content(&set, set.train.as_ref()), owned(&wanted));
    assert_eq!(content(&set, set.test.as_ref()), owned(&[("cat", 60), ("dog", 50)]));
    assert!(set.train.name(1).contains("row 1"), "{}", set.train.name(1));
    refused(&sets.join("zstd.parquet"), &["ZSTD", "snappy"]);
    refused(&sets.join("null.parquet"), &["a row without a picture"]);
    refused(&sets.join("plain.parquet"), &["the columns", "label"]);

    let whole = fs::read(sets.join("hugging-face/data/train-00000-of-00001.parquet")).unwrap();
    let place = Place::new();
    for cut in [4, whole.len() / 2, whole.len() - 4] {
        place.write("cut.parquet", &whole[..cut]);
        refused(&place.path("cut.parquet"), &["cut.parquet"]);
    }
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

/// Real files of every kind as one set, and what becomes of broken ones among them.
#[test]
fn grey_and_colour() {
    let place = Place::new();
    place.write("a/1.jpg", &file("baseline.jpg")).write("b/1.png", &file("alpha.png"));
    let set = open(place.0.path(), &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
    let grey = set.clone().with_channels(1).unwrap();
    assert_ne!(set.fingerprint().unwrap(), grey.fingerprint().unwrap());
    let mut picture = Picture::default();
    grey.train.read(0, &mut picture).unwrap();
    assert_eq!((picture.channels, picture.pixels.len()), (1, 18 * 26));
    assert!(set.with_channels(2).unwrap_err().to_string().contains("model.channels"));
    let renamed = grey.with_classes(&["x".into(), "b".into(), "a".into()]).unwrap();
    assert_eq!((renamed.train.label(0), renamed.train.label(1)), (2, 1));
    assert!(renamed.with_classes(&["x".into(), "b".into()]).unwrap_err().to_string().contains("`a`"));
}

/// The whole of CIFAR-10: exact sums over all pixels, and what the first pictures are.
#[test]
fn the_whole_of_cifar_10() {
    let set = match resnet_train::data::find_cifar("cifar10", None) {
        Ok(set) => set,
        Err(e) if std::env::var_os("RESNET_TEST_REQUIRE_DATA").is_some_and(|v| v == "cifar10") => {
            panic!("{e}")
        }
        Err(_) => {
            return {
                eprintln!(
                    "SKIPPED the_whole_of_cifar_10: not found; RESNET_TEST_REQUIRE_DATA=cifar10 makes this a failure"
                );
            };
        }
    };
    let labels = |source: &dyn Source| (0..10).map(|i| source.label(i)).collect::<Vec<_>>();
    assert_eq!(labels(set.train.as_ref()), [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]);
    assert_eq!(labels(set.test.as_ref()), [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]);
    let sums = |source: &dyn Source| {
        let (mut sums, mut picture) = ([0u64; 3], Picture::default());
        for i in 0..source.len() {
            source.read(i, &mut picture).unwrap();
            for pixel in picture.pixels.chunks_exact(3) {
                (0..3).for_each(|c| sums[c] += u64::from(pixel[c]));
            }
        }
        sums
    };
    assert_eq!(sums(set.train.as_ref()), [6_415_714_204, 6_295_060_180, 5_829_907_619]);
    assert_eq!(sums(set.test.as_ref()), [1_290_492_328, 1_266_775_083, 1_176_108_223]);
    let stats = set.stats().unwrap();
    assert!((f64::from(stats.mean[0]) - 0.491_399_68).abs() < 1e-7, "{stats:?}");
    assert!((f64::from(stats.std[2]) - 0.261_587_84).abs() < 1e-7, "{stats:?}");
}

/// Changed and cut containers must give a set or an error, and never panic or take memory without end.
#[test]
fn damaged_containers_do_not_panic() {
    let sets = pictures().parent().unwrap().join("sets");
    let archive = tar(&[("a/1.png", &flat(1)), ("b/2.png", &flat(2)), ("b/2.cls", b"1")]);
    let place = Place::new();
    for at in (0..archive.len()).filter(|at| archive[*at] != 0) {
        let mut changed = archive.clone();
        changed[at] ^= 1 << (at % 8);
        place.write("set.tar", &changed);
        drop(open(&place.path("set.tar"), &OpenOptions::default()));
    }
    let batch = fs::read(sets.join("cifar10-python3/data_batch_1")).unwrap();
    for at in (0..batch.len()).filter(|at| *at < 200 || *at > batch.len() - 100) {
        let mut changed = batch.clone();
        changed[at] ^= 1 << (at % 8);
        drop(resnet_import::container::Dictionary::read("batch", changed));
        drop(resnet_import::container::Dictionary::read("batch", batch[..at].to_vec()));
    }
}
