use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use resnet_train::Error;
use resnet_train::data::{Known, idx, user_data_dir};

fn no_var(_: &str) -> Option<OsString> {
    None
}

/// Four small files in the format of the set.
fn write_set(dir: &Path) {
    for (part, n) in [("train", 3u32), ("t10k", 2)] {
        let labels: Vec<u8> = (0..n as u8).collect();
        let pixels = vec![7; n as usize * 4];
        fs::write(dir.join(format!("{part}-images-idx3-ubyte")), idx::encode(&[n, 2, 2], &pixels)).unwrap();
        fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), idx::encode(&[n], &labels)).unwrap();
    }
}

#[test]
fn places_are_searched_in_order() {
    let var = |name: &str| match name {
        "RESNET_DATA_DIR" => Some(OsString::from("/env")),
        "XDG_DATA_HOME" => Some(OsString::from("/xdg")),
        "HOME" => Some(OsString::from("/home/me")),
        _ => None,
    };
    let paths = |text: &[&str]| text.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(
        Known::FashionMnist.places(None, var),
        paths(&[
            "/env",
            "/env/fashion-mnist",
            "/xdg/resnet/fashion-mnist",
            "/usr/share/datasets/fashion-mnist"
        ])
    );
    assert_eq!(Known::Mnist.places(Some(Path::new("d")), var), paths(&["d", "d/mnist"]));
    assert_eq!(Known::Mnist.places(None, no_var), paths(&["/usr/share/datasets/mnist"]));
    let relative = |name: &str| {
        (name != "RESNET_DATA_DIR").then(|| OsString::from(if name == "HOME" { "/h" } else { "r" }))
    };
    assert_eq!(user_data_dir(relative), Some(PathBuf::from("/h/.local/share/resnet")));
}

#[test]
fn a_set_is_found_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("mnist");
    fs::create_dir(&inside).unwrap();
    write_set(&inside);
    let found = Known::Mnist.find(Some(dir.path())).unwrap();
    assert_eq!(found, inside);
    let set = Known::Mnist.load(&found).unwrap();
    assert_eq!(set.describe(), format!("MNIST ({}): 3 train, 2 test, 10 classes, 2×2×1", inside.display()));
    assert_eq!(set.stats().unwrap().mean, [7.0 / 255.0]);
    assert_eq!(set.stats().unwrap().std, [1.0]); // constant pixels
}

#[test]
fn a_set_that_is_nowhere_says_where_it_was_sought() {
    let dir = tempfile::tempdir().unwrap();
    let error = Known::FashionMnist.find(Some(dir.path())).unwrap_err().to_string();
    assert!(error.contains(&format!("\n  {}\n", dir.path().display())), "{error}");
    assert!(error.contains("cargo xtask data fashion-mnist"), "{error}");
}

#[test]
fn a_missing_or_wrong_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write_set(dir.path());
    let labels = dir.path().join("t10k-labels-idx1-ubyte");
    fs::write(&labels, idx::encode(&[2], &[1, 10])).unwrap();
    let error = Known::Mnist.load(dir.path()).unwrap_err().to_string();
    assert_eq!(error, format!("{}: label 10 of picture 1 is out of range; wanted 0 to 9", labels.display()));

    fs::remove_file(&labels).unwrap();
    let found = Known::Mnist.find(Some(dir.path())).unwrap();
    let error = Known::Mnist.load(&found).unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path.ends_with("t10k-labels-idx1-ubyte.gz")),
        "{error}"
    );
}

#[test]
fn checksums_tell_the_published_files() {
    let dir = tempfile::tempdir().unwrap();
    write_set(dir.path());
    for file in Known::FashionMnist.files() {
        let error = file.check(&file.path_in(dir.path())).unwrap_err().to_string();
        assert!(error.contains(file.sha256), "{error}");
    }
}

/// Figures of the whole set: published counts and the sum of its pixels. Runs where the set is installed.
#[test]
fn the_whole_set_has_its_known_figures() {
    let Ok(dir) = Known::FashionMnist.find(None) else {
        assert!(
            std::env::var_os("RESNET_TEST_REQUIRE_DATA").is_none(),
            "Fashion-MNIST is required, not found"
        );
        eprintln!("SKIPPED: Fashion-MNIST is not installed; RESNET_TEST_REQUIRE_DATA=1 makes this a failure");
        return;
    };
    for file in Known::FashionMnist.files() {
        file.check(&file.path_in(&dir)).unwrap();
    }
    let set = Known::FashionMnist.load(&dir).unwrap();
    assert!(set.describe().ends_with("60,000 train, 10,000 test, 10 classes, 28×28×1"));
    let labels: Vec<u32> = (0..10).map(|i| set.train.label(i)).collect();
    assert_eq!(labels, [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
    assert!((f64::from(set.stats().unwrap().mean[0]) - 0.286_040_60).abs() < 1e-7);
    assert!((f64::from(set.stats().unwrap().std[0]) - 0.353_024_24).abs() < 1e-7);
}
