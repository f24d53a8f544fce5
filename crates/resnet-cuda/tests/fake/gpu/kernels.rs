//! Modules and kernels: libraries that the emulator's compiler has made.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

use crate::queues::{Kernel, RawLaunch, Work, issue};
use crate::{INVALID_VALUE, NOT_FOUND, SUCCESS};

/// What a block is granted without being asked.
const USUAL_SHARED: c_uint = 48 << 10;

pub(crate) struct Function {
    pub(crate) kernel: Kernel,
    /// Whether it is a convolution on ordinary units.
    pub(crate) slow: bool,
    pub(crate) bytes: usize,
    pub(crate) shared: c_uint,
}

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
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
