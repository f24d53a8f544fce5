//! A pickle reader that runs nothing.
//!
//! A pickle is a program for a small stack machine, and one of its instructions calls any function of any Python module.
//! Here the machine knows a short list of names ([`callables`]) and what their results look like; every other name is refused,
//! and nothing is ever called. Objects that commonly ride along in checkpoints, such as the arguments of the training script,
//! become [`Value::Inert`]: their content is read over.
//!
//! Memory is bounded by the length of the pickle: values are small and copyable, containers live in a [`Heap`] whose size is
//! limited, and long byte strings are not read but remembered by their place.
//!
//! Source: Python's `pickletools`, which documents every opcode.

mod bytes;
mod callables;
mod machine;
mod value;

pub(super) use bytes::Bytes;
pub(super) use machine::Machine;
pub(super) use value::{Heap, Kind, Value};

/// Most values on the stack. Python writes dictionaries in groups of a thousand.
const MAX_STACK: usize = 1 << 20;

/// Most values in all containers, and most remembered ones.
const MAX_VALUES: usize = 1 << 22;

/// Longest string that is kept. Old protocols write the elements of an array as a string.
const MAX_STRING: u64 = 1 << 28;

/// Deepest nesting that is looked into.
pub(super) const MAX_DEPTH: usize = 32;
