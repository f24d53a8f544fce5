//! Buffers: memory on the machine, with what it takes to check them before a kernel sees their address.
//!
//! Layout: activations `n × h × w × c` in their own type, weights `k × r × s × c/groups` in f32, tables rows of channels in f32,
//! labels u32, pixels and window positions bytes. Sums are two rows of f64 (see `kernels/norm.cu`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use resnet_core::{DType, Error, Result, Role, TensorDesc};

use crate::copies::Copies;
use crate::machine::Memory;

/// Memory of the CUDA backend. It knows its length and nothing about its content.
pub struct Buffer {
    memory: Memory,
    /// Counts buffers that were freed; a recorded step that may have used one is recorded anew.
    freed: Arc<AtomicU64>,
    /// Where it holds weights of a convolution: the same in the form that tensor cores want.
    copies: Copies,
}

impl Buffer {
    pub(crate) fn new(memory: Memory, freed: Arc<AtomicU64>) -> Self {
        Self { memory, freed, copies: Copies::default() }
    }

    pub(crate) fn copies(&self) -> &Copies {
        &self.copies
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.memory.bytes())
    }
}

/// Bytes of one element of an activation.
pub(crate) fn element_bytes(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 4,
        DType::Bf16 | DType::F16 => 2,
    }
}

/// Bytes that a tensor takes. Never zero.
pub(crate) fn buffer_bytes(desc: &TensorDesc) -> usize {
    let each = match desc.role {
        Role::Sums => 2 * size_of::<f64>(),
        Role::Pixels | Role::Index => 1,
        Role::Activation => element_bytes(desc.dtype),
        Role::Weight | Role::Table | Role::Labels => 4,
    };
    (desc.len() * each).max(1)
}

/// The address of a buffer that is long enough for this tensor.
///
/// Every address that a kernel is given comes from here or from the engine's scratch, so no kernel leaves its buffers.
pub(crate) fn address(
    op: &'static str,
    arg: &'static str,
    buffer: &Buffer,
    desc: &TensorDesc,
) -> Result<u64> {
    let (found, needed) = (buffer.memory.bytes(), buffer_bytes(desc));
    if found < needed {
        return Err(Error::Length { op, arg, found, needed });
    }
    Ok(buffer.memory.address())
}

/// As [`address`], of a buffer that is about to be written: copies of what it held are given up.
pub(crate) fn written(
    op: &'static str,
    arg: &'static str,
    buffer: &Buffer,
    desc: &TensorDesc,
) -> Result<u64> {
    let address = address(op, arg, buffer, desc)?;
    if buffer.copies.forget() {
        buffer.freed.fetch_add(1, Ordering::Relaxed);
    }
    Ok(address)
}

/// As [`written`], 0 where there is no buffer.
pub(crate) fn optional_written(
    op: &'static str,
    arg: &'static str,
    buffer: Option<&Buffer>,
    desc: &TensorDesc,
) -> Result<u64> {
    buffer.map_or(Ok(0), |buffer| written(op, arg, buffer, desc))
}

/// As [`address`], 0 where there is no buffer.
pub(crate) fn optional(
    op: &'static str,
    arg: &'static str,
    buffer: Option<&Buffer>,
    desc: &TensorDesc,
) -> Result<u64> {
    buffer.map_or(Ok(0), |buffer| address(op, arg, buffer, desc))
}
