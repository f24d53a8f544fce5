//! PyTorch since 1.6: a zip archive with `data.pkl`, and one entry per storage.
//!
//! PyTorch stores its entries uncompressed, so a tensor is read from its place in the archive. Compressed entries are refused:
//! then no file can grow while it is read.

use std::collections::BTreeMap;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Bytes, Heap, Machine, Value};
use super::{Archive, Entry, Format, MAX_TENSORS, Stream, checkpoint, keras_zip};
use crate::error::Why;

/// Where an entry's bytes lie.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// The entries of a zip archive that are stored as they are; a compressed one has no place.
pub(super) fn members(stream: &mut Stream) -> Why<BTreeMap<String, Option<Member>>> {
    let stream_len = stream.len();
    let mut zip = ZipArchive::new(stream.first()?)
        .map_err(|e| format!("not a zip archive that can be read, as when the file was cut: {e}"))?;
    if zip.len() > 2 * MAX_TENSORS {
        return Err(format!("{} entries, at most {} wanted", zip.len(), 2 * MAX_TENSORS));
    }
    let mut members = BTreeMap::new();
    for i in 0..zip.len() {
        let file =
            zip.by_index_raw(i).map_err(|e| format!("entry {i} of the archive cannot be read: {e}"))?;
        let name = file.name().map_err(|e| format!("entry {i} of the archive: {e}"))?.into_owned();
        let stored = file.compression() == CompressionMethod::Stored && !file.encrypted();
        let place = file.data_start().filter(|_| stored && file.size() == file.compressed_size());
        let member = place.map(|start| Member { start, len: file.size() });
        if member.is_some_and(|m| m.start.checked_add(m.len).is_none_or(|end| end > stream_len)) {
            return Err(format!("entry `{name}` reaches past the end of the file"));
        }
        members.insert(name, member);
    }
    Ok(members)
}

pub(super) fn open(mut stream: Stream) -> Why<Archive> {
    let members = members(&mut stream)?;
    let Some(pickle) = members.keys().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl")) else {
        return keras_zip::open(stream, &members);
    };
    let root = pickle[..pickle.len() - "data.pkl".len()].to_owned();
    let member = |name: &str| match members.get(&format!("{root}{name}")) {
        Some(Some(member)) => Ok(*member),
        Some(None) => Err(format!(
            "entry `{root}{name}` is compressed or encrypted; PyTorch stores entries as they are"
        )),
        None => Err(format!("there is no entry `{root}{name}`")),
    };
    if let Ok(order) = member("byteorder") {
        let mut text = vec![0; order.len.min(16) as usize];
        stream.read_at(order.start, &mut text)?;
        if text.trim_ascii() != b"little" {
            return Err(format!("byte order {:?}, little wanted", String::from_utf8_lossy(&text)));
        }
    }

    let place = member("data.pkl")?;
    let mut heap = Heap::default();
    let mut bytes = Bytes::new(&mut stream, place.start, place.start + place.len);
    let root_value = Machine::new(&mut bytes, &mut heap).run()?;

    let mut entries = vec![];
    checkpoint::walk(&heap, root_value, |name, value| {
        let Value::Tensor(id) = value else { return Ok(()) };
        let tensor = &heap.tensors[id];
        let storage = &heap.storages[tensor.storage];
        let place = member(&format!("data/{}", storage.key))?;
        let len = storage.len.min((place.len / storage.element.size() as u64) as usize);
        if len < storage.len {
            return Err(format!(
                "tensor `{name}`: its storage of {} elements has {} bytes in the file",
                storage.len, place.len
            ));
        }
        let (shape, strides) = (tensor.shape.clone(), tensor.strides.clone());
        let entry = Entry::strided(name, shape, strides, storage.element, place.start, len, tensor.offset)?;
        entry.check(stream.len())?;
        entries.push(entry);
        Ok(())
    })?;
    Ok(Archive { format: Format::TorchZip, entries, stream, metadata: Default::default(), norm_eps: None })
}
