//! An NVRTC that tells its version and nothing else. Compiled to a shared library by `tests/probe.rs`.

use std::ffi::{c_char, c_int, c_void};

/// # Safety
/// Both point to ints.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> c_int {
    // SAFETY: the caller promises that both point to ints.
    unsafe { (*major, *minor) = (13, 7) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn nvrtcGetCUBIN(_program: *mut c_void, _cubin: *mut c_char) -> c_int {
    1
}
