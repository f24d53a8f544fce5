//! Pickles that are files: PyTorch before 1.6, and dictionaries of NumPy arrays as Paddle writes them.
//!
//! PyTorch's file is five pickles (a magic number, a protocol version, facts about the machine, the object, the keys of its
//! storages), then for each key an 8-byte element count and the raw elements.

use std::collections::BTreeMap;

use super::pickle::{Bytes, Heap, Kind, Machine, Value};
use super::{Archive, Element, Entry, Format, Stream, checkpoint};
use crate::error::Why;

/// The first pickle of PyTorch's file: 0x1950a86a20f9469cfc6c, by its last eight bytes and its length.
const MAGIC: Value = Value::Long(0xa86a_20f9_469c_fc6c, 10);

/// The version of the format.
const PROTOCOL: i64 = 1001;

pub(super) fn open(mut stream: Stream) -> Why<Archive> {
    let end = stream.len();
    let mut heap = Heap::default();
    let mut bytes = Bytes::new(&mut stream, 0, end);
    let first = Machine::new(&mut bytes, &mut heap).run()?;
    if first != MAGIC {
        return numpy(stream, &heap, first);
    }

    let mut next = || Machine::new(&mut bytes, &mut heap).run();
    let protocol = next()?;
    if protocol != Value::Int(PROTOCOL) {
        return Err(format!("version {protocol:?} of PyTorch's old format, {PROTOCOL} wanted"));
    }
    let (machine, object, keys) = (next()?, next()?, next()?);
    let little =
        heap.pairs(machine).unwrap_or_default().iter().find(|(k, _)| heap.text(*k) == Some("little_endian"));
    if little.is_some_and(|(_, v)| *v == Value::Bool(false)) {
        return Err("written on a big-endian machine; little-endian elements wanted".into());
    }

    // The size of an element is told by the tensors that use a storage.
    let types: BTreeMap<&str, Element> = heap.storages.iter().map(|s| (s.key.as_str(), s.element)).collect();
    let mut places = BTreeMap::new();
    for key in heap.items(keys).ok_or("the storage keys are no list")? {
        let key = heap.text(*key).ok_or("a storage key that is no string")?;
        let element = types.get(key).ok_or_else(|| format!("nothing says what storage {key} holds"))?;
        let len = bytes.u64()?;
        let n_bytes = len.checked_mul(element.size() as u64);
        let start =
            bytes.skip(n_bytes.ok_or_else(|| format!("storage {key} of {len} elements overflows"))?)?;
        places.insert(key, (start, len as usize));
    }

    let mut entries = vec![];
    checkpoint::walk(&heap, object, |name, value| {
        let Value::Tensor(id) = value else { return Ok(()) };
        let tensor = &heap.tensors[id];
        let storage = &heap.storages[tensor.storage];
        let Some((start, len)) = places.get(storage.key.as_str()) else {
            return Err(format!("tensor `{name}`: there is no storage {}", storage.key));
        };
        let offset = storage.view_offset.checked_add(tensor.offset);
        let offset = offset.ok_or_else(|| format!("tensor `{name}`: its offset overflows"))?;
        let (shape, strides) = (tensor.shape.clone(), tensor.strides.clone());
        let entry = Entry::strided(name, shape, strides, storage.element, *start, *len, offset)?;
        entry.check(end)?;
        entries.push(entry);
        Ok(())
    })?;
    Ok(Archive { format: Format::TorchPickle, entries, stream, metadata: Default::default(), norm_eps: None })
}

/// A pickle of arrays by name.
fn numpy(stream: Stream, heap: &Heap, root: Value) -> Why<Archive> {
    if let Value::Known(Kind::Storage(_)) = root {
        return Err("a storage without a tensor".into());
    }
    let mut entries = vec![];
    checkpoint::walk(heap, root, |name, value| {
        let Value::Array(id) = value else {
            return Err(format!(
                "tensor `{name}`: a PyTorch tensor in a bare pickle; save it with torch.save"
            ));
        };
        let Some(Some(array)) = heap.arrays.get(id) else { return Ok(()) };
        let n = array.len / array.element.size() as u64;
        let mut strides = vec![];
        if array.fortran {
            let mut step = 1usize;
            for extent in &array.shape {
                strides.push(step);
                step = step.saturating_mul(*extent);
            }
        }
        let (shape, element) = (array.shape.clone(), array.element);
        let entry = match array.fortran {
            true => Entry::strided(name, shape, strides, element, array.start, n as usize, 0)?,
            false => Entry::dense(name, shape, element, array.start)?,
        };
        if entry.len() as u64 != n || array.len % array.element.size() as u64 != 0 {
            return Err(format!(
                "tensor `{}` of shape {:?} has {} bytes, which is another size",
                entry.name, entry.shape, array.len
            ));
        }
        entry.check(stream.len())?;
        entries.push(entry);
        Ok(())
    })?;
    Ok(Archive { format: Format::NumpyPickle, entries, stream, metadata: Default::default(), norm_eps: None })
}
