//! HDF5 as Keras writes it: `.h5` of all versions, `.weights.h5` and the file inside `.keras`.
//!
//! ```text
//! /model_weights/conv1_conv/conv1_conv/kernel       .h5: layers by name; without the first part if only weights were saved
//! /layers/conv2d_1/vars/0                           Keras 3: layers by class and number; their name is an attribute of `vars`
//! ```
//!
//! Neither keeps the order in which layers were created, so both serve networks whose layers have names.
//! The structure is read by `hdf5-pure`; values are read from their place in the file, so they must lie there in one piece.

use std::sync::{Arc, Mutex, PoisonError};

use hdf5_pure::{
    AttrValue, DType, Dataset, Datatype, DatatypeByteOrder, File, FormatError, Group, Layout, Source,
};

use super::{Archive, Element, Entry, Format, MAX_TENSORS, Stream, tfjs};
use crate::error::Why;

/// Deepest nesting of groups that is looked into.
const MAX_DEPTH: usize = 24;

/// A part of a stream, as the HDF5 reader wants it.
struct Window {
    stream: Arc<Mutex<Stream>>,
    start: u64,
    len: u64,
}

impl Source for Window {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(FormatError::Source(format!("the file ends before byte {offset} + {}", buf.len())));
        }
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.read_at(self.start + offset, buf).map_err(FormatError::Source)
    }
}

pub(super) fn open(stream: Stream) -> Why<Archive> {
    let len = stream.len();
    open_part(stream, 0, len, None)
}

/// An HDF5 file that lies in a part of the stream. `config` is the description of the model, if it lies elsewhere.
pub(super) fn open_part(stream: Stream, start: u64, len: u64, config: Option<&[u8]>) -> Why<Archive> {
    let stream = Arc::new(Mutex::new(stream));
    let window = Window { stream: Arc::clone(&stream), start, len };
    let mut walk = Walk { entries: vec![], start, end: start + len };
    let norm_eps = {
        let file =
            File::from_source(window).map_err(|e| format!("not an HDF5 file that can be read: {e}"))?;
        let root = file.root();
        let weights = root.group("model_weights").unwrap_or_else(|_| file.root());
        walk.group(&weights, "", 0)?;
        match config {
            Some(json) => tfjs::epsilon_in_text(json)?,
            None => match text_attribute(&root, "model_config") {
                Some(json) => tfjs::epsilon_in_text(json.as_bytes())?,
                None => None,
            },
        }
    };
    let stream = Arc::try_unwrap(stream).map_err(|_| "the HDF5 reader kept the file")?;
    let stream = stream.into_inner().unwrap_or_else(PoisonError::into_inner);
    let entries = walk.entries;
    entries.iter().try_for_each(|entry| entry.check(start + len))?;
    Ok(Archive { format: Format::KerasHdf5, entries, stream, metadata: Default::default(), norm_eps })
}

struct Walk {
    entries: Vec<Entry>,
    start: u64,
    end: u64,
}

impl Walk {
    fn group(&mut self, group: &Group, path: &str, depth: usize) -> Why<()> {
        if depth > MAX_DEPTH {
            return Err(format!("groups are nested more than {MAX_DEPTH} deep at `{path}`"));
        }
        let failed = |e: hdf5_pure::Error| format!("group `{path}`: {e}");
        for (name, dataset) in group.iter_datasets().map_err(failed)? {
            if self.entries.len() == MAX_TENSORS {
                return Err(format!("more than {MAX_TENSORS} tensors"));
            }
            self.dataset(&dataset, format!("{path}{name}"))?;
        }
        for (name, inner) in group.iter_groups().map_err(failed)? {
            if depth == 0 && matches!(name.as_str(), "optimizer" | "optimizer_weights") {
                continue;
            }
            match (name.as_str(), text_attribute(&inner, "name")) {
                ("vars", Some(layer)) => self.variables(&inner, path, &layer)?,
                _ => self.group(&inner, &format!("{path}{name}/"), depth + 1)?,
            }
        }
        Ok(())
    }

    /// The numbered weights of a Keras 3 layer, under their names in other Keras files.
    fn variables(&mut self, vars: &Group, path: &str, layer: &str) -> Why<()> {
        let class = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let roles: &[&str] = match class.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_') {
            "conv2d" | "conv" | "dense" => &["kernel", "bias"],
            "batch_normalization" => &["gamma", "beta", "moving_mean", "moving_variance"],
            _ => &[],
        };
        for (number, dataset) in vars.iter_datasets().map_err(|e| format!("layer `{layer}`: {e}"))? {
            let role = number.parse::<usize>().ok().and_then(|i| roles.get(i).copied());
            self.dataset(&dataset, format!("{layer}/{}", role.unwrap_or(&number)))?;
        }
        Ok(())
    }

    fn dataset(&mut self, dataset: &Dataset, name: String) -> Why<()> {
        let failed = |e: hdf5_pure::Error| format!("tensor `{name}`: {e}");
        let element = match dataset.dtype().map_err(failed)? {
            DType::F32 => Element::F32,
            DType::F64 => Element::F64,
            DType::I64 => Element::I64,
            DType::I32 => Element::I32,
            _ => return Ok(()), // not a weight
        };
        if let Datatype::FloatingPoint { byte_order: DatatypeByteOrder::BigEndian, .. } =
            dataset.datatype().map_err(failed)?
        {
            return Err(format!("tensor `{name}` is big-endian"));
        }
        let shape: Option<Vec<usize>> =
            dataset.shape().map_err(failed)?.iter().map(|d| usize::try_from(*d).ok()).collect();
        let shape = shape.ok_or_else(|| format!("tensor `{name}` is too large"))?;
        let (address, size) = match dataset.layout().map_err(failed)? {
            Layout::Contiguous { address: Some(address), size } => (address, size),
            Layout::Compact { .. } if shape.is_empty() => return Ok(()), // a counter
            other => {
                return Err(format!(
                    "tensor `{name}` does not lie in one piece ({other:?}); Keras writes it so"
                ));
            }
        };
        let start = self.start.checked_add(address).filter(|start| *start <= self.end);
        let start = start.ok_or_else(|| format!("tensor `{name}` lies outside the file"))?;
        let entry = Entry::dense(name, shape, element, start)?;
        if (entry.len() as u64).checked_mul(element.size() as u64) != Some(size) {
            return Err(format!("tensor `{}` of shape {:?} has {size} bytes", entry.name, entry.shape));
        }
        self.entries.push(entry);
        Ok(())
    }
}

fn text_attribute(group: &Group, name: &str) -> Option<String> {
    match group.attrs().ok()?.remove(name)? {
        AttrValue::String(text)
        | AttrValue::AsciiString(text)
        | AttrValue::VarLenString(text)
        | AttrValue::VarLenAsciiString(text) => Some(text),
        _ => None,
    }
}
