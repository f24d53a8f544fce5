//! A driver with one device that computes: memory is the process's, kernels are those of the emulator.
//! Compiled to a shared library by `tests/device.rs`, which says in `FAKE_KERNELS` where the compiled units lie.
//! A "cubin" is the name of a unit.
//!
//! Streams are queues, and their work is done as late as it may be: when the host waits for it, or when another stream's does by an
//! event. Under `fakeHurry` one kind of stream does its work as early as it may be instead. So what is not ordered goes wrong.

mod maps;

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard};

const SUCCESS: c_int = 0;
const OUT_OF_MEMORY: c_int = 2;
const NOT_FOUND: c_int = 500;
const CAPTURE_UNSUPPORTED: c_int = 900;
const LAUNCH_FAILED: c_int = 719;
const INVALID_VALUE: c_int = 1;

/// What the device has in all, and what it grants a block without being asked.
const MEMORY: usize = 1 << 30;
const USUAL_SHARED: c_uint = 48 << 10;

type Kernel = unsafe extern "C" fn(*const RawLaunch, *const c_void) -> c_int;

/// Twin of `emu::Launch` in the shim.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawLaunch {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
}

struct Function {
    kernel: Kernel,
    /// Whether it is a convolution on ordinary units.
    slow: bool,
    bytes: usize,
    shared: c_uint,
}

#[derive(Clone)]
enum Work {
    Launch(Kernel, RawLaunch, Vec<u64>, i64),
    Fill(u64, u8, usize),
    /// Of another library, with how long it takes.
    Foreign(extern "C" fn(*mut c_void), usize, c_int),
    /// To, from, bytes, on host or device.
    Copy(u64, u64, usize),
    /// From memory that the driver has already read.
    Write(u64, Vec<u8>),
    /// A graph, not destroyed before everything is done.
    Graph(usize),
    Free(u64),
    Record(usize, u64),
    Wait(usize, u64),
}

/// The device's clock: a kernel takes a unit for each word of its arguments, or two if it is slow, copies none, and other libraries say
/// how long they take.
static CLOCK: Mutex<i64> = Mutex::new(0);

/// For the fake cuDNN: whether a stream is being captured.
#[unsafe(no_mangle)]
extern "C" fn fakeCapturing() -> c_int {
    c_int::from(capturing())
}

/// For the fake cuDNN: its work after everything that was issued.
#[unsafe(no_mangle)]
extern "C" fn fakeIssue(call: extern "C" fn(*mut c_void), data: *mut c_void, units: c_int) {
    let work = Work::Foreign(call, data as usize, units);
    if let Some(list) = CAPTURE.lock().expect("not poisoned").as_mut() {
        list.push(work);
        return;
    }
    queues().finish_all();
    run(&work);
}

/// How often an event was recorded, which of these is done, and the clock then.
#[derive(Default)]
struct Event {
    recorded: u64,
    done: u64,
    clock: i64,
}

/// What was issued and not done, by stream.
struct Queues {
    streams: Vec<VecDeque<Work>>,
    events: Vec<Event>,
    /// The stream that works as early as it may.
    hurried: Option<usize>,
    error: c_int,
    /// What was done, in order: `copy 8192`, `launch`, `graph`, by stream.
    log: String,
}

static QUEUES: Mutex<Queues> = Mutex::new(Queues {
    streams: Vec::new(),
    events: Vec::new(),
    hurried: None,
    error: SUCCESS,
    log: String::new(),
});

impl Queues {
    fn push(&mut self, stream: usize, work: Work) {
        self.streams[stream - 1].push_back(work);
        while let Some(hurried) = self.hurried
            && let Some(first) = self.streams.get(hurried - 1).and_then(VecDeque::front)
            && !matches!(*first, Work::Wait(event, n) if self.events[event - 1].done < n)
        {
            self.step(hurried);
        }
    }

