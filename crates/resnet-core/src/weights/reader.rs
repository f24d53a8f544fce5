//! Reading a file one tensor at a time.

use std::io::{Read, Seek, SeekFrom};

use half::{bf16, f16};
use ndarray::ArrayD;
use safetensors::Dtype;

use super::header::{Header, MAX_HEADER_BYTES};
use crate::{Error, Result};

/// Bytes converted at once. A multiple of every element size.
const CHUNK_BYTES: usize = 1 << 16;

/// A safetensors file of which only the header is in memory.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    data_start: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads and checks the header. Takes no more memory than a few times the header's length, which is bounded by the
    /// file's and by [`MAX_HEADER_BYTES`].
    ///
    /// # Errors
    /// [`Error::Weights`] if the file is cut or too short, as [`Header::parse`], or if reading fails.
    pub fn new(mut source: R) -> Result<Self> {
        let file_len = source.seek(SeekFrom::End(0)).map_err(|e| failed("the length", &e))?;
        source.rewind().map_err(|e| failed("the header", &e))?;
        let mut length = [0; 8];
        if file_len < 8 {
            return Err(Error::Weights(format!("{file_len} bytes are too few for a safetensors file")));
        }
        source.read_exact(&mut length).map_err(|e| failed("the header", &e))?;
        let header_len = u64::from_le_bytes(length);
        if header_len > MAX_HEADER_BYTES || header_len > file_len - 8 {
            return Err(Error::Weights(format!(
                "a header of {header_len} bytes in a file of {file_len} (at most {MAX_HEADER_BYTES}): not a safetensors file, or cut"
            )));
        }
        let mut json = vec![0; header_len as usize]; // at most 10⁸
        source.read_exact(&mut json).map_err(|e| failed("the header", &e))?;
        let data_start = 8 + header_len;
        let header = Header::parse(&json, file_len - data_start)?;
        Ok(Self { source, header, data_start })
    }

    /// What the file holds.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads a tensor of any floating-point type as f32. From f64 each value is rounded to the nearest f32.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is no such tensor, if its type is not one of F32, F16, BF16 and F64, or if reading fails.
    pub fn read(&mut self, name: &str) -> Result<ArrayD<f32>> {
        let Some(info) = self.header.tensors.get(name) else {
            return Err(Error::Weights(format!("there is no tensor {name:?}")));
        };
        let convert = match info.dtype {
            Dtype::F32 => |bytes: &[u8], out: &mut Vec<f32>| extend(out, bytes, f32::from_le_bytes),
            Dtype::F16 => {
                |bytes: &[u8], out: &mut Vec<f32>| extend(out, bytes, |b| f16::from_le_bytes(b).to_f32())
            }
            Dtype::BF16 => {
                |bytes: &[u8], out: &mut Vec<f32>| extend(out, bytes, |b| bf16::from_le_bytes(b).to_f32())
            }
            Dtype::F64 => {
                |bytes: &[u8], out: &mut Vec<f32>| extend(out, bytes, |b| f64::from_le_bytes(b) as f32)
            }
            other => {
                return Err(Error::Weights(format!(
                    "tensor {name:?} has type {other}; F32, F16, BF16 or F64 wanted"
                )));
            }
        };
        self.source.seek(SeekFrom::Start(self.data_start + info.start)).map_err(|e| failed(name, &e))?;
        let mut values = Vec::with_capacity(info.len()); // the header check: no more than the file holds
        let mut chunk = [0; CHUNK_BYTES];
        let mut left = info.end - info.start;
        while left > 0 {
            let part = &mut chunk[..left.min(CHUNK_BYTES as u64) as usize];
            self.source.read_exact(part).map_err(|e| failed(name, &e))?;
            convert(part, &mut values);
            left -= part.len() as u64;
        }
        ArrayD::from_shape_vec(info.shape.clone(), values)
            .map_err(|e| Error::Weights(format!("tensor {name:?}: {e}")))
    }
}

/// Decodes a whole number of elements of `N` bytes each.
fn extend<const N: usize>(out: &mut Vec<f32>, bytes: &[u8], decode: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    out.extend(elements.iter().map(|b| decode(*b)));
}

fn failed(what: &str, e: &std::io::Error) -> Error {
    Error::Weights(format!("reading {what} failed: {e}"))
}
