//! Containers: files that hold named tensors.
//!
//! A container is recognised by its content, never by its name. [`Archive::open`] reads only what describes the tensors;
//! [`Archive::read`] reads one tensor. Nothing in a file is run, and no number in it is believed before it was compared with
//! the size of the file: memory is bounded by what the file really holds.
//!
//! Read in this order: `entry` (where a tensor lies), `stream` (the bytes), `safetensors` and `tfjs` (a JSON header and raw
//! bytes), `pickle` (PyTorch and Paddle).

mod checkpoint;
mod dictionary;
mod entry;
mod hdf5;
mod keras_zip;
mod pickle;
mod safetensors;
mod stream;
mod tfjs;
mod torch_legacy;
mod torch_zip;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Cursor;
use std::path::Path;

pub use dictionary::Dictionary;
pub use entry::{Element, Entry};
pub(crate) use stream::Stream;

use crate::error::Why;
use crate::{Error, Result};

/// Most tensors in a file.
pub const MAX_TENSORS: usize = 100_000;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// PyTorch since 1.6: a zip archive of a pickle and one file per storage.
    TorchZip,
    /// PyTorch before 1.6: pickles followed by raw storages.
    TorchPickle,
    /// Paddle: a pickle of NumPy arrays by name.
    NumpyPickle,
    /// A Keras model for TensorFlow.js: JSON and shards.
    TensorFlowJs,
    /// HDF5 as Keras writes it, alone or inside a `.keras` archive.
    KerasHdf5,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::TorchZip => "PyTorch zip",
            Format::TorchPickle => "PyTorch legacy pickle",
            Format::NumpyPickle => "pickle of NumPy arrays",
            Format::TensorFlowJs => "TensorFlow.js layers model",
            Format::KerasHdf5 => "Keras HDF5",
        })
    }
}

/// An open container.
#[derive(Debug)]
pub struct Archive {
    format: Format,
    entries: Vec<Entry>,
    stream: Stream,
    /// Free text that travels with the tensors (safetensors only).
    metadata: BTreeMap<String, String>,
    /// Epsilon of all normalisations, where the container says it.
    norm_eps: Option<f32>,
}

impl Archive {
    /// Opens a file, or the `model.json` of a folder, and lists its tensors.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, is none of the [`Format`]s, or is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let at = |why| Error::File { path: path.to_owned(), why };
        let inner = if path.is_dir() { path.join("model.json") } else { path.to_owned() };
        let file = File::open(&inner).map_err(|e| {
            at(if path.is_dir() {
                format!("a folder without TensorFlow.js's model.json, which is the only kind that holds weights: {e}")
            } else {
                format!("cannot open: {e}")
            })
        })?;
        let stream = Stream::new(Box::new(file)).map_err(at)?;
        Self::recognise(stream, inner.parent()).map_err(at)
    }

    /// As [`Archive::open`], from bytes in memory.
    ///
    /// # Errors
    /// As [`Archive::open`]; a TensorFlow.js model is refused, since its shards are other files.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let at = |why| Error::File { path: "(memory)".into(), why };
        Self::recognise(Stream::new(Box::new(Cursor::new(bytes))).map_err(at)?, None).map_err(at)
    }

    fn recognise(mut stream: Stream, folder: Option<&Path>) -> Why<Self> {
        let head = stream.head(512)?;
        let starts = |magic: &[u8]| head.starts_with(magic);
        let text = head.iter().find(|b| !b.is_ascii_whitespace());
        if starts(b"PK\x03\x04") {
            return torch_zip::open(stream);
        }
        if starts(b"\x89HDF\r\n\x1a\n") {
            return hdf5::open(stream);
        }
        if head.len() > 8 && head[8] == b'{' && u64::from_le_bytes(first8(&head)) < stream.len() {
            return safetensors::open(stream);
        }
        if text == Some(&b'{') {
            let folder = folder.ok_or("a TensorFlow.js model is a folder of files, not one")?;
            return tfjs::open(stream, folder);
        }
        match head.as_slice() {
            [0x80, 1..=5, ..] => torch_legacy::open(stream),
            [0x1f, 0x8b, ..] => Err("compressed with gzip; unpack it first".into()),
            _ if head.get(257..262) == Some(b"ustar") => {
                Err("a tar archive; PyTorch of 2016 wrote such files, save the state dict again".into())
            }
            _ => Err(
                "not a weights file: neither safetensors, PyTorch, Paddle, HDF5 nor a TensorFlow.js model.json"
                    .into(),
            ),
        }
    }

    /// What kind of file it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The tensors in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Free text that travels with the tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Epsilon of all normalisations, where the container says it.
    pub fn norm_eps(&self) -> Option<f32> {
        self.norm_eps
    }

    /// Reads a tensor as f32, row-major. From f64 each value is rounded to the nearest f32.
    ///
    /// # Errors
    /// [`Error::Core`] naming the tensor if its type is not a floating-point one or reading fails.
    ///
    /// # Panics
    /// If `index` is not below the number of [`Archive::entries`].
    pub fn read(&mut self, index: usize) -> Result<Vec<f32>> {
        let entry = &self.entries[index];
        entry
            .read(&mut self.stream)
            .map_err(|why| resnet_core::Error::Weights(format!("tensor `{}`: {why}", entry.name)).into())
    }
}

fn first8(bytes: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    first
}