    /// Does the first thing of a stream, and before it what that waits for.
    fn step(&mut self, stream: usize) {
        let Some(work) = self.streams[stream - 1].pop_front() else { return };
        match work {
            Work::Record(event, n) => {
                self.events[event - 1].done = n;
                self.events[event - 1].clock = *CLOCK.lock().expect("not poisoned");
            }
            Work::Wait(event, n) => self.wait(event, n),
            work => {
                let what = match &work {
                    Work::Copy(_, _, bytes) => format!("copy {bytes}"),
                    Work::Write(_, bytes) => format!("write {}", bytes.len()),
                    Work::Launch(..) => "launch".into(),
                    Work::Graph(_) => "graph".into(),
                    _ => "other".into(),
                };
                self.log.push_str(&format!("{stream} {what}\n"));
                let code = run(&work);
                if self.error == SUCCESS {
                    self.error = code;
                }
            }
        }
    }

    fn wait(&mut self, event: usize, n: u64) {
        while self.events[event - 1].done < n {
            let recorded = |work: &Work| matches!(*work, Work::Record(e, m) if e == event && m >= n);
            let stream = self.streams.iter().position(|queue| queue.iter().any(recorded));
            self.step(stream.expect("what is waited for was recorded") + 1);
        }
    }

    fn finish(&mut self, stream: usize) -> c_int {
        while !self.streams[stream - 1].is_empty() {
            self.step(stream);
        }
        std::mem::replace(&mut self.error, SUCCESS)
    }

    fn finish_all(&mut self) {
        for stream in 1..=self.streams.len() {
            while !self.streams[stream - 1].is_empty() {
                self.step(stream);
            }
        }
    }
}

fn queues() -> MutexGuard<'static, Queues> {
    QUEUES.lock().expect("not poisoned")
}

/// For the test: the stream that works early (0: none), everything before done and forgotten.
#[unsafe(no_mangle)]
extern "C" fn fakeHurry(stream: usize) {
    let mut queues = queues();
    queues.finish_all();
    queues.log.clear();
    queues.hurried = (stream != 0).then_some(stream);
}

/// For the test: what was done since, without waiting for anything.
#[unsafe(no_mangle)]
unsafe extern "C" fn fakeLog(out: *mut c_char, room: usize) {
    let log = CString::new(queues().log.as_str()).expect("has no zero");
    let bytes = log.as_bytes_with_nul();
    assert!(bytes.len() <= room);
    // SAFETY: there is room for as many bytes as the caller says.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len()) };
}

/// Pinned memory.
static PINNED: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// What is being captured, and bytes given out.
static CAPTURE: Mutex<Option<Vec<Work>>> = Mutex::new(None);
static GIVEN: Mutex<Vec<(u64, usize)>> = Mutex::new(Vec::new());

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

fn capturing() -> bool {
    CAPTURE.lock().expect("not poisoned").is_some()
}

