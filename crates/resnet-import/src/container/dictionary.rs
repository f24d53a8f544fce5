//! A pickled dictionary of byte arrays and lists: how data sets such as CIFAR are kept for Python.

use std::collections::BTreeMap;
use std::io::Cursor;

use super::pickle::{Bytes, Heap, Machine, Value};
use super::{Element, Stream};
use crate::error::Why;
use crate::{Error, Result};

/// Most bytes of one string in a list.
const MAX_NAME_BYTES: u64 = 1 << 12;

/// What a pickled dictionary holds. Entries of other kinds are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dictionary {
    /// Arrays of bytes, row by row: their extents and elements.
    pub arrays: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
    /// Lists of whole numbers.
    pub numbers: BTreeMap<String, Vec<i64>>,
    /// Lists of strings.
    pub texts: BTreeMap<String, Vec<String>>,
}

impl Dictionary {
    /// Reads a pickle without running it. `name` is for errors.
    ///
    /// # Errors
    /// [`Error::File`] naming the file: no pickle, no dictionary, or a name that data do not need.
    pub fn read(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::parse(bytes).map_err(|why| Error::File { path: name.into(), why })
    }

    fn parse(bytes: Vec<u8>) -> Why<Self> {
        let mut stream = Stream::new(Box::new(Cursor::new(bytes)))?;
        let (mut heap, end) = (Heap::default(), stream.len());
        let root = Machine::new(&mut Bytes::new(&mut stream, 0, end), &mut heap).run()?;
        let pairs =
            heap.pairs(root).ok_or_else(|| format!("{} instead of a dictionary", heap.describe(root)))?;
        let mut found = Self::default();
        for (key, value) in pairs {
            let Some(key) = text(&heap, &mut stream, *key)? else { continue };
            match *value {
                Value::Array(id) => {
                    let array = heap.arrays[id].as_ref().filter(|a| a.element == Element::U8 && !a.fortran);
                    let Some(array) = array else { continue };
                    let n = array.shape.iter().try_fold(1u64, |n, e| n.checked_mul(*e as u64));
                    if n != Some(array.len) {
                        return Err(format!("`{key}` has {} bytes for extents {:?}", array.len, array.shape));
                    }
                    let mut elements = vec![0; array.len as usize]; // as long as bytes that are there
                    stream.read_at(array.start, &mut elements)?;
                    found.arrays.insert(key, (array.shape.clone(), elements));
                }
                Value::List(_) => {
                    let items = heap.items(*value).unwrap_or_default();
                    let numbers: Option<Vec<i64>> = items.iter().map(number).collect();
                    if let Some(numbers) = numbers {
                        found.numbers.insert(key, numbers);
                        continue;
                    }
                    let texts = items.iter().map(|item| text(&heap, &mut stream, *item));
                    if let Some(texts) = texts.collect::<Why<Option<Vec<String>>>>()? {
                        found.texts.insert(key, texts);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// A string, whether Python 2 or 3 wrote it.
fn text(heap: &Heap, stream: &mut Stream, value: Value) -> Why<Option<String>> {
    match value {
        Value::Str(_) => Ok(heap.text(value).map(str::to_owned)),
        Value::Bytes { start, len } if len <= MAX_NAME_BYTES => {
            let mut bytes = vec![0; len as usize];
            stream.read_at(start, &mut bytes)?;
            Ok(String::from_utf8(bytes).ok())
        }
        _ => Ok(None),
    }
}
