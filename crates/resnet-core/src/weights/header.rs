//! The header of a safetensors file: JSON that names every tensor, checked as if an enemy had written it.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::Dtype;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{Error, Result};

/// Longest header that is read. The limit of the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Most tensors in a file.
pub const MAX_TENSORS: usize = 100_000;

/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 8;

/// Free text that travels with the tensors.
pub type Metadata = BTreeMap<String, String>;

/// Type, shape and place of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Extents, row-major.
    pub shape: Vec<usize>,
    /// First byte, counted from the end of the header.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl TensorInfo {
    /// Number of elements. Cannot overflow: the header was checked.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the elements can be read as f32.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
    }
}

/// All that a file says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Free text.
    pub metadata: Metadata,
    /// Tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// Parses the JSON of a file with `data_len` bytes after its header.
    ///
    /// # Errors
    /// [`Error::Weights`] for anything but distinct tensors that cover the data exactly, without gap or overlap: JSON that
    /// does not parse, more than [`MAX_TENSORS`] tensors or [`MAX_RANK`] dimensions, a name given twice, a shape whose size
    /// overflows or differs from its bytes.
    pub fn parse(json: &[u8], data_len: u64) -> Result<Self> {
        let raw: RawHeader = serde_json::from_slice(json)
            .map_err(|e| Error::Weights(format!("the header is not valid: {e}")))?;
        let header = Self { metadata: raw.metadata, tensors: raw.tensors };
        header.check_sizes()?;
        header.check_places(data_len)?;
        Ok(header)
    }

    fn check_sizes(&self) -> Result<()> {
        for (name, t) in &self.tensors {
            let refuse =
                |why: String| Err(Error::Weights(format!("tensor {name:?} of shape {:?}: {why}", t.shape)));
            let n_elements = t.shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
            let Some(bits) = n_elements.and_then(|n| n.checked_mul(t.dtype.bitsize())) else {
                return refuse("its size overflows".into());
            };
            if bits % 8 != 0 {
                return refuse(format!("{bits} bits of {} are no whole number of bytes", t.dtype));
            }
            if t.end.checked_sub(t.start) != Some((bits / 8) as u64) {
                return refuse(format!(
                    "{} bytes of {} cannot lie at {} to {}",
                    bits / 8,
                    t.dtype,
                    t.start,
                    t.end
                ));
            }
        }
        Ok(())
    }

    fn check_places(&self, data_len: u64) -> Result<()> {
        let mut places: Vec<(u64, u64, &str)> =
            self.tensors.iter().map(|(n, t)| (t.start, t.end, n.as_str())).collect();
        places.sort_unstable();
        let mut covered = 0;
        for (start, end, name) in places {
            if start != covered {
                let how =
                    if start < covered { "overlaps the tensor before it" } else { "leaves a gap before it" };
                return Err(Error::Weights(format!(
                    "tensor {name:?} at {start} to {end} {how}, which ends at {covered}"
                )));
            }
            covered = end;
        }
        if covered != data_len {
            return Err(Error::Weights(format!(
                "the tensors take {covered} bytes, the file has {data_len} after its header"
            )));
        }
        Ok(())
    }
}

/// The JSON object: tensors by name, and one entry that is not a tensor.
struct RawHeader {
    metadata: Metadata,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawHeader, A::Error> {
                let mut metadata = None;
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        let Text(text) = map.next_value()?;
                        if metadata.replace(text).is_some() {
                            return Err(de::Error::custom("`__metadata__` is given twice"));
                        }
                        continue;
                    }
                    if tensors.len() == MAX_TENSORS {
                        return Err(de::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
                    }
                    let RawTensor { dtype, shape: Extents(shape), data_offsets: (start, end) } =
                        map.next_value()?;
                    let info = TensorInfo { dtype, shape, start, end };
                    if tensors.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("tensor {name:?} is given twice")));
                    }
                    tensors.insert(name, info);
                }
                Ok(RawHeader { metadata: metadata.unwrap_or_default(), tensors })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: Dtype,
    shape: Extents,
    data_offsets: (u64, u64),
}

/// A list that stops growing at [`MAX_RANK`].
struct Extents(Vec<usize>);

impl<'de> Deserialize<'de> for Extents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Extents;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a shape of at most {MAX_RANK} dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Extents, A::Error> {
                let mut shape = Vec::new();
                while let Some(extent) = seq.next_element()? {
                    if shape.len() == MAX_RANK {
                        return Err(de::Error::custom(format_args!(
                            "a shape has more than {MAX_RANK} dimensions"
                        )));
                    }
                    shape.push(extent);
                }
                Ok(Extents(shape))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// A map of strings that refuses a key given twice.
struct Text(Metadata);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Text, A::Error> {
                let mut text = Metadata::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if text.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("`__metadata__` has {key:?} twice")));
                    }
                    text.insert(key, value);
                }
                Ok(Text(text))
            }
        }
        deserializer.deserialize_map(Strings)
    }
}
