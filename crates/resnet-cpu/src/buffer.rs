//! What ops work on: memory that can hold any role.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use resnet_core::{DType, Error, Result, Role, TensorDesc};

use crate::element::Element;
use crate::memory::Memory;

/// Memory of the CPU backend. It knows its length and nothing about its content.
///
/// Activations and max-pool indices lie **pixel-major**, `h × w × n × c`: at one pixel, the channels of all pictures form one dense matrix.
/// So a convolution is a sum of plain matrix products over its taps, a tap that falls on padding is left out, and every
/// op writes whole pixels that no other thread touches. With a single picture this is NHWC.
/// Weights are `k × r × s × c/groups`, tables are rows of channels, pixels and labels are as on the host.
/// Sums are two f64 per channel.
pub struct Buffer {
    memory: Memory,
    bytes: usize,
    /// How often it was borrowed to be written to, from 1 on. Its address is what tells buffers apart.
    writes: Arc<AtomicU64>,
}

/// Tells a buffer from all others that live, or that somebody still has a [`Weak`] of.
pub(crate) type Identity = usize;

impl Buffer {
    /// Allocates zeros and touches every page, so that no op meets a page fault.
    pub(crate) fn zeros(bytes: usize) -> Result<Self> {
        /// From here on the system is asked first: it may promise memory that it does not have, and end the process that
        /// touches it.
        const LARGE: usize = 64 << 20;
        let out_of_memory =
            |free_bytes| Error::OutOfMemory { backend: crate::NAME, requested_bytes: bytes, free_bytes };
        if bytes >= LARGE
            && let Some(free) = free_bytes()
            && bytes > free
        {
            return Err(out_of_memory(free));
        }
        let memory = Memory::zeros(bytes.div_ceil(size_of::<f32>()))
            .map_err(|_| out_of_memory(free_bytes().unwrap_or(0)))?;
        Ok(Self { memory, bytes, writes: Arc::new(AtomicU64::new(1)) })
    }

    /// Length in bytes, as it was asked for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which buffer this is.
    pub(crate) fn identity(&self) -> Identity {
        Arc::as_ptr(&self.writes).addr()
    }

    /// How often it may have been written to.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Lives as long as the buffer does.
    pub(crate) fn weak(&self) -> Weak<AtomicU64> {
        Arc::downgrade(&self.writes)
    }

    /// Everything, to be written to: the one place that hands it out.
    fn floats_mut(&mut self) -> &mut [f32] {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.memory.floats_mut()
    }

    /// The first `len` elements as f32.
    pub(crate) fn f32(&self, len: usize) -> &[f32] {
        &self.memory.floats()[..len]
    }

    /// The first `len` elements as f32.
    pub(crate) fn f32_mut(&mut self, len: usize) -> &mut [f32] {
        &mut self.floats_mut()[..len]
    }

    /// The first `len` elements of an activation.
    pub(crate) fn elements<E: Element>(&self, len: usize) -> &[E] {
        &bytemuck::cast_slice(self.memory.floats())[..len]
    }

    /// The first `len` elements of an activation.
    pub(crate) fn elements_mut<E: Element>(&mut self, len: usize) -> &mut [E] {
        &mut bytemuck::cast_slice_mut(self.floats_mut())[..len]
    }

    /// The first `len` elements as f64.
    pub(crate) fn f64(&self, len: usize) -> &[f64] {
        bytemuck::cast_slice(&self.memory.floats()[..2 * len])
    }

    /// The first `len` elements as f64.
    pub(crate) fn f64_mut(&mut self, len: usize) -> &mut [f64] {
        bytemuck::cast_slice_mut(&mut self.floats_mut()[..2 * len])
    }

    /// The first `len` bytes.
    pub(crate) fn u8(&self, len: usize) -> &[u8] {
        &bytemuck::cast_slice(self.memory.floats())[..len]
    }

    /// The first `len` bytes.
    pub(crate) fn u8_mut(&mut self, len: usize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(self.floats_mut())[..len]
    }

    /// The first `len` elements as u32.
    pub(crate) fn u32(&self, len: usize) -> &[u32] {
        bytemuck::cast_slice(self.f32(len))
    }

    /// The first `len` elements as u32.
    pub(crate) fn u32_mut(&mut self, len: usize) -> &mut [u32] {
        bytemuck::cast_slice_mut(self.f32_mut(len))
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes)
    }
}

/// Bytes that a tensor takes in a [`Buffer`]. Never zero.
pub(crate) fn buffer_bytes(desc: &TensorDesc) -> usize {
    let bytes = match desc.role {
        Role::Sums => desc.len() * 2 * size_of::<f64>(),
        Role::Pixels | Role::Index => desc.len(),
        Role::Activation if desc.dtype != DType::F32 => desc.len() * 2,
        Role::Activation | Role::Weight | Role::Table | Role::Labels => desc.len() * 4,
    };
    bytes.max(1)
}

/// Refuses a buffer that is shorter than the tensor it should hold.
pub(crate) fn check(op: &'static str, arg: &'static str, buffer: &Buffer, desc: &TensorDesc) -> Result<()> {
    let needed = buffer_bytes(desc);
    if buffer.bytes() < needed {
        return Err(Error::Length { op, arg, found: buffer.bytes(), needed });
    }
    Ok(())
}

/// Memory the system could still give, in bytes, where it says.
fn free_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kib.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}
