//! Pinned memory between host and device, so that a batch is on its way while the host already prepares the next.
//!
//! A copy from ordinary memory waits until the device comes to it. So large ones are first copied to one of two pinned buffers,
//! which the device reads when it gets there; a buffer is filled again only when the device is done with it.

use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, PinnedHostSlice, sys};

/// Smaller copies are put into the queue by the driver itself, without waiting (driver API, "API synchronization behavior").
const SMALL_BYTES: usize = 64 << 10;

/// Larger copies happen once, when data or weights are loaded, and may wait.
const LARGE_BYTES: usize = 256 << 20;

/// Two buffers in turn.
#[derive(Debug, Default)]
pub(super) struct Staging {
    slots: [Option<Slot>; 2],
    next: usize,
}

#[derive(Debug)]
struct Slot {
    memory: PinnedHostSlice<u8>,
    /// The device has read it.
    read: CudaEvent,
}

impl Slot {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, DriverError> {
        // SAFETY: the memory is written before it is read, see `Staging::upload`. Not write-combined, so that any copy is fast.
        let memory = unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0)? };
        Ok(Slot { memory, read: context.new_event(None)? })
    }
}

impl Staging {
    /// Copies `bytes` to the address `to`, in order with the stream's work.
    ///
    /// # Safety
    /// There are as many bytes at `to`, in an allocation of the stream's context that lives until the stream comes to the copy.
    pub(super) unsafe fn upload(
        &mut self,
        stream: &Arc<CudaStream>,
        to: sys::CUdeviceptr,
        bytes: &[u8],
    ) -> Result<(), DriverError> {
        if bytes.len() <= SMALL_BYTES || bytes.len() > LARGE_BYTES {
            // SAFETY: the range is the caller's promise. From pageable memory the driver copies to a place of its own before it
            // returns, so the slice may be used again at once.
            return unsafe { result::memcpy_htod_async(to, bytes, stream.cu_stream()) };
        }
        let slot = &mut self.slots[self.next];
        self.next = 1 - self.next;
        let slot = match slot {
            Some(slot) if slot.memory.len() >= bytes.len() => slot,
            _ => {
                if let Some(old) = slot.take() {
                    old.read.synchronize()?;
                }
                slot.insert(Slot::new(stream.context(), bytes.len())?)
            }
        };
        slot.read.synchronize()?;
        let staged = &mut slot.memory.as_mut_slice()?[..bytes.len()];
        staged.copy_from_slice(bytes);
        // SAFETY: the range is the caller's promise. The pinned memory stays as it is until the event below has passed: the next
        // use of this slot waits for it, and so does whoever replaces or drops it.
        unsafe { result::memcpy_htod_async(to, staged, stream.cu_stream())? };
        slot.read.record(stream)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The device may still read. An error here is one of the device, which the next call to it tells.
        let _ = self.read.synchronize();
    }
}
