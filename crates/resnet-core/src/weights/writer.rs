//! Writing a file one tensor at a time.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::io::Write;

use safetensors::Dtype;
use serde_json::json;

use super::header::{MAX_HEADER_BYTES, MAX_RANK, MAX_TENSORS, Metadata};
use crate::params::ParamKind;
use crate::{Error, Graph, ParamId, Result};

/// A tensor that is going to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Extents, row-major.
    pub shape: Vec<usize>,
    /// Element type: F32 or I64.
    pub dtype: Dtype,
}

impl Entry {
    /// An f32 tensor.
    pub fn f32(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), dtype: Dtype::F32 }
    }

    /// An i64 tensor.
    pub fn i64(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), dtype: Dtype::I64 }
    }
}

/// A safetensors file being written: first the header for all tensors, then their data in the same order.
///
/// The bytes depend on nothing but the tensors, their order and the metadata.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    pending: VecDeque<Entry>,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`Error::Weights`] if a name is given twice, a tensor cannot be described, or writing fails.
    pub fn new(mut out: W, entries: Vec<Entry>, metadata: &Metadata) -> Result<Self> {
        let mut header = String::from("{");
        let mut names = BTreeSet::new();
        let mut end = 0usize;
        if !metadata.is_empty() {
            header.push_str(&format!("\"__metadata__\":{}", json!(metadata)));
        }
        for Entry { name, shape, dtype } in &entries {
            let size = shape.iter().try_fold(dtype.bitsize() / 8, |n, extent| n.checked_mul(*extent));
            let start = end;
            let described = size.and_then(|size| start.checked_add(size)).filter(|_| shape.len() <= MAX_RANK);
            let Some(new_end) = described.filter(|_| name != "__metadata__" && names.insert(name.as_str()))
            else {
                return Err(Error::Weights(format!(
                    "tensor {name:?} of shape {shape:?} cannot be written: too large, more than {MAX_RANK} dimensions, or its name is taken"
                )));
            };
            end = new_end;
            let info = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
            header.push_str(&format!("{}{}:{info}", if header.len() > 1 { "," } else { "" }, json!(name)));
        }
        header.push('}');
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len())); // data starts aligned
        if entries.len() > MAX_TENSORS || header.len() as u64 > MAX_HEADER_BYTES {
            return Err(Error::Weights(format!(
                "{} tensors with a header of {} bytes: more than any reader accepts",
                entries.len(),
                header.len()
            )));
        }
        out.write_all(&(header.len() as u64).to_le_bytes()).map_err(|e| failed("the header", &e))?;
        out.write_all(header.as_bytes()).map_err(|e| failed("the header", &e))?;
        Ok(Self { out, pending: entries.into() })
    }

    /// Writes the next tensor, which must be the f32 tensor of this name.
    ///
    /// # Errors
    /// [`Error::Weights`] if another tensor is next, if the element count differs, or if writing fails.
    pub fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.next(name, Dtype::F32, values.len())?;
        self.write_bytes(name, values, f32::to_le_bytes)
    }

    /// Writes the next tensor, which must be the i64 tensor of this name.
    ///
    /// # Errors
    /// As [`Writer::write_f32`].
    pub fn write_i64(&mut self, name: &str, values: &[i64]) -> Result<()> {
        self.next(name, Dtype::I64, values.len())?;
        self.write_bytes(name, values, i64::to_le_bytes)
    }

    /// Ends the file; the caller flushes what it gets back.
    ///
    /// # Errors
    /// [`Error::Weights`] if a tensor was announced and not written.
    pub fn finish(self) -> Result<W> {
        match self.pending.front() {
            Some(entry) => {
                Err(Error::Weights(format!("tensor {:?} was announced and not written", entry.name)))
            }
            None => Ok(self.out),
        }
    }

    fn next(&mut self, name: &str, dtype: Dtype, len: usize) -> Result<()> {
        let fits = |e: &Entry| e.name == name && e.dtype == dtype && e.shape.iter().product::<usize>() == len;
        match self.pending.front() {
            Some(entry) if fits(entry) => {
                self.pending.pop_front();
                Ok(())
            }
            next => Err(Error::Weights(format!(
                "{len} elements of type {dtype} given for {name:?}, but next comes {next:?}"
            ))),
        }
    }

    fn write_bytes<T: Copy, const N: usize>(
        &mut self,
        name: &str,
        values: &[T],
        encode: fn(T) -> [u8; N],
    ) -> Result<()> {
        let mut chunk = Vec::with_capacity(1 << 16);
        for part in values.chunks((1 << 16) / N) {
            chunk.clear();
            chunk.extend(part.iter().flat_map(|v| encode(*v)));
            self.out.write_all(&chunk).map_err(|e| failed(name, &e))?;
        }
        Ok(())
    }
}

/// Writes the parameters of a network, asking for one at a time. `value` gives a parameter in file order.
///
/// Every normalisation also gets PyTorch's `num_batches_tracked`, an i64 scalar of 0, so that `load_state_dict` accepts the
/// file. These come first, which keeps them aligned.
///
/// # Errors
/// [`Error::Mismatch`] naming the parameter whose element count is wrong; whatever `value` returns; as [`Writer`].
pub fn write_graph<'a, W: Write>(
    out: W,
    graph: &Graph,
    metadata: &Metadata,
    mut value: impl FnMut(ParamId) -> Result<Cow<'a, [f32]>>,
) -> Result<W> {
    let saved: Vec<ParamId> =
        (0..graph.params().len()).map(ParamId).filter(|id| graph.param(*id).kind.is_saved()).collect();
    let counters: Vec<String> = graph
        .params()
        .iter()
        .filter(|p| p.kind == ParamKind::RunningVar)
        .filter_map(|p| Some(format!("{}.num_batches_tracked", p.name.strip_suffix(".running_var")?)))
        .collect();
    let mut entries: Vec<Entry> = counters.iter().map(|name| Entry::i64(name, &[])).collect();
    entries.extend(saved.iter().map(|id| Entry::f32(&graph.param(*id).name, &graph.param(*id).shape)));

    let mut writer = Writer::new(out, entries, metadata)?;
    for name in &counters {
        writer.write_i64(name, &[0])?;
    }
    for id in saved {
        let spec = graph.param(id);
        let values = value(id)?;
        if values.len() != spec.len() {
            return Err(Error::Mismatch {
                tensor: spec.name.clone(),
                found: format!("{} elements", values.len()),
                wanted: format!("{} ({:?})", spec.len(), spec.shape),
            });
        }
        writer.write_f32(&spec.name, &values)?;
    }
    writer.finish()
}

fn failed(what: &str, e: &std::io::Error) -> Error {
    Error::Weights(format!("writing {what} failed: {e}"))
}
