//! A GPU, reached through its driver by way of `cudarc`.
//!
//! `cudarc` ends the program where a library or a function of it is missing, so both are looked for before it is called.
//! It is told not to track events: they would end up in what is captured. There is one queue for the steps, and one for copies that
//! overlap with them (`staging`).
#![allow(unsafe_code)]

mod map;
mod staging;

use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute, CUevent_flags, CUfunction_attribute, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, CudaGraph, CudaModule, CudaSlice, CudaStream, DevicePtr};
use cudarc::nvrtc::Ptx;
use resnet_core::{Error, Result};

use self::staging::Staging;
use super::{Launch, Machine, Memory, RecordingId, Stamp, Traits};
use crate::compile::{Arch, Cache, Compiler, Unit};
use crate::cudnn::{Cudnn, CudnnError, Target};
use crate::error::CudaUnavailable;
use crate::library::Loaded;
use crate::probe::{DRIVER, Device};
use crate::search::Search;

/// Every function of the driver that is reached through `cudarc` from here.
const NEEDED: [&str; 37] = [
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAllocAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// Since CUDA 12.4: tells how many bytes a kernel takes.
const PARAMETER_SIZE: &str = "cuFuncGetParamInfo";

/// Since CUDA 12.8: the time between two events. Without it the host's clock is taken.
const ELAPSED_TIME: &str = "cuEventElapsedTime_v2";

/// Since CUDA 12.0: describes a tensor to Hopper's tensor memory accelerator.
pub(super) const ENCODE_MAP: &str = "cuTensorMapEncodeTiled";

/// Shared memory a block may have without being asked for.
const USUAL_SHARED_BYTES: u32 = 48 << 10;

/// One device, with one stream of its own.
pub struct Gpu {
    /// Launches that are captured. Before the stream, which they hold.
    graphs: Vec<Option<CudaGraph>>,
    staging: Staging,
    functions: HashMap<String, Function>,
    /// The latest last.
    modules: Vec<Arc<CudaModule>>,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    compiler: Compiler,
    arch: Arch,
    device: Device,
    traits: Traits,
    driver: Driver,
    search: Search,
}

/// What not every driver has.
#[derive(Clone, Copy, Debug)]
struct Driver {
    tells_parameter_size: bool,
    tells_time: bool,
    encodes_maps: bool,
}

struct Function {
    function: CudaFunction,
    /// Bytes of its arguments, where the driver tells.
    arg_bytes: Option<usize>,
    /// Shared memory it was allowed so far.
    shared_bytes: u32,
}

impl Gpu {
    /// Opens a device that was probed. Compiled kernels are kept in the cache.
    ///
    /// # Errors
    /// [`Error::Device`] for functions that the driver lacks, and whatever the driver refuses.
    pub fn open(search: &Search, device: Device, cache: Option<Cache>) -> Result<Self> {
        let compiler = Compiler::open(search, cache)?;
        let driver = load_driver(search)?;
        let context = CudaContext::new(device.ordinal).map_err(|e| failed("opening the device", e))?;
        // SAFETY: events order work of several streams on one allocation. Every allocation is made after this call and is used on one
        // stream, but for those of `staging`, which orders its two streams with events of its own.
        unsafe { context.disable_event_tracking() };
        // The default stream cannot be captured.
        let stream = context.new_stream().map_err(|e| failed("making a stream", e))?;
        let attribute = |attribute: CUdevice_attribute| -> Result<u32> {
            let value = context.attribute(attribute).map_err(|e| failed("asking the device", e))?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        let traits = Traits {
            capability: device.capability.major * 10 + device.capability.minor,
            multiprocessors: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1),
            shared_bytes: attribute(
                CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
        };
        Ok(Self {
            graphs: Vec::new(),
            staging: Staging::default(),
            functions: HashMap::new(),
            modules: Vec::new(),
            stream,
            context,
            compiler,
            arch: Arch::of(device.capability),
            device,
            traits,
            driver,
            search: search.clone(),
        })
    }

    /// The address of `len` bytes of an allocation of this device.
    fn at(&self, memory: &Memory, offset: usize, len: usize) -> Result<sys::CUdeviceptr> {
        let ours = memory.owner.downcast_ref::<CudaSlice<u8>>();
        if !ours.is_some_and(|slice| slice.context() == &self.context) {
            return Err(refused("a buffer of another machine was given to the device"));
        }
        if offset.checked_add(len).is_none_or(|end| end > memory.bytes()) {
            return Err(refused(format!("bytes {offset}+{len} of a buffer of {}", memory.bytes())));
        }
        Ok(memory.address() + offset as u64)
    }

    /// Makes the device's context this thread's.
    fn bind(&self) -> Result<()> {
        self.context.bind_to_thread().map_err(|e| failed("the device", e))
    }

    fn function(&mut self, name: &str) -> Result<&mut Function> {
        if !self.functions.contains_key(name) {
            let found = self.modules.iter().rev().find_map(|module| module.load_function(name).ok());
            let function = found.ok_or_else(|| refused(format!("there is no kernel `{name}`")))?;
            let arg_bytes = if self.driver.tells_parameter_size { parameter_bytes(&function) } else { None };
            let shared_bytes = USUAL_SHARED_BYTES;
            self.functions.insert(name.to_owned(), Function { function, arg_bytes, shared_bytes });
        }
        self.functions.get_mut(name).ok_or_else(|| refused(format!("there is no kernel `{name}`")))
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.device)
    }
}

impl Machine for Gpu {
    fn describe(&self) -> String {
        self.device.to_string()
    }

    fn traits(&self) -> Traits {
        self.traits.clone()
    }

    fn load(&mut self, unit: &Unit) -> Result<()> {
        let cubin = self.compiler.cubin(unit, self.arch)?;
        let module = self.context.load_module(Ptx::from_binary(cubin.code));
        self.modules.push(module.map_err(|e| failed(&format!("loading {}", unit.name), e))?);
        Ok(())
    }

    fn alloc(&mut self, bytes: usize) -> Result<Memory> {
        self.bind()?;
        let slice = self.stream.alloc_zeros::<u8>(bytes.max(1)).map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::OutOfMemory {
                backend: crate::NAME,
                requested_bytes: bytes,
                free_bytes: self.free_bytes(),
            },
            _ => failed("asking for memory", error),
        })?;
        let address = slice.device_ptr(&self.stream).0;
        Ok(Memory::new(address, bytes, Arc::new(slice)))
    }

    fn free_bytes(&self) -> usize {
        self.bind().ok().and_then(|()| self.context.mem_get_info().ok()).map_or(0, |(free, _)| free)
    }

    fn upload(&mut self, to: &Memory, offset: usize, bytes: &[u8]) -> Result<()> {
        self.bind()?;
        let to = self.at(to, offset, bytes.len())?;
        // SAFETY: `at` checked that the allocation is of this context and long enough. It is freed in order with the stream.
        let copied = unsafe { self.staging.upload(&self.stream, to, bytes) };
        copied.map_err(|e| failed("copying to the device", e))
    }

    fn download(&mut self, from: &Memory, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.bind()?;
        let from = self.at(from, offset, bytes.len())?;
        // SAFETY: `at` checked the range; the slice is borrowed until the stream has been waited for, two lines on.
        let copied = unsafe { result::memcpy_dtoh_async(bytes, from, self.stream.cu_stream()) };
        let waited = self.stream.synchronize();
        copied.and(waited).map_err(|e| failed("copying from the device", e))
    }

    fn fill(&mut self, to: &Memory, offset: usize, bytes: usize, value: u8) -> Result<()> {
        self.bind()?;
        let to = self.at(to, offset, bytes)?;
        // SAFETY: `at` checked that the range is inside a live allocation of this context.
        let filled = unsafe { result::memset_d8_async(to, value, bytes, self.stream.cu_stream()) };
        filled.map_err(|e| failed("filling memory", e))
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.bind()?;
        let stream = self.stream.cu_stream();
        let Launch { kernel, grid, block, shared_bytes, args } = launch;
        let encoded;
        let words = if args.has_maps() {
            if !self.driver.encodes_maps {
                return Err(refused(format!(
                    "`{kernel}` needs {ENCODE_MAP}, which this driver lacks; update it"
                )));
            }
            encoded = args.encoded(map::encode)?;
            &encoded
        } else {
            args.words()
        };
        let function = self.function(kernel)?;
        if let Some(wanted) = function.arg_bytes.filter(|&wanted| wanted != args.bytes()) {
            return Err(refused(format!(
                "`{kernel}` takes {wanted} bytes of arguments and was given {}; its structure differs between source and host",
                args.bytes()
            )));
        }
        if *shared_bytes > function.shared_bytes {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(*shared_bytes).unwrap_or(i32::MAX);
            let allowed = function.function.set_attribute(attribute, bytes);
            allowed
                .map_err(|e| failed(&format!("{shared_bytes} bytes of shared memory for `{kernel}`"), e))?;
            function.shared_bytes = *shared_bytes;
        }
        let mut parameters = [words.as_ptr().cast_mut().cast::<c_void>()];
        let (grid, block) = ((grid[0], grid[1], grid[2]), (block[0], block[1], block[2]));
        // SAFETY: the function belongs to a module that is kept. A kernel takes exactly one structure by value (`KERNEL`), and the
        // words hold as many bytes as it has, compared above where the driver tells and by the emulator's tests everywhere; the
        // driver copies them before it returns. The addresses in them are those of live allocations, long enough for what the
        // kernel does: `Machine` asks that of whoever fills arguments.
        let launched = unsafe {
            result::launch_kernel(
                function.function.cu_function(),
                grid,
                block,
                *shared_bytes,
                stream,
                &mut parameters,
            )
        };
        launched.map_err(|e| failed(&format!("launching `{kernel}` as {grid:?} blocks of {block:?}"), e))
    }

    fn synchronize(&mut self) -> Result<()> {
        self.bind()?;
        self.stream.synchronize().map_err(|e| failed("waiting for the device", e))
    }

    fn begin_recording(&mut self) -> Result<()> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(|e| failed("beginning to record a step", e))
    }

    fn end_recording(&mut self) -> Result<RecordingId> {
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        let graph = graph.map_err(|e| failed("recording a step", e))?;
        self.graphs.push(Some(graph.ok_or_else(|| refused("the step that was to be recorded is empty"))?));
        Ok(RecordingId(self.graphs.len() - 1))
    }

    fn replay(&mut self, recording: RecordingId) -> Result<()> {
        let graph = self.graphs.get(recording.0).and_then(Option::as_ref);
        let graph = graph.ok_or_else(|| refused("there is no such recording"))?;
        graph.launch().map_err(|e| failed("replaying a step", e))
    }

    fn cudnn(&mut self) -> std::result::Result<Target, CudnnError> {
        let library = Cudnn::load(&self.search)?;
        self.bind().map_err(|error| CudnnError::Device { why: error.to_string() })?;
        let stream = self.stream.cu_stream().cast();
        // SAFETY: the stream belongs to the context that was just made current, and the handle keeps its owner.
        let handle = unsafe { library.handle(stream, Rc::new(Arc::clone(&self.stream)))? };
        Ok(Target::here(handle))
    }

    fn stamp(&mut self) -> Result<Stamp> {
        if !self.driver.tells_time {
            self.synchronize()?;
            return Ok(Stamp::Host(Instant::now()));
        }
        let flags = CUevent_flags::CU_EVENT_DEFAULT;
        let event = self.context.new_event(Some(flags)).map_err(|e| failed("making an event", e))?;
        event.record(&self.stream).map_err(|e| failed("taking the time", e))?;
        Ok(Stamp::Device(event))
    }

    fn milliseconds(&mut self, from: &Stamp, to: &Stamp) -> Result<f32> {
        match (from, to) {
            (Stamp::Device(from), Stamp::Device(to)) => {
                from.elapsed_ms(to).map_err(|e| failed("taking the time", e))
            }
            _ => Ok(from.host_milliseconds(to)),
        }
    }

    fn forget(&mut self, recording: RecordingId) {
        if let Some(graph) = self.graphs.get_mut(recording.0) {
            *graph = None;
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // Buffers may outlive this value and are freed on the stream in order; graphs are not, so what runs is waited for.
        let _ = self.synchronize();
    }
}

