use std::io::{Read, Write};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use resnet_train::Error;
use resnet_train::data::Source;
use resnet_train::data::idx::{self, Idx};

fn small() -> Idx {
    Idx { dims: vec![2, 3, 4], data: (0..24).collect() }
}

fn bytes_of(idx: &Idx) -> Vec<u8> {
    let dims: Vec<u32> = idx.dims.iter().map(|&d| d as u32).collect();
    idx::encode(&dims, &idx.data)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn message(bytes: &[u8], rank: usize) -> String {
    let error = idx::decode("some-file", bytes, rank).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("some-file: ") && text.contains("wanted"), "{text}");
    text
}

#[test]
fn plain_and_gzipped_give_the_same() {
    let bytes = bytes_of(&small());
    assert_eq!(bytes[..8], [0, 0, 8, 3, 0, 0, 0, 2]);
    assert_eq!(idx::decode("f", bytes.as_slice(), 3).unwrap(), small());
    assert_eq!(idx::decode("f", gzip(&bytes).as_slice(), 3).unwrap(), small());
}

/// A reader may hand out one byte at a time; whether a file is gzipped must still be seen.
#[test]
fn short_reads_change_nothing() {
    struct Dribble(std::io::Cursor<Vec<u8>>);
    impl Read for Dribble {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = buffer.len().min(1);
            self.0.read(&mut buffer[..n])
        }
    }
    for bytes in [bytes_of(&small()), gzip(&bytes_of(&small()))] {
        assert_eq!(idx::decode("f", Dribble(std::io::Cursor::new(bytes)), 3).unwrap(), small());
    }
}

#[test]
fn every_truncation_is_refused() {
    let plain = bytes_of(&small());
    for bytes in [gzip(&plain), plain] {
        for n in 0..bytes.len() {
            message(&bytes[..n], 3);
        }
    }
}

/// A few bits mean nothing (time, system, padding of the last byte); all others are caught by structure or checksum.
#[test]
fn no_flipped_bit_of_a_gzip_file_gives_other_data() {
    let bytes = gzip(&bytes_of(&small()));
    let mut n_refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match idx::decode("f", bad.as_slice(), 3) {
            Ok(read) => assert_eq!(read, small(), "bit {bit}"),
            Err(_) => n_refused += 1,
        }
    }
    assert!(n_refused > (bytes.len() - 10) * 8 - 8, "{n_refused} of {} refused", bytes.len() * 8);
}

#[test]
fn wrong_headers_are_named() {
    let bytes = bytes_of(&small());
    assert!(message(&bytes, 1).contains("00 00 08 01"));
    assert!(message(b"<html>not found</html>", 3).contains("3c, 68"));
    let mut floats = bytes.clone();
    floats[2] = 0x0d;
    message(&floats, 3);
    let mut long = bytes.clone();
    long.push(0);
    assert!(message(&long, 3).contains("more than 24 bytes"));
    assert!(message(&gzip(&long), 3).contains("more than 24 bytes"));
    assert!(message(&bytes[..30], 3).contains("14 bytes after the header; wanted 24"));
}

#[test]
fn claims_are_not_believed() {
    let claim = |dims: &[u32]| idx::encode(dims, &[]);
    assert!(message(&claim(&[u32::MAX; 4]), 4).contains("at most 1073741824 bytes"));
    assert!(message(&claim(&[u32::MAX, 1, 1]), 3).contains("at most"));
    // Within the cap, but not there.
    message(&claim(&[1 << 20, 32, 32]), 3);
}

/// Reads on and on: 10 GB if anybody lets it.
struct Zeros {
    n_read: u64,
}

impl Read for &mut Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(0);
        self.n_read += buffer.len() as u64;
        Ok(if self.n_read > 10 << 30 { 0 } else { buffer.len() })
    }
}

#[test]
fn no_more_is_read_than_the_header_says() {
    let header = idx::encode(&[100, 10, 10], &[]);
    let mut zeros = Zeros { n_read: 0 };
    let error = idx::decode("f", header.as_slice().chain(&mut zeros), 3).unwrap_err().to_string();
    assert!(error.contains("more than 10000 bytes"), "{error}");
    assert!(zeros.n_read < 1 << 20, "{} bytes read", zeros.n_read);

    // The same compressed: a thousandfold bomb of 64 MB, of which a few kilobytes are unpacked.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&header).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(64 << 20), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    let mut rest = bomb.as_slice();
    assert!(idx::decode("f", &mut rest, 3).unwrap_err().to_string().contains("more than 10000 bytes"));
    assert!(rest.len() > bomb.len() / 2, "{} of {} bytes left", rest.len(), bomb.len());
}

#[test]
fn pictures_and_labels_must_fit() {
    let pictures = || ("pictures", small());
    let labels = |data: &[u8]| ("labels", Idx { dims: vec![data.len()], data: data.to_vec() });
    let source = idx::labelled(pictures(), labels(&[1, 0]), 2).unwrap();
    assert_eq!((source.len(), source.extent(), source.label(0)), (2, Some((3, 4)), 1));

    let error = |labels| idx::labelled(pictures(), labels, 2).unwrap_err().to_string();
    assert_eq!(error(labels(&[1])), "labels: 1 labels; wanted 2, one for each picture of pictures");
    assert_eq!(error(labels(&[0, 2])), "labels: label 2 of picture 1 is out of range; wanted 0 to 1");
    assert_eq!(error(labels(&[255, 0])), "labels: label 255 of picture 0 is out of range; wanted 0 to 1");
    let none = Idx { dims: vec![0, 3, 4], data: vec![] };
    assert!(idx::labelled(("pictures", none), labels(&[]), 2).is_err());
    let flat = Idx { dims: vec![2, 0, 4], data: vec![] };
    assert!(idx::labelled(("pictures", flat), labels(&[0, 0]), 2).is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read(dims in prop::collection::vec(0u32..6, 1..5), zip: bool) {
        let n = dims.iter().product::<u32>();
        let data: Vec<u8> = (0..n).map(|i| i as u8).collect();
        let mut bytes = idx::encode(&dims, &data);
        if zip {
            bytes = gzip(&bytes);
        }
        let read = idx::decode("f", bytes.as_slice(), dims.len()).unwrap();
        prop_assert_eq!(read.data, data);
    }

    #[test]
    fn garbage_is_refused_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), start in 0usize..3) {
        let starts: [&[u8]; 3] = [&[], &[0, 0, 8, 3], &[0x1f, 0x8b, 8, 0]];
        bytes.splice(0..0, starts[start].iter().copied());
        if let Ok(idx) = idx::decode("f", bytes.as_slice(), 3) {
            prop_assert_eq!(idx.dims.iter().product::<usize>(), idx.data.len());
        }
    }
}
