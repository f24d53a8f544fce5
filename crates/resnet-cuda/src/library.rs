//! Opening a library at run time, and the foreign calls of the probe.
//!
//! Every call is made through a function pointer that was looked up by name and found,
//! so a library that is missing, a stub or too old is an error and never a crash.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::error::CudaUnavailable;
use crate::search::Search;

type Result<T> = std::result::Result<T, CudaUnavailable>;

/// `CUDA_ERROR_NO_DEVICE` of `cuda.h`.
const NO_DEVICE: c_int = 100;

/// A loaded library and where it came from.
pub(crate) struct Loaded {
    library: Library,
    path: PathBuf,
}

impl Loaded {
    /// Opens the first candidate that exists, or says `None` where there is none.
    pub(crate) fn open(search: &Search, file_names: &[&str]) -> Result<Option<Self>> {
        for path in search.candidates(file_names) {
            // SAFETY: loading runs the library's initialisers, which must be sound at this point of the program.
            // The names are those of NVIDIA's driver and compiler, whose initialisers set up their own state only
            // and may run in any thread at any time.
            match unsafe { Library::new(&path) } {
                Ok(library) => return Ok(Some(Loaded { library, path })),
                Err(_) if path.is_relative() => {} // the loader does not know the name
                Err(error) => return Err(CudaUnavailable::Unloadable { path, why: error.to_string() }),
            }
        }
        Ok(None)
    }

    /// The file, or the bare name where the system's loader found it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has all of these functions.
    pub(crate) fn require(&self, symbols: &[&'static str]) -> Result<()> {
        for symbol in symbols {
            // SAFETY: the pointer is looked up and not called, so its type does not matter.
            let _: *const () = unsafe { self.get(symbol)? };
        }
        Ok(())
    }

    /// Whether it has this function.
    pub(crate) fn has(&self, symbol: &'static str) -> bool {
        self.require(&[symbol]).is_ok()
    }

    /// Never unloads it.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }

    /// A function by name.
    ///
    /// # Safety
    /// `F` must be the function's type in C.
    pub(crate) unsafe fn get<F: Copy>(&self, symbol: &'static str) -> Result<F> {
        // SAFETY: the caller promises the type. The pointer is copied out of the guard: callers use it only while they
        // borrow `self`, which keeps the library loaded.
        let found = unsafe { self.library.get::<F>(symbol.as_bytes()) };
        found.map(|f| *f).map_err(|_| CudaUnavailable::MissingSymbol { path: self.path.clone(), symbol })
    }
}

fn check(call: &'static str, code: c_int) -> Result<()> {
    match code {
        0 => Ok(()),
        NO_DEVICE => Err(CudaUnavailable::NoDevice),
        code => Err(CudaUnavailable::Call { call, code }),
    }
}

/// The few functions of the driver that a probe needs. All are documented to be callable from any thread.
pub(crate) struct Driver(Loaded);

/// `CUdevice_attribute` values of `cuda.h`.
#[derive(Clone, Copy)]
pub(crate) enum Attribute {
    CapabilityMajor = 75,
    CapabilityMinor = 76,
}

impl Driver {
    /// Takes a loaded driver and initialises it (`cuInit`).
    pub(crate) fn init(loaded: Loaded) -> Result<Self> {
        // SAFETY: `CUresult cuInit(unsigned int flags)`.
        let init: unsafe extern "C" fn(c_uint) -> c_int = unsafe { loaded.get("cuInit")? };
        // SAFETY: takes no pointer; the flags must be 0.
        check("cuInit", unsafe { init(0) })?;
        Ok(Driver(loaded))
    }

    /// The CUDA version the driver supports, as 1000·major + 10·minor.
    pub(crate) fn version(&self) -> Result<c_int> {
        self.read("cuDriverGetVersion")
    }

    /// How many devices there are.
    pub(crate) fn device_count(&self) -> Result<c_int> {
        self.read("cuDeviceGetCount")
    }