/// Loads the driver so that `cudarc` finds it, for the life of the process.
fn load_driver(search: &Search) -> Result<Driver> {
    let missing = || CudaUnavailable::NoDriver { library: DRIVER, searched: search.places(&[DRIVER]) };
    let driver = Loaded::open(search, &[DRIVER])?.ok_or_else(missing)?;
    driver.require(&NEEDED)?;
    let has = Driver {
        tells_parameter_size: driver.has(PARAMETER_SIZE),
        tells_time: driver.has(ELAPSED_TIME),
        encodes_maps: driver.has(ENCODE_MAP),
    };
    // A library that was opened by its path is found by its name from then on.
    driver.keep();
    // SAFETY: loads the driver by its usual names, as this function just did.
    if unsafe { sys::is_culib_present() } { Ok(has) } else { Err(missing().into()) }
}

/// Bytes of a kernel's only argument, or `None` if the driver does not say.
fn parameter_bytes(function: &CudaFunction) -> Option<usize> {
    let (mut offset, mut bytes) = (0, 0);
    // SAFETY: writes two sizes through pointers to live ones; the function belongs to a loaded module.
    // `load_driver` found this function in the driver.
    let told = unsafe { sys::cuFuncGetParamInfo(function.cu_function(), 0, &mut offset, &mut bytes) };
    (told == CUresult::CUDA_SUCCESS && offset == 0).then_some(bytes)
}

/// What the driver refused, and what it says about it.
fn failed(action: &str, error: DriverError) -> Error {
    let hint = match error.0 {
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS | CUresult::CUDA_ERROR_LAUNCH_FAILED => {
            "; a kernel went wrong earlier, please report it with the command that was run"
        }
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => {
            "; NVRTC and the driver do not fit together, update the driver"
        }
        _ => "",
    };
    refused(format!("{action}: {error}{hint}"))
}

/// An error of this machine.
fn refused(action: impl Into<String>) -> Error {
    Error::Device { backend: crate::NAME, action: action.into() }
}