fn run(work: &Work) -> c_int {
    *CLOCK.lock().expect("not poisoned") += match work {
        Work::Launch(_, _, _, units) => *units,
        Work::Foreign(_, _, units) => i64::from(*units),
        _ => 0,
    };
    match *work {
        Work::Foreign(call, data, _) => {
            call(data as *mut c_void);
            SUCCESS
        }
        // SAFETY: the kernel is one of the emulator's and the words are as many as it takes, see `cuLaunchKernel`.
        Work::Launch(kernel, ref raw, ref words, _) => match unsafe { kernel(raw, words.as_ptr().cast()) } {
            0 => SUCCESS,
            _ => LAUNCH_FAILED,
        },
        Work::Fill(to, value, bytes) => {
            // SAFETY: the caller of the driver names memory of the device.
            unsafe { ptr::write_bytes(to as *mut u8, value, bytes) };
            SUCCESS
        }
        Work::Copy(to, from, bytes) => {
            // SAFETY: the caller of the driver promised both ranges until it has waited.
            unsafe { ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
            SUCCESS
        }
        Work::Write(to, ref bytes) => {
            // SAFETY: the caller of the driver names memory of the device.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
            SUCCESS
        }
        Work::Graph(graph) => {
            // SAFETY: made by `cuStreamEndCapture`; `cuGraphDestroy` waits for everything.
            let list = unsafe { &*(graph as *const Vec<Work>) };
            list.iter().map(run).find(|&code| code != SUCCESS).unwrap_or(SUCCESS)
        }
        Work::Free(memory) => {
            let mut given = GIVEN.lock().expect("not poisoned");
            let Some(at) = given.iter().position(|&(address, _)| address == memory) else { return INVALID_VALUE };
            let (_, bytes) = given.swap_remove(at);
            let layout = std::alloc::Layout::from_size_align(bytes, 256).expect("is a layout");
            // SAFETY: given out with this layout, freed once.
            unsafe { std::alloc::dealloc(memory as *mut u8, layout) };
            SUCCESS
        }
        Work::Record(..) | Work::Wait(..) => INVALID_VALUE, // never captured
    }
}

fn issue(stream: usize, work: Work) -> c_int {
    if let Some(list) = CAPTURE.lock().expect("not poisoned").as_mut() {
        list.push(work);
        return SUCCESS;
    }
    queues().push(stream, work);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    SUCCESS
}

/// # Safety
/// As the driver's function of this name; so are all below.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(out: *mut c_int) -> c_int {
    // SAFETY: points to an int.
    unsafe { *out = 13_000 };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(out: *mut c_int) -> c_int {
    // SAFETY: points to an int.
    unsafe { *out = 1 };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(out: *mut c_int, ordinal: c_int) -> c_int {
    // SAFETY: points to an int.
    unsafe { *out = ordinal };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(out: *mut c_char, _len: c_int, _device: c_int) -> c_int {
    // SAFETY: has room for 255 bytes.
    unsafe { ptr::copy_nonoverlapping(c"Fake GPU".as_ptr(), out, 9) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(out: *mut c_int, attribute: c_int, _device: c_int) -> c_int {
    let value = match attribute {
        75 => 9,         // compute capability, major
        76 => 0,         // minor
        16 => 4,         // multiprocessors
        97 => 227 << 10, // shared memory that a block may be granted
        115 => 1,        // memory pools
        _ => return INVALID_VALUE,
    };
    // SAFETY: points to an int.
    unsafe { *out = value };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(out: *mut usize, _device: c_int) -> c_int {
    // SAFETY: points to a size.
    unsafe { *out = MEMORY };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(out: *mut usize, _device: c_int) -> c_int {
    // SAFETY: points to a handle.
    unsafe { *out = 1 };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(out: *mut usize) -> c_int {
    // SAFETY: points to a handle.
    unsafe { *out = 1 };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(_context: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: c_int, out: *mut *const c_char) -> c_int {
    let text: &CStr = match error {
        CAPTURE_UNSUPPORTED => c"operation not permitted when stream is capturing",
        OUT_OF_MEMORY => c"out of memory",
        _ => c"some error",
    };
    // SAFETY: points to a pointer.
    unsafe { *out = text.as_ptr() };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(out: *mut usize, flags: c_uint) -> c_int {
    if flags != 1 {
        return INVALID_VALUE; // only one that does not wait for the null stream
    }
    let mut queues = queues();
    queues.streams.push(VecDeque::new());
    // SAFETY: points to a handle.
    unsafe { *out = queues.streams.len() };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: usize) -> c_int {
    queues().finish(stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    queues().finish(stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, _flags: c_uint) -> c_int {
    let mut queues = queues();
    let recorded = queues.events[event - 1].recorded;
    queues.push(stream, Work::Wait(event, recorded));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(_stream: usize, _mode: c_int) -> c_int {
    *CAPTURE.lock().expect("not poisoned") = Some(Vec::new());
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(_stream: usize, out: *mut *mut Vec<Work>) -> c_int {
    let list = CAPTURE.lock().expect("not poisoned").take().expect("was begun");
    // SAFETY: points to a handle.
    unsafe { *out = Box::into_raw(Box::new(list)) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(out: *mut *mut Vec<Work>, graph: *mut Vec<Work>, _flags: u64) -> c_int {
    // SAFETY: points to a handle. The executable graph is the graph itself.
    unsafe { *out = graph };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(graph: *mut Vec<Work>, stream: usize) -> c_int {
    queues().push(stream, Work::Graph(graph as usize));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(_graph: *mut Vec<Work>) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphDestroy(graph: *mut Vec<Work>) -> c_int {
    queues().finish_all();
    // SAFETY: made by `cuStreamEndCapture`, destroyed once.
    drop(unsafe { Box::from_raw(graph) });
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(out: *mut u64, bytes: usize, _stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    let too_much = |bytes: usize| {
        let given = GIVEN.lock().expect("not poisoned");
        given.iter().map(|(_, bytes)| bytes).sum::<usize>() + bytes > MEMORY
    };
    if too_much(bytes) {
        queues().finish_all(); // what is to be freed is free then
    }
    if too_much(bytes) {
        return OUT_OF_MEMORY;
    }
    let mut given = GIVEN.lock().expect("not poisoned");
    let layout = std::alloc::Layout::from_size_align(bytes, 256).expect("is a layout");
    // SAFETY: the driver is never asked for 0 bytes. What is in fresh memory is anything: here NaN.
    let memory = unsafe { std::alloc::alloc(layout) };
    // SAFETY: so many bytes were allocated on the line above, and nobody else has them.
    unsafe { ptr::write_bytes(memory, 0xff, bytes) };
    given.push((memory as u64, bytes));
    // SAFETY: points to an address.
    unsafe { *out = memory as u64 };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(_out: *mut u64, _bytes: usize) -> c_int {
    INVALID_VALUE
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(memory: u64, stream: usize) -> c_int {
    queues().push(stream, Work::Free(memory));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(_memory: u64) -> c_int {
    INVALID_VALUE
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    queues().finish_all();
    let given: usize = GIVEN.lock().expect("not poisoned").iter().map(|(_, bytes)| bytes).sum();
    // SAFETY: both point to sizes.
    unsafe { (*free, *total) = (MEMORY - given, MEMORY) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    let start = from as usize;
    let pinned = PINNED.lock().expect("not poisoned").iter().any(|&(at, len)| (at..at + len).contains(&start));
    let work = if pinned {
        Work::Copy(to, start as u64, bytes)
    } else {
        // SAFETY: the caller names so many bytes of the host.
        Work::Write(to, unsafe { std::slice::from_raw_parts(from, bytes) }.to_vec())
    };
    queues().push(stream, work);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> c_int {
    issue(stream, Work::Copy(to, from, bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(out: *mut *mut c_void, bytes: usize, _flags: c_uint) -> c_int {
    let memory = vec![0u8; bytes].leak();
    PINNED.lock().expect("not poisoned").push((memory.as_ptr() as usize, bytes));
    // SAFETY: points to an address.
    unsafe { *out = memory.as_mut_ptr().cast() };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(memory: *mut c_void) -> c_int {
    let mut pinned = PINNED.lock().expect("not poisoned");
    let before = pinned.len();
    pinned.retain(|&(at, _)| at != memory as usize);
    if pinned.len() == before { INVALID_VALUE } else { SUCCESS }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(out: *mut usize, _flags: c_uint) -> c_int {
    let mut queues = queues();
    queues.events.push(Event::default());
    // SAFETY: points to a handle.
    unsafe { *out = queues.events.len() };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(_event: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: usize, stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    let mut queues = queues();
    queues.events[event - 1].recorded += 1;
    let n = queues.events[event - 1].recorded;
    queues.push(stream, Work::Record(event, n));
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(out: *mut f32, from: usize, to: usize) -> c_int {
    let queues = queues();
    // SAFETY: points to a number.
    unsafe { *out = (queues.events[to - 1].clock - queues.events[from - 1].clock) as f32 };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: usize) -> c_int {
    let mut queues = queues();
    let recorded = queues.events[event - 1].recorded;
    queues.wait(event, recorded);
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    let code = queues().finish(stream);
    if code != SUCCESS {
        return code;
    }
    // SAFETY: the caller names so many bytes of host and device.
    unsafe { ptr::copy_nonoverlapping(from as *const u8, to, bytes) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, stream: usize) -> c_int {
    issue(stream, Work::Fill(to, value, bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(out: *mut *mut c_void, image: *const c_char) -> c_int {
    // SAFETY: a "cubin" of the fake compiler is a name that ends in a zero.
    let name = unsafe { CStr::from_ptr(image) }.to_str().expect("is a name");
    let path = CString::new(format!("{}/{name}.so", env!("FAKE_KERNELS"))).expect("has no zero");
    // SAFETY: opens a library by its path, now and privately.
    let library = unsafe { dlopen(path.as_ptr(), 2) };
    if library.is_null() {
        return NOT_FOUND;
    }
    // SAFETY: points to a handle.
    unsafe { *out = library };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(_module: *mut c_void) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(out: *mut *mut Function, module: *mut c_void, name: *const c_char) -> c_int {
    // SAFETY: a library of `cuModuleLoadData`, and a text.
    let kernel = unsafe { dlsym(module, name) };
    if kernel.is_null() {
        return NOT_FOUND;
    }
    // SAFETY: the caller of the driver passes a text that ends in a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_str().expect("is a name");
    let (size, slow) = (format!("{name}_args_bytes"), name.starts_with("conv_"));
    let size = CString::new(size).expect("has no zero");
    // SAFETY: `KERNEL` in the shim gives every kernel both functions, of these types.
    let function = unsafe {
        let bytes: unsafe extern "C" fn() -> usize = std::mem::transmute(dlsym(module, size.as_ptr()));
        Function { kernel: std::mem::transmute::<*mut c_void, Kernel>(kernel), slow, bytes: bytes(), shared: USUAL_SHARED }
    };
    // SAFETY: points to a handle. Functions live as long as the process.
    unsafe { *out = Box::into_raw(Box::new(function)) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetParamInfo(
    function: *mut Function,
    index: usize,
    offset: *mut usize,
    bytes: *mut usize,
) -> c_int {
    if index != 0 {
        return INVALID_VALUE;
    }
    // SAFETY: a function of `cuModuleGetFunction`, and two sizes.
    unsafe { (*offset, *bytes) = (0, (*function).bytes) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncSetAttribute(function: *mut Function, attribute: c_int, value: c_int) -> c_int {
    if attribute != 8 {
        return INVALID_VALUE;
    }
    // SAFETY: a function of `cuModuleGetFunction`.
    unsafe { (*function).shared = value as c_uint };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: *mut Function,
    gx: c_uint,
    gy: c_uint,
    gz: c_uint,
    bx: c_uint,
    by: c_uint,
    bz: c_uint,
    shared_bytes: c_uint,
    stream: usize,
    parameters: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> c_int {
    // SAFETY: a function of `cuModuleGetFunction`.
    let function = unsafe { &*function };
    if shared_bytes > function.shared || [gx, gy, gz, bx, by, bz].contains(&0) {
        return INVALID_VALUE;
    }
    let mut words = vec![0u64; function.bytes.div_ceil(8)];
    // SAFETY: one parameter of so many bytes; they are copied before this returns.
    unsafe { ptr::copy_nonoverlapping((*parameters).cast::<u8>(), words.as_mut_ptr().cast(), function.bytes) };
    let raw = RawLaunch { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes };
    let units = words.len() as i64 * if function.slow { 2 } else { 1 };
    issue(stream, Work::Launch(function.kernel, raw, words, units))
}
