//! A driver that is there and does nothing: enough for cuDNN to say which graphs it would compile for a device that is described to it.
//!
//! cuDNN looks for these functions when it loads the driver, and calls almost none of them before it compiles.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: c_int = 100;

macro_rules! refuse {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> c_int {
            NO_DEVICE
        }
    )*};
}

refuse! {
    cuCtxGetCurrent cuCtxGetDevice cuCtxGetLimit cuCtxPopCurrent cuCtxPushCurrent
    cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount
    cuDevicePrimaryCtxRelease cuDevicePrimaryCtxReset cuDevicePrimaryCtxRetain
    cuFuncGetAttribute cuFuncSetAttribute cuGetErrorName cuGetErrorString
    cuKernelGetAttribute cuKernelGetFunction cuKernelSetAttribute
    cuLaunchCooperativeKernel cuLaunchKernel cuLaunchKernelEx
    cuLibraryGetKernel cuLibraryLoadData cuLibraryLoadFromFile cuLibraryUnload
    cuLinkAddData cuLinkAddData_v2 cuLinkAddFile_v2 cuLinkComplete cuLinkCreate cuLinkCreate_v2 cuLinkDestroy
    cuMemcpyDtoH_v2
    cuModuleGetFunction cuModuleGetGlobal_v2 cuModuleLoadData cuModuleLoadDataEx cuModuleLoadFatBinary cuModuleUnload
    cuOccupancyMaxActiveBlocksPerMultiprocessor cuOccupancyMaxPotentialClusterSize
    cuStreamGetCtx cuStreamGetGreenCtx cuStreamSynchronize
    cuTensorMapEncodeTiled
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_flags: c_uint) -> c_int {
    0
}

/// # Safety
/// `version` must point to an int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    // SAFETY: the caller passes a pointer to an int.
    unsafe { *version = 13_000 };
    0
}

/// # Safety
/// `name` must be a C string and `function` point to a pointer; `found` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress_v2(
    name: *const c_char,
    function: *mut *const c_void,
    _version: c_int,
    _flags: c_ulonglong,
    found: *mut c_int,
) -> c_int {
    // SAFETY: the caller passes a C string.
    let name = unsafe { CStr::from_ptr(name) };
    let address = match name.to_bytes() {
        b"cuGetProcAddress" | b"cuGetProcAddress_v2" => cuGetProcAddress_v2 as *const c_void,
        b"cuDriverGetVersion" => cuDriverGetVersion as *const c_void,
        b"cuInit" => cuInit as *const c_void,
        _ => cuCtxGetCurrent as *const c_void, // says that there is no device, whatever it is called with
    };
    // SAFETY: the caller passes a pointer to a pointer.
    unsafe { *function = address };
    if !found.is_null() {
        // SAFETY: not null, and then it points to an int.
        unsafe { *found = 0 };
    }
    0
}

/// # Safety
/// As [`cuGetProcAddress_v2`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress(
    name: *const c_char,
    function: *mut *const c_void,
    version: c_int,
    flags: c_ulonglong,
) -> c_int {
    // SAFETY: the caller keeps the same promises; the last argument may be null.
    unsafe { cuGetProcAddress_v2(name, function, version, flags, std::ptr::null_mut()) }
}
