//! A driver with one device that computes: memory is the process's, kernels are those of the emulator.
//! Compiled to a shared library by `tests/device.rs`, which says in `FAKE_KERNELS` where the compiled units lie.
//! A "cubin" is the name of a unit.
//!
//! Streams are queues, and their work is done as late as it may be: when the host waits for it, or when another stream's does by an
//! event. Under `fakeHurry` one kind of stream does its work as early as it may be instead. So what is not ordered goes wrong.
//!
//! This file is the device and its context; its parts lie in `gpu/`.

#[path = "gpu/kernels.rs"]
mod kernels;
#[path = "gpu/maps.rs"]
mod maps;
#[path = "gpu/memory.rs"]
mod memory;
#[path = "gpu/queues.rs"]
mod queues;
#[path = "gpu/streams.rs"]
mod streams;

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr;

use memory::MEMORY;

const SUCCESS: c_int = 0;
const OUT_OF_MEMORY: c_int = 2;
const NOT_FOUND: c_int = 500;
const CAPTURE_UNSUPPORTED: c_int = 900;
const LAUNCH_FAILED: c_int = 719;
const INVALID_VALUE: c_int = 1;

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
