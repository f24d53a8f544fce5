//! The way of a batch to the device, beside the step that computes on the batch before it.
//!
//! A copy from ordinary memory waits until the device comes to it, and one on the queue of the steps waits for the step before.
//! So a large one goes through one of two slots, each pinned memory on the host and as much on the device:
//!
//! ```text
//! host      arrived? │ fill pinned memory │
//! copies                                   taken? │ pinned → device │ arrived!
//! steps     … the step before …                                              arrived? │ device → its place │ taken!
//! ```
//!
//! A slot's pinned memory is filled again when its copy has arrived, and its device memory when that was taken.
//! The last copy is one inside the device, some microseconds for a batch, so buffers keep their addresses and recorded steps hold.

use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaEvent, CudaSlice, CudaStream, DevicePtr, PinnedHostSlice, sys};

/// Smaller copies are put into the queue by the driver itself, without waiting (driver API, "API synchronization behavior").
const SMALL_BYTES: usize = 64 << 10;

/// Larger copies happen once, when data or weights are loaded, and may wait.
const LARGE_BYTES: usize = 256 << 20;

/// Two slots in turn, and the queue that fills them.
#[derive(Debug, Default)]
pub(super) struct Staging {
    copies: Option<Arc<CudaStream>>,
    slots: [Option<Slot>; 2],
    next: usize,
}

#[derive(Debug)]
struct Slot {
    pinned: PinnedHostSlice<u8>,
    device: CudaSlice<u8>,
    /// What was pinned is on the device.
    arrived: CudaEvent,
    /// What was on the device is where it belongs.
    taken: CudaEvent,
}

impl Slot {
    fn new(context: &Arc<CudaContext>, steps: &Arc<CudaStream>, bytes: usize) -> Result<Self, DriverError> {
        // SAFETY: the memory is written before it is read, see `Staging::upload`. Not write-combined, so that any copy is fast.
        let pinned = unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0)? };
        // SAFETY: this memory too is written before it is read: the copy from the host comes first.
        let device = unsafe { steps.alloc::<u8>(bytes)? };
        let slot =
            Slot { pinned, device, arrived: context.new_event(None)?, taken: context.new_event(None)? };
        slot.taken.record(steps)?; // the allocation itself is work of this queue
        Ok(slot)
    }
}

impl Staging {
    /// Copies `bytes` to the address `to`, in order with the work of the queue `steps`.
    ///
    /// # Safety
    /// There are as many bytes at `to`, in an allocation of the queue's context that lives until the queue comes to the copy.
    pub(super) unsafe fn upload(
        &mut self,
        steps: &Arc<CudaStream>,
        to: sys::CUdeviceptr,
        bytes: &[u8],
    ) -> Result<(), DriverError> {
        let middling = SMALL_BYTES < bytes.len() && bytes.len() <= LARGE_BYTES;
        if middling && self.has_slot(steps, bytes.len())? {
            // SAFETY: the caller's promise.
            return unsafe { self.by_slot(steps, to, bytes) };
        }
        // SAFETY: the range is the caller's promise. From pageable memory the driver copies to a place of its own before it
        // returns, so the slice may be used again at once.
        unsafe { result::memcpy_htod_async(to, bytes, steps.cu_stream()) }
    }

    /// Whether the next slot has room for so many bytes. Where the device has no memory left for it, copies go without.
    fn has_slot(&mut self, steps: &Arc<CudaStream>, bytes: usize) -> Result<bool, DriverError> {
        let slot = &mut self.slots[self.next];
        if slot.as_ref().is_some_and(|slot| slot.pinned.len() >= bytes) {
            return Ok(true);
        }
        *slot = None;
        match Slot::new(steps.context(), steps, bytes) {
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(false),
            made => {
                *slot = Some(made?);
                Ok(true)
            }
        }
    }

    /// # Safety
    /// As [`Staging::upload`].
    unsafe fn by_slot(
        &mut self,
        steps: &Arc<CudaStream>,
        to: sys::CUdeviceptr,
        bytes: &[u8],
    ) -> Result<(), DriverError> {
        let copies = match &self.copies {
            Some(copies) => copies,
            None => self.copies.insert(steps.context().new_stream()?),
        };
        let Some(slot) = &mut self.slots[self.next] else { return Ok(()) };
        self.next = 1 - self.next;
        slot.arrived.synchronize()?;
        let staged = &mut slot.pinned.as_mut_slice()?[..bytes.len()];
        staged.copy_from_slice(bytes);
        copies.wait(&slot.taken)?;
        let device = slot.device.device_ptr(copies).0;
        // SAFETY: the slot's device memory is at least as long as its pinned memory. The pinned memory stays as it is until `arrived`:
        // the next use of this slot waits for it, and so does whoever replaces or drops it. Nobody reads the device memory: `taken`.
        unsafe { result::memcpy_htod_async(device, staged, copies.cu_stream())? };
        slot.arrived.record(copies)?;
        steps.wait(&slot.arrived)?;
        // SAFETY: the range at `to` is the caller's promise; the slot's memory has arrived, and is not filled again before `taken`.
        // It is freed in order with this queue.
        unsafe { result::memcpy_dtod_async(to, device, bytes.len(), steps.cu_stream())? };
        slot.taken.record(steps)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The device may still read. An error here is one of the device, which the next call to it tells.
        let _ = self.arrived.synchronize();
    }
}