    /// Calls a function of the type `CUresult f(int *out)`.
    fn read(&self, symbol: &'static str) -> Result<c_int> {
        let mut value = 0;
        // SAFETY: both callers name a function of exactly this type.
        let f: unsafe extern "C" fn(*mut c_int) -> c_int = unsafe { self.0.get(symbol)? };
        // SAFETY: writes one int through a pointer to a live one.
        check(symbol, unsafe { f(&mut value) })?;
        Ok(value)
    }

    /// The handle of a device.
    pub(crate) fn device(&self, ordinal: c_int) -> Result<c_int> {
        let mut device = 0;
        // SAFETY: `CUresult cuDeviceGet(CUdevice *device, int ordinal)`, and `CUdevice` is an int.
        let f: unsafe extern "C" fn(*mut c_int, c_int) -> c_int = unsafe { self.0.get("cuDeviceGet")? };
        // SAFETY: writes one handle through a pointer to a live int; a wrong ordinal is an error code.
        check("cuDeviceGet", unsafe { f(&mut device, ordinal) })?;
        Ok(device)
    }

    /// The name of a device.
    pub(crate) fn device_name(&self, device: c_int) -> Result<String> {
        let mut name: [c_char; 256] = [0; 256];
        // SAFETY: `CUresult cuDeviceGetName(char *name, int len, CUdevice dev)`.
        let f: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int =
            unsafe { self.0.get("cuDeviceGetName")? };
        // SAFETY: writes at most `len` bytes; one less than the array has, so the last stays 0.
        check("cuDeviceGetName", unsafe { f(name.as_mut_ptr(), 255, device) })?;
        // SAFETY: the array outlives the borrow and its last byte is 0, so the string ends inside it.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        Ok(name.to_string_lossy().into_owned())
    }

    /// One attribute of a device.
    pub(crate) fn attribute(&self, device: c_int, attribute: Attribute) -> Result<c_int> {
        let mut value = 0;
        // SAFETY: `CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)`; the enum is an int.
        let f: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int =
            unsafe { self.0.get("cuDeviceGetAttribute")? };
        // SAFETY: writes one int through a pointer to a live one.
        check("cuDeviceGetAttribute", unsafe { f(&mut value, attribute as c_int, device) })?;
        Ok(value)
    }

    /// Bytes of memory of a device.
    pub(crate) fn total_memory(&self, device: c_int) -> Result<usize> {
        let mut bytes = 0;
        // SAFETY: `CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)`.
        let f: unsafe extern "C" fn(*mut usize, c_int) -> c_int =
            unsafe { self.0.get("cuDeviceTotalMem_v2")? };
        // SAFETY: writes one size through a pointer to a live one.
        check("cuDeviceTotalMem_v2", unsafe { f(&mut bytes, device) })?;
        Ok(bytes)
    }
}

/// Asks NVRTC for its version, major and minor, and that it can produce machine code.
pub(crate) fn nvrtc_version(nvrtc: &Loaded) -> Result<(c_int, c_int)> {
    type GetCubin = unsafe extern "C" fn(*mut std::ffi::c_void, *mut c_char) -> c_int;
    // SAFETY: `nvrtcResult nvrtcGetCUBIN(nvrtcProgram prog, char *cubin)`, and a program is a pointer. It is not called.
    let _: GetCubin = unsafe { nvrtc.get("nvrtcGetCUBIN")? };
    let (mut major, mut minor) = (0, 0);
    // SAFETY: `nvrtcResult nvrtcVersion(int *major, int *minor)`.
    let f: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = unsafe { nvrtc.get("nvrtcVersion")? };
    // SAFETY: writes one int through each of two pointers to live ints.
    match unsafe { f(&mut major, &mut minor) } {
        0 => Ok((major, minor)),
        code => Err(CudaUnavailable::Call { call: "nvrtcVersion", code }),
    }
}
