//! Memory of the device and pinned memory of the host; both are the process's.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;
use std::sync::Mutex;

use crate::queues::{Work, issue, queues};
use crate::streams::capturing;
use crate::{CAPTURE_UNSUPPORTED, INVALID_VALUE, OUT_OF_MEMORY, SUCCESS};

/// What the device has in all.
pub(crate) const MEMORY: usize = 1 << 30;

/// Pinned memory.
pub(crate) static PINNED: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// What was given out: address and bytes.
pub(crate) static GIVEN: Mutex<Vec<(u64, usize)>> = Mutex::new(Vec::new());

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
extern "C" fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, stream: usize) -> c_int {
    issue(stream, Work::Fill(to, value, bytes))
}
