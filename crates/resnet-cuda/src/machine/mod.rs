//! What the backend runs on: a [`Machine`] has memory and runs kernels by name.
//!
//! There are two. [`device`] is a GPU, reached through its driver.
//! [`emulator`] is this processor: the same kernel sources compiled by a C++ compiler, one fiber per thread.
//! Everything above this trait (sizes, launch geometry, arguments, order of launches, recording) is the same code on both, so
//! that it is tested where there is no GPU.

pub mod device;
pub mod emulator;

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use resnet_core::Result;

use crate::args::Packed;
use crate::compile::Unit;
use crate::cudnn::{CudnnError, Target};

/// One launch of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Its name in the source.
    pub kernel: Cow<'static, str>,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// Its arguments.
    pub args: Packed,
}

/// An allocation. It is freed with its last handle.
#[derive(Clone)]
pub struct Memory {
    address: u64,
    bytes: usize,
    owner: Arc<dyn Any + Send + Sync>,
}

impl Memory {
    /// Wraps an allocation of `bytes` bytes at `address`, which `owner` frees when it is dropped.
    pub(crate) fn new(address: u64, bytes: usize, owner: Arc<dyn Any + Send + Sync>) -> Self {
        Self { address, bytes, owner }
    }

    /// Where it begins, as a kernel sees it. A multiple of 256.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes at {:#x})", self.bytes, self.address)
    }
}

/// What a machine may do in full, as far as a backend needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Compute capability times ten, 80 for 8.0; 0 where there is no such hardware.
    pub capability: u32,
    /// Multiprocessors, to size grids by.
    pub multiprocessors: u32,
    /// Most dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
}

/// A recorded list of launches, by its number on the machine that recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordingId(pub usize);

/// A time in a queue.
#[derive(Debug)]
pub enum Stamp {
    /// By the host's clock, after waiting.
    Host(Instant),
    /// By the device's.
    Device(cudarc::driver::CudaEvent),
}

impl Stamp {
    /// Milliseconds to another of the host's clock.
    fn host_milliseconds(&self, to: &Stamp) -> f32 {
        match (self, to) {
            (Stamp::Host(from), Stamp::Host(to)) => to.duration_since(*from).as_secs_f32() * 1e3,
            _ => f32::NAN,
        }
    }
}

/// One in-order queue with memory.
///
/// Addresses in a launch's arguments are those of live allocations, long enough for what the kernel does with them: whoever
/// fills the arguments has checked the buffers (see [`buffer`](crate::buffer)).
pub trait Machine {
    /// One line for people.
    fn describe(&self) -> String;

    /// What it can do.
    fn traits(&self) -> Traits;

    /// Compiles a unit, or takes it from the cache, and makes its kernels known by their names.
    /// A name that two units share is the later one's.
    ///
    /// # Errors
    /// What the compiler refuses.
    fn load(&mut self, unit: &Unit) -> Result<()>;

    /// Allocates zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](resnet_core::Error::OutOfMemory) with what is free.
    fn alloc(&mut self, bytes: usize) -> Result<Memory>;

    /// Bytes that can still be allocated, as far as it is known; 0 where it is not.
    fn free_bytes(&self) -> usize;

    /// Copies from the host, in order. `bytes` may be changed as soon as this returns.
    ///
    /// # Errors
    /// Device errors, among them a copy while a recording is being made.
    fn upload(&mut self, to: &Memory, offset: usize, bytes: &[u8]) -> Result<()>;

    /// Copies to the host after everything before, and waits for it.
    ///
    /// # Errors
    /// As [`Machine::upload`].
    fn download(&mut self, from: &Memory, offset: usize, bytes: &mut [u8]) -> Result<()>;

    /// Sets `bytes` bytes from `offset` on, in order.
    ///
    /// # Errors
    /// Device errors.
    fn fill(&mut self, to: &Memory, offset: usize, bytes: usize, value: u8) -> Result<()>;

    /// Runs a kernel, in order.
    ///
    /// # Errors
    /// A kernel that is not there, arguments of another size than it takes, geometry the device refuses, device errors.
    fn launch(&mut self, launch: &Launch) -> Result<()>;

    /// Waits until everything is done.
    ///
    /// # Errors
    /// What went wrong since the last time anybody waited.
    fn synchronize(&mut self) -> Result<()>;

    /// From now on launches and fills are noted, and not run.
    ///
    /// # Errors
    /// Device errors.
    fn begin_recording(&mut self) -> Result<()>;

    /// Ends what [`Machine::begin_recording`] began and makes it ready to be run.
    ///
    /// # Errors
    /// Device errors.
    fn end_recording(&mut self) -> Result<RecordingId>;

    /// Runs what was recorded, in order with everything else.
    ///
    /// # Errors
    /// Device errors, and a number that is not there.
    fn replay(&mut self, recording: RecordingId) -> Result<()>;

    /// cuDNN on this queue.
    ///
    /// # Errors
    /// What is missing for it, or what it refuses.
    fn cudnn(&mut self) -> std::result::Result<Target, CudnnError>;

    /// Notes the time at which the queue comes to this point.
    ///
    /// # Errors
    /// Device errors.
    fn stamp(&mut self) -> Result<Stamp>;

    /// Milliseconds between two stamps, once both have passed.
    ///
    /// # Errors
    /// Device errors.
    fn milliseconds(&mut self, from: &Stamp, to: &Stamp) -> Result<f32>;

    /// Forgets a recording.
    fn forget(&mut self, recording: RecordingId);
}
