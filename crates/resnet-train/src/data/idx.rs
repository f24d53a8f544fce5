//! The IDX file format of MNIST and its relatives, plain or gzipped.
//!
//! A file is `0 0 type rank`, then `rank` extents as big-endian u32, then the elements; only bytes (type 8) occur here.
//! Files are untrusted: nothing is allocated that the header merely claims, and a file must end where it says.
//!
//! Source: Y. LeCun, C. Cortes, C. Burges, *The MNIST database of handwritten digits*, section "file formats".

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::InMemory;
use crate::{Error, Result};

/// Most bytes of elements that are read from one file: 20 times MNIST.
pub const MAX_BYTES: usize = 1 << 30;

/// Most bytes reserved before they have arrived.
const MAX_RESERVED_BYTES: usize = 64 << 20;

const TYPE_U8: u8 = 8;

/// What an IDX file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Extents, the slowest first.
    pub dims: Vec<usize>,
    /// Elements; as many as the product of the extents.
    pub data: Vec<u8>,
}

/// Reads a file of `rank` extents. Whether it is gzipped is decided by its content, not its name.
///
/// # Errors
/// [`Error::Io`] or [`Error::Format`], naming the file.
pub fn read(path: &Path, rank: usize) -> Result<Idx> {
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    decode(&path.display().to_string(), BufReader::new(file), rank)
}

/// Reads `rank` extents and their elements from anything; `name` is for errors.
///
/// # Errors
/// [`Error::Format`], naming `name`.
pub fn decode<'a>(name: &str, reader: impl Read + 'a, rank: usize) -> Result<Idx> {
    let mut reader = unpacked(name, reader)?;
    let mut magic = [0; 4];
    let n = read_up_to(name, &mut reader, &mut magic)?;
    if magic[..n] != [0, 0, TYPE_U8, rank as u8] {
        let found = format!("starts with the bytes {:02x?}", &magic[..n]);
        return Err(Error::format(
            name,
            found,
            format!("an IDX file of {rank} dimensions, 00 00 08 {rank:02x}"),
        ));
    }
    let mut dims = Vec::with_capacity(rank);
    for i in 0..rank {
        let mut extent = [0; 4];
        if read_up_to(name, &mut reader, &mut extent)? < extent.len() {
            return Err(Error::format(
                name,
                format!("ends in the header, after {i} of {rank} extents"),
                "all of them",
            ));
        }
        dims.push(u32::from_be_bytes(extent) as usize);
    }
    let wanted = dims.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let Some(wanted) = wanted.filter(|&bytes| bytes <= MAX_BYTES) else {
        let found = format!("the header claims extents {dims:?}");
        return Err(Error::format(name, found, format!("at most {MAX_BYTES} bytes")));
    };
    let mut data = Vec::with_capacity(wanted.min(MAX_RESERVED_BYTES));
    // One byte more than wanted tells a file that is too long, and makes gzip check its checksum at the end.
    reader.take(wanted as u64 + 1).read_to_end(&mut data).map_err(|e| damaged(name, &e))?;
    if data.len() != wanted {
        let more = if data.len() > wanted { "more than " } else { "" };
        let found = format!("{more}{} bytes after the header", data.len().min(wanted));
        return Err(Error::format(name, found, format!("{wanted}, for extents {dims:?}")));
    }
    Ok(Idx { dims, data })
}

/// Unpacks what is gzipped, decided by its first bytes, and passes on what is not.
pub(super) fn unpacked<'a>(name: &str, mut reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
    let mut start = [0; 2];
    let n = read_up_to(name, &mut reader, &mut start)?;
    let whole = Cursor::new(start).take(n as u64).chain(reader);
    Ok(if start == GZIP_MAGIC { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// Fills as much of `buffer` as the reader has, and returns how much that is.
fn read_up_to(name: &str, reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match reader.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(damaged(name, &e)),
        }
    }
    Ok(n)
}

fn damaged(name: &str, e: &std::io::Error) -> Error {
    Error::format(name, format!("cannot be read to its end: {e}"), "an undamaged file")
}

/// The bytes of an IDX file.
pub fn encode(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, TYPE_U8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

/// Puts grey pictures and their labels together.
///
/// # Errors
/// [`Error::Format`] if the counts differ or a picture has no pixel, [`Error::Label`] for a label out of range.
pub fn labelled(images: (&str, Idx), labels: (&str, Idx), n_classes: usize) -> Result<InMemory> {
    let (image_file, images) = images;
    let (label_file, labels) = labels;
    let &[n, height, width] = images.dims.as_slice() else {
        return Err(Error::format(
            image_file,
            format!("extents {:?}", images.dims),
            "pictures × rows × columns",
        ));
    };
    if n != labels.data.len() {
        let wanted = format!("{n}, one for each picture of {image_file}");
        return Err(Error::format(label_file, format!("{} labels", labels.data.len()), wanted));
    }
    if n * height * width == 0 {
        let found = format!("{n} pictures of {height}×{width}");
        return Err(Error::format(image_file, found, "at least one picture of at least one pixel"));
    }
    InMemory::new(label_file, (height, width, 1), images.data, labels.data, n_classes)
}
