//! What a pickle is made of.

use super::MAX_VALUES;
use crate::container::Element;
use crate::error::Why;

/// A container in a [`Heap`], by position.
pub(in crate::container) type Id = usize;

/// One value. Containers lie in a [`Heap`], so that a value is copied and dropped at no cost, however deep it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::container) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number that does not fit 64 bits, by its last eight bytes and its length.
    Long(u64, u8),
    Float,
    Str(Id),
    /// Bytes in the stream.
    Bytes {
        start: u64,
        len: u64,
    },
    Tuple(Id),
    List(Id),
    Dict(Id),
    Tensor(Id),
    /// A NumPy array; complete once its state was set.
    Array(Id),
    /// The element type of a storage, an array or a tensor.
    Element(Element),
    /// A name that stands for something known.
    Known(Kind),
    /// A PyTorch storage.
    Storage(Id),
    /// Something that is carried along and not looked at.
    Inert,
    /// Where a group of values begins on the stack.
    Mark,
}

/// What a known name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::container) enum Kind {
    Dict,
    Inert,
    Storage(Element),
    RebuildTensor,
    RebuildTensorV2,
    RebuildParameter,
    RebuildFromType,
    NumpyReconstruct,
    NumpyArray,
    NumpyDtype,
    Encode,
}

/// A storage, as a persistent id names it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::container) struct Storage {
    pub(in crate::container) element: Element,
    pub(in crate::container) key: String,
    /// Elements.
    pub(in crate::container) len: usize,
    /// In old files a storage may be a part of the one its key names: where it begins there.
    pub(in crate::container) view_offset: usize,
}

/// A tensor on a storage.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::container) struct Tensor {
    pub(in crate::container) storage: Id,
    pub(in crate::container) offset: usize,
    pub(in crate::container) shape: Vec<usize>,
    pub(in crate::container) strides: Vec<usize>,
}

/// A NumPy array.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::container) struct Array {
    pub(in crate::container) shape: Vec<usize>,
    pub(in crate::container) element: Element,
    /// Whether the first index runs fastest.
    pub(in crate::container) fortran: bool,
    pub(in crate::container) start: u64,
    pub(in crate::container) len: u64,
}

/// All containers of a pickle.
#[derive(Debug, Default)]
pub(in crate::container) struct Heap {
    strings: Vec<String>,
    tuples: Vec<Vec<Value>>,
    lists: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    pub(in crate::container) storages: Vec<Storage>,
    pub(in crate::container) tensors: Vec<Tensor>,
    pub(in crate::container) arrays: Vec<Option<Array>>,
    n_values: usize,
}

impl Heap {
    /// Counts values that are going to be kept.
    fn count(&mut self, n: usize) -> Why<()> {
        self.n_values = self.n_values.saturating_add(n);
        if self.n_values > MAX_VALUES {
            return Err(format!("the pickle makes more than {MAX_VALUES} values"));
        }
        Ok(())
    }

    pub(super) fn string(&mut self, s: String) -> Why<Value> {
        self.count(1)?;
        self.strings.push(s);
        Ok(Value::Str(self.strings.len() - 1))
    }

    pub(super) fn tuple(&mut self, items: Vec<Value>) -> Why<Value> {
        self.count(1 + items.len())?;
        self.tuples.push(items);
        Ok(Value::Tuple(self.tuples.len() - 1))
    }

    pub(super) fn list(&mut self, items: Vec<Value>) -> Why<Value> {
        self.count(1 + items.len())?;
        self.lists.push(items);
        Ok(Value::List(self.lists.len() - 1))
    }

    pub(super) fn dict(&mut self) -> Why<Value> {
        self.count(1)?;
        self.dicts.push(vec![]);
        Ok(Value::Dict(self.dicts.len() - 1))
    }

    pub(super) fn tensor(&mut self, tensor: Tensor) -> Why<Value> {
        self.count(1)?;
        self.tensors.push(tensor);
        Ok(Value::Tensor(self.tensors.len() - 1))
    }

    pub(super) fn storage(&mut self, storage: Storage) -> Why<Value> {
        self.count(1)?;
        self.storages.push(storage);
        Ok(Value::Storage(self.storages.len() - 1))
    }

    pub(super) fn array(&mut self) -> Why<Value> {
        self.count(1)?;
        self.arrays.push(None);
        Ok(Value::Array(self.arrays.len() - 1))
    }

    pub(super) fn append(&mut self, list: Id, items: &[Value]) -> Why<()> {
        self.count(items.len())?;
        self.lists[list].extend_from_slice(items);
        Ok(())
    }

    pub(super) fn set(&mut self, dict: Id, key: Value, value: Value) -> Why<()> {
        self.count(2)?;
        self.dicts[dict].push((key, value));
        Ok(())
    }

    /// The text of a string.
    pub(in crate::container) fn text(&self, value: Value) -> Option<&str> {
        match value {
            Value::Str(id) => Some(&self.strings[id]),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub(in crate::container) fn items(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(id) => Some(&self.tuples[id]),
            Value::List(id) => Some(&self.lists[id]),
            _ => None,
        }
    }

    /// Keys and values of a dictionary in the order they were set.
    pub(in crate::container) fn pairs(&self, value: Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(id) => Some(&self.dicts[id]),
            _ => None,
        }
    }

    /// A tuple or list of extents.
    pub(super) fn extents(&self, value: Value) -> Option<Vec<usize>> {
        let extent = |v: &Value| match v {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        };
        self.items(value).filter(|items| items.len() <= 64)?.iter().map(extent).collect()
    }

    /// What a value is, for messages.
    pub(in crate::container) fn describe(&self, value: Value) -> String {
        match value {
            Value::Str(id) => {
                format!("the string {:?}", self.strings[id].chars().take(40).collect::<String>())
            }
            Value::Dict(id) => format!("a dictionary of {}", self.dicts[id].len()),
            Value::List(id) => format!("a list of {}", self.lists[id].len()),
            Value::Tuple(id) => format!("a tuple of {}", self.tuples[id].len()),
            Value::Tensor(_) => "a tensor".into(),
            Value::Array(_) => "an array".into(),
            Value::Inert => "an object".into(),
            other => format!("{other:?}"),
        }
    }
}
