//! Where a tensor lies in a container, and how it is read.

use half::{bf16, f16};

use super::Stream;
use crate::error::Why;

/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// Bytes decoded at a time; a multiple of every element size.
const CHUNK_BYTES: usize = 1 << 18;

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Element {
    F32,
    F16,
    Bf16,
    F64,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Element::F64 | Element::I64 => 8,
            Element::F32 | Element::I32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 => 2,
            Element::I8 | Element::U8 | Element::Bool => 1,
        }
    }

    /// Whether it can be read as f32.
    pub fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F16 | Element::Bf16 | Element::F64)
    }
}

/// One tensor of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Name, with the names of the dictionaries around it before it, joined by dots.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Type of the elements.
    pub element: Element,
    /// Step from one index to the next along each dimension, in elements.
    strides: Vec<usize>,
    /// First byte in the stream.
    start: u64,
}

impl Entry {
    /// A row-major tensor.
    pub(crate) fn dense(name: String, shape: Vec<usize>, element: Element, start: u64) -> Why<Self> {
        let strides = row_major(&shape).ok_or_else(|| format!("tensor `{name}`: {shape:?} overflows"))?;
        Ok(Self { name, shape, element, strides, start })
    }

    /// A tensor that steps through `storage_len` elements which begin at byte `start`, its first element at `offset`.
    pub(crate) fn strided(
        name: String,
        shape: Vec<usize>,
        strides: Vec<usize>,
        element: Element,
        start: u64,
        storage_len: usize,
        offset: usize,
    ) -> Why<Self> {
        let refuse =
            |why: &str| Err(format!("tensor `{name}` of shape {shape:?}, strides {strides:?}: {why}"));
        if shape.len() != strides.len() {
            return refuse("as many strides as extents wanted");
        }
        let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let Some(n) = n else { return refuse("its size overflows") };
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(0usize, |last, (d, s)| last.checked_add(d.saturating_sub(1).checked_mul(*s)?));
        let end = last.and_then(|last| last.checked_add(offset)?.checked_add(1));
        if n > 0 && end.is_none_or(|end| end > storage_len) {
            return refuse(&format!("reaches past its storage of {storage_len} elements"));
        }
        if n > storage_len {
            return refuse(&format!("repeats the {storage_len} elements of its storage"));
        }
        let bytes = (offset as u64).checked_mul(element.size() as u64).and_then(|b| b.checked_add(start));
        match bytes {
            Some(start) => Ok(Self { name, shape, element, strides, start }),
            None => refuse("its offset overflows"),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product() // checked when made
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that the tensor lies inside the stream, and is one that a file may have.
    pub(crate) fn check(&self, stream_len: u64) -> Why<()> {
        let name = &self.name;
        if self.shape.len() > MAX_RANK {
            return Err(format!(
                "tensor `{name}` has {} dimensions, at most {MAX_RANK} wanted",
                self.shape.len()
            ));
        }
        let bytes = (self.span() as u64).checked_mul(self.element.size() as u64);
        match bytes.and_then(|b| b.checked_add(self.start)) {
            Some(end) if end <= stream_len || self.is_empty() => Ok(()),
            _ => Err(format!("tensor `{name}` of shape {:?} reaches past the end of the file", self.shape)),
        }
    }

    /// Elements from the first to the last, both included.
    fn span(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.shape.iter().zip(&self.strides).map(|(d, s)| (d - 1) * s).sum::<usize>() + 1
    }

    /// All elements in row-major order.
    pub(crate) fn read(&self, stream: &mut Stream) -> Why<Vec<f32>> {
        if !self.element.is_float() {
            return Err(format!("has elements of type {:?}, floating-point ones wanted", self.element));
        }
        let values = self.read_span(stream)?;
        if row_major(&self.shape).as_ref() == Some(&self.strides) || self.is_empty() {
            return Ok(values);
        }
        let mut out = Vec::with_capacity(self.len()); // no more than the storage holds
        let mut index = vec![0; self.shape.len()];
        for _ in 0..self.len() {
            let at: usize = index.iter().zip(&self.strides).map(|(i, s)| i * s).sum();
            out.push(values[at]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(out)
    }

    fn read_span(&self, stream: &mut Stream) -> Why<Vec<f32>> {
        let mut left = self.span() * self.element.size();
        let mut values = Vec::with_capacity(self.span()); // `check`: no more than the file holds
        let mut chunk = vec![0; left.min(CHUNK_BYTES)];
        let mut position = self.start;
        while left > 0 {
            let part = &mut chunk[..left.min(CHUNK_BYTES)];
            stream.read_at(position, part)?;
            decode(self.element, part, &mut values);
            position += part.len() as u64;
            left -= part.len();
        }
        Ok(values)
    }
}

/// Decodes a whole number of little-endian elements.
fn decode(element: Element, bytes: &[u8], out: &mut Vec<f32>) {
    fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f32>, decode: impl Fn([u8; N]) -> f32) {
        out.extend(bytes.as_chunks::<N>().0.iter().map(|b| decode(*b)));
    }
    match element {
        Element::F32 => each(bytes, out, f32::from_le_bytes),
        Element::F16 => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        Element::Bf16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        Element::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
        _ => {}
    }
}

/// Strides of a tensor whose last index runs fastest; `None` if its size overflows in any order of multiplication.
fn row_major(shape: &[usize]) -> Option<Vec<usize>> {
    shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent))?;
    let mut strides = vec![1; shape.len()];
    let mut step = 1usize;
    for (stride, extent) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.checked_mul(*extent)?;
    }
    Some(strides)
}
