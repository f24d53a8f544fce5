//! CIFAR-10 and CIFAR-100, binary and as Python's pickles.

use std::fs;

use resnet_train::data::{Dataset, OpenOptions, Picture, Source, open};

use super::archives::{gzip, tar};
use super::{Place, pictures};

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
