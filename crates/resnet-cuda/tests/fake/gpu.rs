//! A driver with one device that computes: memory is the process's, kernels are those of the emulator.
//! Compiled to a shared library by `tests/device.rs`, which says in `FAKE_KERNELS` where the compiled units lie.
//! A "cubin" is the name of a unit. Everything happens at once, in order, unless the stream is being captured.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::Mutex;

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
    bytes: usize,
    shared: c_uint,
}

enum Work {
    Launch(Kernel, RawLaunch, Vec<u64>),
    Fill(u64, u8, usize),
    /// Of another library, with how long it takes.
    Foreign(extern "C" fn(*mut c_void), usize, c_int),
}

/// The device's clock: a kernel takes a unit for each word of its arguments, a filling none, and other libraries say how long they take.
static CLOCK: Mutex<i64> = Mutex::new(0);

/// The clock at each event.
static EVENTS: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// For the fake cuDNN: whether a stream is being captured.
#[unsafe(no_mangle)]
extern "C" fn fakeCapturing() -> c_int {
    c_int::from(capturing())
}

/// For the fake cuDNN: puts work into the queue.
#[unsafe(no_mangle)]
extern "C" fn fakeIssue(call: extern "C" fn(*mut c_void), data: *mut c_void, units: c_int) {
    issue(Work::Foreign(call, data as usize, units));
}

/// Copies that were issued and not done: where to, where from, how many bytes.
static COPIES: Mutex<Vec<(u64, usize, usize)>> = Mutex::new(Vec::new());

/// Copies from pinned memory happen as late as they may: when the stream or an event is waited for, or other work comes.
fn finish_copies() {
    for (to, from, bytes) in COPIES.lock().expect("not poisoned").drain(..) {
        // SAFETY: the caller of the driver promised both ranges until it has waited.
        unsafe { ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
    }
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
        Work::Launch(_, _, words) => words.len() as i64,
        Work::Fill(..) => 0,
        Work::Foreign(_, _, units) => i64::from(*units),
    };
    match work {
        Work::Foreign(call, data, _) => {
            call(*data as *mut c_void);
            SUCCESS
        }
        // SAFETY: the kernel is one of the emulator's and the words are as many as it takes, see `cuLaunchKernel`.
        Work::Launch(kernel, raw, words) => match unsafe { kernel(raw, words.as_ptr().cast()) } {
            0 => SUCCESS,
            _ => LAUNCH_FAILED,
        },
        Work::Fill(to, value, bytes) => {
            // SAFETY: the caller of the driver names memory of the device.
            unsafe { ptr::write_bytes(*to as *mut u8, *value, *bytes) };
            SUCCESS
        }
    }
}

fn issue(work: Work) -> c_int {
    finish_copies();
    if let Some(list) = CAPTURE.lock().expect("not poisoned").as_mut() {
        list.push(work);
        return SUCCESS;
    }
    run(&work)
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
    // SAFETY: points to a handle.
    unsafe { *out = 2 };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(_stream: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(_stream: usize) -> c_int {
    finish_copies();
    if capturing() { CAPTURE_UNSUPPORTED } else { SUCCESS }
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
unsafe extern "C" fn cuGraphLaunch(graph: *mut Vec<Work>, _stream: usize) -> c_int {
    finish_copies();
    // SAFETY: made by `cuStreamEndCapture` and not destroyed yet.
    let list = unsafe { &*graph };
    list.iter().map(run).find(|&code| code != SUCCESS).unwrap_or(SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(_graph: *mut Vec<Work>) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphDestroy(graph: *mut Vec<Work>) -> c_int {
    // SAFETY: made by `cuStreamEndCapture`, destroyed once.
    drop(unsafe { Box::from_raw(graph) });
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(out: *mut u64, bytes: usize, _stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    let mut given = GIVEN.lock().expect("not poisoned");
    if given.iter().map(|(_, bytes)| bytes).sum::<usize>() + bytes > MEMORY {
        return OUT_OF_MEMORY;
    }
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
unsafe extern "C" fn cuMemFreeAsync(memory: u64, _stream: usize) -> c_int {
    let mut given = GIVEN.lock().expect("not poisoned");
    let Some(at) = given.iter().position(|&(address, _)| address == memory) else { return INVALID_VALUE };
    let (_, bytes) = given.swap_remove(at);
    let layout = std::alloc::Layout::from_size_align(bytes, 256).expect("is a layout");
    // SAFETY: given out with this layout, freed once.
    unsafe { std::alloc::dealloc(memory as *mut u8, layout) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(_memory: u64) -> c_int {
    INVALID_VALUE
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    let given: usize = GIVEN.lock().expect("not poisoned").iter().map(|(_, bytes)| bytes).sum();
    // SAFETY: both point to sizes.
    unsafe { (*free, *total) = (MEMORY - given, MEMORY) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, _stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    let start = from as usize;
    let pinned = PINNED.lock().expect("not poisoned").iter().any(|&(at, len)| (at..at + len).contains(&start));
    if pinned {
        COPIES.lock().expect("not poisoned").push((to, start, bytes));
        return SUCCESS;
    }
    finish_copies();
    // SAFETY: the caller names so many bytes of host and device.
    unsafe { ptr::copy_nonoverlapping(from, to as *mut u8, bytes) };
    SUCCESS
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
    let mut events = EVENTS.lock().expect("not poisoned");
    events.push(0);
    // SAFETY: points to a handle. Events are numbered from 1.
    unsafe { *out = events.len() };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(_event: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: usize, _stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    EVENTS.lock().expect("not poisoned")[event - 1] = *CLOCK.lock().expect("not poisoned");
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(out: *mut f32, from: usize, to: usize) -> c_int {
    let events = EVENTS.lock().expect("not poisoned");
    // SAFETY: points to a number.
    unsafe { *out = (events[to - 1] - events[from - 1]) as f32 };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(_event: usize) -> c_int {
    finish_copies();
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, _stream: usize) -> c_int {
    finish_copies();
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    // SAFETY: the caller names so many bytes of host and device.
    unsafe { ptr::copy_nonoverlapping(from as *const u8, to, bytes) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, _stream: usize) -> c_int {
    issue(Work::Fill(to, value, bytes))
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
    let size = format!("{}_args_bytes", unsafe { CStr::from_ptr(name) }.to_str().expect("is a name"));
    let size = CString::new(size).expect("has no zero");
    // SAFETY: `KERNEL` in the shim gives every kernel both functions, of these types.
    let function = unsafe {
        let bytes: unsafe extern "C" fn() -> usize = std::mem::transmute(dlsym(module, size.as_ptr()));
        Function { kernel: std::mem::transmute::<*mut c_void, Kernel>(kernel), bytes: bytes(), shared: USUAL_SHARED }
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
    _stream: usize,
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
    issue(Work::Launch(function.kernel, raw, words))
}
