//! Pictures: every format.

use std::path::PathBuf;

use resnet_train::data::Picture;
use resnet_train::data::decode::decode;

use crate::harness::{Outcome, damage};

pub(crate) fn file(name: &str) -> Vec<u8> {
    let folder: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../resnet-train/tests/data/pictures"].iter().collect();
    std::fs::read(folder.join(name)).unwrap()
}

fn tried(name: &str) -> Outcome {
    let read = |bytes: &[u8]| {
        let mut picture = Picture::default();
        decode(bytes, &mut picture).map(|()| picture)
    };
    damage(name, &file(name), read)
}

#[test]
fn jpeg() {
    for name in ["baseline.jpg", "progressive.jpg", "cmyk.jpg", "turned.jpg", "grey.jpg"] {
        assert!(tried(name).n_refused > 0, "{name}");
    }
}

/// PNG has a checksum for every chunk, so a change is found, or is in something that does not bear on the picture.
#[test]
fn png() {
    for name in ["colour.png", "alpha.png", "deep.png", "palette.png", "grey.png"] {
        let outcome = tried(name);
        assert_eq!(outcome.n_other, 0, "{name}: {outcome:?}");
    }
}

#[test]
fn webp_gif_and_bmp() {
    for name in ["lossy.webp", "lossless.webp", "first-frame.gif", "colour.bmp"] {
        assert!(tried(name).n_refused > 0, "{name}");
    }
}
