//! Small files that pretend to be large, or become so when they are unpacked.

use flate2::{Compress, Compression, FlushCompress};
use resnet::import::container::Archive;
use resnet_train::data::decode::decode;
use resnet_train::data::{OpenOptions, Picture, open};

use crate::harness::check_memory;
use crate::pictures::file;

/// A gzip file of `n` times 16 MiB of zeros, made of one piece that is repeated.
fn gzip_of_zeros(n: usize) -> Vec<u8> {
    let (zeros, mut piece) = (vec![0; 16 << 20], Vec::with_capacity(1 << 20));
    let mut deflate = Compress::new(Compression::best(), false);
    deflate.compress_vec(&zeros, &mut piece, FlushCompress::Full).unwrap();
    assert_eq!(deflate.total_in(), 16 << 20);
    let mut file = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    (0..n).for_each(|_| file.extend_from_slice(&piece));
    file
}

/// 3 GiB of zeros in 3 MiB, as every kind of file that may be gzipped.
#[test]
fn gzip() {
    let bomb = gzip_of_zeros(192);
    assert!(bomb.len() < 4 << 20, "{} bytes", bomb.len());
    for name in ["cifar-10-binary.tar.gz", "set.tar.gz"] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(name);
        std::fs::write(&path, &bomb).unwrap();
        let why = open(&path, &OpenOptions::default()).unwrap_err().to_string();
        assert!(why.contains(name), "{why}");
    }
    let home = tempfile::tempdir().unwrap();
    for name in [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ] {
        std::fs::write(home.path().join(name), &bomb).unwrap();
    }
    let why = open(home.path(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(why.contains("ubyte"), "{why}");
    check_memory();
}

/// A picture of three GiB inside a shard of a few MiB.
#[test]
fn a_member_of_a_shard() {
    let mut header = tar::Header::new_ustar();
    header.set_path("1.png").unwrap();
    header.set_size(3 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let mut head = Compress::new(Compression::fast(), false);
    let mut start = Vec::with_capacity(4096);
    head.compress_vec(header.as_bytes(), &mut start, FlushCompress::Full).unwrap();
    let mut bomb = gzip_of_zeros(200);
    bomb.splice(10..10, start);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("set.tar.gz");
    std::fs::write(&path, bomb).unwrap();
    let why = open(&path, &OpenOptions::default()).unwrap_err().to_string();
    assert!(why.contains("1.png") && why.contains("at most"), "{why}");
    check_memory();
}

/// Ten thousand scans, each of which is a pass over the whole picture.
#[test]
fn a_progressive_jpeg() {
    let whole = file("progressive.jpg");
    let scans: Vec<usize> =
        whole.windows(2).enumerate().filter(|(_, w)| *w == [0xff, 0xda]).map(|(i, _)| i).collect();
    let (first, second) = (scans[scans.len() - 2], scans[scans.len() - 1]);
    let scan = &whole[first..second];
    let mut bomb = whole[..second].to_vec();
    (0..10_000).for_each(|_| bomb.extend_from_slice(scan));
    bomb.extend_from_slice(&whole[second..]);
    let why = decode(&bomb, &mut Picture::default()).unwrap_err();
    assert!(why.to_lowercase().contains("scans"), "{why}");
}

#[test]
fn safetensors_headers() {
    let refusal =
        |bytes: Vec<u8>| Archive::from_bytes(bytes).map(|a| a.entries().len()).unwrap_err().to_string();
    let with_length = |n: u64, json: &str| [n.to_le_bytes().to_vec(), json.as_bytes().to_vec()].concat();
    refusal(with_length(u64::MAX, "{}"));
    refusal(with_length(1 << 40, "{\"a\":1}"));
    for shape in ["[4294967295,4294967295,4294967295]", "[18446744073709551615]", "[-1]", "[1e300]"] {
        let json = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,4]}}}}"#);
        refusal(with_length(json.len() as u64, &format!("{json}0000")));
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let json = format!(r#"{{"__metadata__":{deep}}}"#);
    refusal(with_length(json.len() as u64, &format!("{json}0000")));
    check_memory();
}
