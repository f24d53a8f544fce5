//! Parquet files with a column of pictures.

use std::fs;

use resnet_train::data::{OpenOptions, open};

use super::{Place, content, owned, pictures, refused};

#[test]
fn parquet_as_hugging_face_writes_it() {
    let sets = pictures().parent().unwrap().join("sets");
    let set = open(&sets.join("hugging-face"), &OpenOptions::default()).unwrap();
    assert_eq!(set.classes, ["cat", "dog", "bird"]);
    let wanted = [("bird", 20), ("cat", 0), ("cat", 30), ("dog", 10), ("dog", 40)];
    assert_eq!(content(&set, set.train.as_ref()), owned(&wanted));
    assert_eq!(content(&set, set.test.as_ref()), owned(&[("cat", 60), ("dog", 50)]));
    assert!(set.train.name(1).contains("row 1"), "{}", set.train.name(1));
    refused(&sets.join("null.parquet"), &["a row without a picture"]);
    refused(&sets.join("plain.parquet"), &["the columns", "label"]);

    let whole = fs::read(sets.join("hugging-face/data/train-00000-of-00001.parquet")).unwrap();
    let place = Place::new();
    for cut in [4, whole.len() / 2, whole.len() - 4] {
        place.write("cut.parquet", &whole[..cut]);
        refused(&place.path("cut.parquet"), &["cut.parquet"]);
    }
}

/// Files of pyarrow, of every compression it writes.
#[test]
fn columns_of_every_compression() {
    let sets = pictures().parent().unwrap().join("sets");
    for codec in ["none", "snappy", "gzip", "lz4", "zstd", "brotli"] {
        let path = sets.join(format!("{codec}.parquet"));
        let set = open(&path, &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
        assert_eq!(content(&set, set.train.as_ref()), owned(&[("0", 1), ("1", 2)]), "{codec}");
    }
}
