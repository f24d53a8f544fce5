//! safetensors: a JSON header and raw bytes. The header is checked by the codec of `resnet-core`.

use resnet_core::weights::Reader;

use super::{Archive, Element, Entry, Format, Stream};
use crate::error::Why;

pub(super) fn open(mut stream: Stream) -> Why<Archive> {
    let mut length = [0; 8];
    stream.read_at(0, &mut length)?;
    let reader = Reader::new(stream.first()?).map_err(|e| e.to_string())?;
    let header = reader.header().clone();
    let data_start = 8 + u64::from_le_bytes(length);

    let mut entries = vec![];
    for (name, t) in &header.tensors {
        // The type of a tensor that is not used does not matter.
        let Some(element) = element(&t.dtype.to_string()) else { continue };
        let entry = Entry::dense(name.clone(), t.shape.clone(), element, data_start + t.start)?;
        entry.check(stream.len())?;
        entries.push(entry);
    }
    Ok(Archive { format: Format::Safetensors, entries, stream, metadata: header.metadata, norm_eps: None })
}

fn element(dtype: &str) -> Option<Element> {
    Some(match dtype {
        "F32" => Element::F32,
        "F16" => Element::F16,
        "BF16" => Element::Bf16,
        "F64" => Element::F64,
        "I64" => Element::I64,
        "I32" => Element::I32,
        "I16" => Element::I16,
        "I8" => Element::I8,
        "U8" => Element::U8,
        "BOOL" => Element::Bool,
        _ => return None,
    })
}
