//! Every kind of picture file against Pillow, and what must be refused. `golden/make_pictures.py` makes the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use resnet_train::data::Picture;
use resnet_train::data::decode::{decode, to_colour, to_grey};
use serde::Deserialize;

#[derive(Deserialize)]
struct Wanted {
    size: (usize, usize),
    /// In hexadecimal.
    rgb: String,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

#[test]
fn pictures_decode_as_pillow_decodes_them() {
    let wanted: BTreeMap<String, Wanted> =
        serde_json::from_str(include_str!("pictures/pictures.json")).unwrap();
    assert_eq!(wanted.len(), 15);
    let mut picture = Picture::default(); // one for all, so that what is left of the one before would show
    for (name, wanted) in wanted {
        decode(&bytes(&name), &mut picture).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            (picture.height, picture.width, picture.channels),
            (wanted.size.0, wanted.size.1, 3),
            "{name}"
        );
        let rgb: Vec<u8> = (0..wanted.rgb.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&wanted.rgb[i..i + 2], 16).unwrap())
            .collect();
        let off: Vec<u8> = picture.pixels.iter().zip(&rgb).map(|(a, b)| a.abs_diff(*b)).collect();
        assert_eq!(picture.pixels.len(), rgb.len(), "{name}");
        let largest = *off.iter().max().unwrap();
        let mean = off.iter().map(|v| f64::from(*v)).sum::<f64>() / off.len() as f64;
        // Two decoders may round their transforms and their colours differently.
        let is_lossy = name.ends_with(".jpg") || name.starts_with("lossy");
        let allowed = if is_lossy { (5, 1.0) } else { (0, 0.0) };
        assert!(largest <= allowed.0 && mean <= allowed.1, "{name}: largest {largest}, mean {mean}");
    }
}

#[test]
fn grey_is_pil_s() {
    // Image.new("RGB", (1, 1), c).convert("L") of Pillow.
    let colours = [255, 0, 0, 0, 255, 0, 0, 0, 255, 12, 200, 77];
    let mut picture = Picture { height: 2, width: 2, channels: 3, pixels: colours.to_vec() };
    to_grey(&mut picture);
    assert_eq!((picture.channels, picture.pixels.as_slice()), (1, [76, 150, 29, 130].as_slice()));
    to_colour(&mut picture);
    assert_eq!((picture.channels, &picture.pixels[3..6]), (3, [150; 3].as_slice()));
    to_grey(&mut picture);
    assert_eq!(picture.pixels, [76, 150, 29, 130], "grey survives the way there and back");
}

fn refusal(bytes: &[u8]) -> String {
    decode(bytes, &mut Picture::default()).unwrap_err()
}

#[test]
fn what_is_no_whole_picture_is_refused() {
    assert!(refusal(b"").contains("empty"));
    assert!(refusal(b"<html><body>not found").contains("<html>"));
    assert!(refusal(b"II*\0\x08\0\0\0").contains("Tiff"));
    for name in ["baseline.jpg", "progressive.jpg", "cmyk.jpg", "turned.jpg", "colour.png", "lossless.webp"] {
        let whole = bytes(name);
        let last = if name.ends_with("jpg") { 0.99 } else { 0.8 }; // a PNG is whole without its last chunk
        for share in [last, 0.6, 0.3] {
            let cut = &whole[..(whole.len() as f64 * share) as usize];
            assert!(decode(cut, &mut Picture::default()).is_err(), "{name} cut to {share}");
        }
    }
}

/// Cut and changed files must give a picture or an error, and never panic.
#[test]
fn damaged_files_do_not_panic() {
    for name in
        ["baseline.jpg", "progressive.jpg", "colour.png", "lossy.webp", "first-frame.gif", "colour.bmp"]
    {
        let whole = bytes(name);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            drop(decode(&changed, &mut Picture::default()));
            drop(decode(&whole[..at], &mut Picture::default()));
        }
    }
}

/// The header of a PNG or JPEG that claims more than is decoded; nothing may be allocated for it.
#[test]
fn bombs_are_refused_by_their_headers() {
    let mut png = bytes("colour.png");
    png[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let why = refusal(&png);
    assert!(why.contains("50000×50000"), "{why}");

    let mut jpeg = bytes("baseline.jpg");
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    let why = refusal(&jpeg);
    assert!(why.contains("65535×65535"), "{why}");
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    })
}
