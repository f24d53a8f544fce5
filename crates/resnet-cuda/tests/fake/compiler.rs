//! An NVRTC whose machine code is the name of the source, or of the one kernel that macros make of it. Compiled to a shared library by `tests/device.rs`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

/// # Safety
/// As NVRTC's function of this name; so are all below.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> c_int {
    // SAFETY: both point to ints.
    unsafe { (*major, *minor) = (13, 7) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetNumSupportedArchs(count: *mut c_int) -> c_int {
    // SAFETY: points to an int.
    unsafe { *count = 2 };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetSupportedArchs(archs: *mut c_int) -> c_int {
    // SAFETY: has room for as many as there are.
    unsafe { (*archs, *archs.add(1)) = (80, 90) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcCreateProgram(
    program: *mut *mut CString,
    _source: *const c_char,
    name: *const c_char,
    _n_headers: c_int,
    _headers: *const *const c_char,
    _include_names: *const *const c_char,
) -> c_int {
    // SAFETY: a text, and a place for a handle.
    unsafe { *program = Box::into_raw(Box::new(CStr::from_ptr(name).to_owned())) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcCompileProgram(program: *mut CString, n: c_int, options: *const *const c_char) -> c_int {
    for i in 0..n as usize {
        // SAFETY: as many texts are there, and a program that lives.
        let option = unsafe { CStr::from_ptr(*options.add(i)) }.to_str().expect("is text");
        if let Some(name) = option.strip_prefix("--define-macro=KERNEL_NAME=") {
            // SAFETY: a program that lives.
            unsafe { *program = CString::new(name).expect("has no zero") };
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcDestroyProgram(program: *mut *mut CString) -> c_int {
    // SAFETY: made by `nvrtcCreateProgram`, destroyed once.
    drop(unsafe { Box::from_raw(*program) });
    0
}

#[unsafe(no_mangle)]
extern "C" fn nvrtcGetErrorString(_code: c_int) -> *const c_char {
    c"some error".as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetProgramLogSize(_program: *mut CString, size: *mut usize) -> c_int {
    // SAFETY: points to a size.
    unsafe { *size = 1 };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetProgramLog(_program: *mut CString, log: *mut c_char) -> c_int {
    // SAFETY: has room for one byte.
    unsafe { *log = 0 };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetCUBINSize(program: *mut CString, size: *mut usize) -> c_int {
    // SAFETY: a program that lives, and a size.
    unsafe { *size = (*program).as_bytes_with_nul().len() };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetCUBIN(program: *mut CString, cubin: *mut c_char) -> c_int {
    // SAFETY: a program that lives, and room for as many bytes as it was said to have.
    unsafe {
        let name = (*program).as_bytes_with_nul();
        ptr::copy_nonoverlapping(name.as_ptr().cast(), cubin, name.len());
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn nvrtcGetPTXSize(_program: *mut c_void, _size: *mut usize) -> c_int {
    1
}

#[unsafe(no_mangle)]
extern "C" fn nvrtcGetPTX(_program: *mut c_void, _ptx: *mut c_char) -> c_int {
    1
}
