//! The foreign calls of cuDNN, and descriptors that are destroyed when they are dropped.
//!
//! A descriptor belongs to one thread (`Rc`), as cuDNN asks of descriptors that are being filled.
#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::rc::Rc;

use super::CudnnError;
use super::names::{Attribute, DataType, Kind, Type};
use crate::library::Loaded;
use crate::probe::{DRIVER, open_nvrtc};
use crate::search::Search;

type Raw = *mut c_void; // cudnnBackendDescriptor_t, cudnnHandle_t and cudaStream_t are pointers

type Result<T> = std::result::Result<T, CudnnError>;

/// The first version with device descriptions in JSON and all attributes that are used.
const NEEDED: usize = 9_11_00;

/// cuDNN, and cuBLASLt, which it opens by bare name and cannot do without.
const CUDNN: &str = "libcudnn.so.9";
const CUBLAS_LT: [&str; 2] = ["libcublasLt.so.13", "libcublasLt.so.12"];

type Create = unsafe extern "C" fn(c_int, *mut Raw) -> c_int;
type Destroy = unsafe extern "C" fn(Raw) -> c_int;
type Finalize = unsafe extern "C" fn(Raw) -> c_int;
type Set = unsafe extern "C" fn(Raw, c_int, c_int, i64, *const c_void) -> c_int;
type Get = unsafe extern "C" fn(Raw, c_int, c_int, i64, *mut i64, *mut c_void) -> c_int;
type Version = unsafe extern "C" fn() -> usize;
type StatusName = unsafe extern "C" fn(c_int) -> *const c_char;
type CreateHandle = unsafe extern "C" fn(*mut Raw) -> c_int;
type DestroyHandle = unsafe extern "C" fn(Raw) -> c_int;
type SetStream = unsafe extern "C" fn(Raw, Raw) -> c_int;
type Execute = unsafe extern "C" fn(Raw, Raw, Raw) -> c_int;
type LastError = unsafe extern "C" fn(*mut c_char, usize);

/// cuDNN, cuBLASLt, the driver, NVRTC with its built-in headers.
type Libraries = (Loaded, Loaded, Option<Loaded>, Option<(Loaded, Option<Loaded>)>);

struct Functions {
    create: Create,
    destroy: Destroy,
    finalize: Finalize,
    set: Set,
    get: Get,
    status_name: StatusName,
    last_error: LastError,
    create_handle: CreateHandle,
    destroy_handle: DestroyHandle,
    set_stream: SetStream,
    execute: Execute,
    version: usize,
    /// Kept loaded for the life of the process: cuDNN starts threads and opens libraries of its own, and is not made to be unloaded.
    _libraries: std::mem::ManuallyDrop<Libraries>,
}

/// The loaded library.
#[derive(Clone)]
pub struct Cudnn(Rc<Functions>);

impl std::fmt::Debug for Cudnn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuDNN {}", self.0.version)
    }
}

impl Cudnn {
    /// Finds and loads cuBLASLt and cuDNN. No device and no driver are needed.
    ///
    /// # Errors
    /// Which of the two is missing, too old, or not what it claims to be.
    pub fn load(search: &Search) -> Result<Self> {
        // cuDNN opens the driver by bare name too, for the engines that it compiles. Without one it offers only the others.
        let driver = Loaded::open(search, &[DRIVER])?;
        // So it does with NVRTC, which a device's backend has opened already.
        let nvrtc = open_nvrtc(search).ok();
        let cublas = Loaded::open(search, &CUBLAS_LT)?
            .ok_or_else(|| CudnnError::NoCublasLt { searched: search.places(&CUBLAS_LT) })?;
        let cudnn = Loaded::open(search, &[CUDNN])?
            .ok_or_else(|| CudnnError::Missing { searched: search.places(&[CUDNN]) })?;
        // SAFETY: the type is that of `cudnn_version.h`: `size_t cudnnGetVersion(void)`.
        let version = unsafe { cudnn.get::<Version>("cudnnGetVersion")? };
        // SAFETY: takes nothing and may be called at any time.
        let version = unsafe { version() };
        if version < NEEDED {
            return Err(CudnnError::TooOld { found: version, needed: NEEDED });
        }
        // SAFETY: the types above are those of `cudnn_graph.h`: cudnnBackendCreateDescriptor(type, *desc), cudnnBackendDestroyDescriptor(desc),
        // cudnnBackendFinalize(desc), cudnnBackendSetAttribute(desc, name, type, count, array), cudnnBackendGetAttribute(desc, name, type,
        // requested, *count, array), cudnnGetErrorString(status), cudnnGetLastErrorString(message, size), cudnnCreate(*handle),
        // cudnnDestroy(handle), cudnnSetStream(handle, stream), cudnnBackendExecute(handle, plan, pack).
        let functions = unsafe {
            Functions {
                create: cudnn.get("cudnnBackendCreateDescriptor")?,
                destroy: cudnn.get("cudnnBackendDestroyDescriptor")?,
                finalize: cudnn.get("cudnnBackendFinalize")?,
                set: cudnn.get("cudnnBackendSetAttribute")?,
                get: cudnn.get("cudnnBackendGetAttribute")?,
                status_name: cudnn.get("cudnnGetErrorString")?,
                last_error: cudnn.get("cudnnGetLastErrorString")?,
                create_handle: cudnn.get("cudnnCreate")?,
                destroy_handle: cudnn.get("cudnnDestroy")?,
                set_stream: cudnn.get("cudnnSetStream")?,
                execute: cudnn.get("cudnnBackendExecute")?,
                version,
                _libraries: std::mem::ManuallyDrop::new((cudnn, cublas, driver, nvrtc)),
            }
        };
        Ok(Cudnn(Rc::new(functions)))
    }

    /// 91900 is 9.19.0.
    pub fn version(&self) -> usize {
        self.0.version
    }

    /// A new descriptor, to be filled.
    pub(crate) fn descriptor(&self, kind: Kind) -> Result<Descriptor> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle through a pointer to a live one.
        let status = unsafe { (self.0.create)(kind as c_int, &mut raw) };
        self.check("cudnnBackendCreateDescriptor", kind.name(), status)?;
        Ok(Descriptor { library: self.clone(), kind, raw, kept: Vec::new() })
    }

    /// cuDNN on the device of the current context, working on a stream of it.
    ///
    /// # Safety
    /// `stream` is a stream of the context that is current, and lives as long as `kept`.
    ///
    /// # Errors
    /// What cuDNN refuses, such as a driver it does not know.
    pub(crate) unsafe fn handle(&self, stream: *mut c_void, kept: Rc<dyn Any>) -> Result<Handle> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle through a pointer to a live one.
        let status = unsafe { (self.0.create_handle)(&mut raw) };
        self.check("cudnnCreate", "a handle", status)?;
        let handle = Handle { library: self.clone(), raw, _stream: kept };
        // SAFETY: the handle is alive, and so is the stream: the caller promises it, and its owner is kept.
        let status = unsafe { (self.0.set_stream)(raw, stream) };
        self.check("cudnnSetStream", "a handle", status)?;
        Ok(handle)
    }

    fn check(&self, call: &'static str, what: &'static str, status: c_int) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: takes any status and returns a string constant of the library.
        let name = unsafe { (self.0.status_name)(status) };
        let name = if name.is_null() {
            format!("status {status}")
        } else {
            // SAFETY: not null, and a constant of a library that stays loaded.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        };
        let mut message = [0_u8; 1024];
        // SAFETY: writes at most the size that is passed, with a zero at its end.
        unsafe { (self.0.last_error)(message.as_mut_ptr().cast(), message.len()) };
        let message = CStr::from_bytes_until_nul(&message).map(CStr::to_string_lossy).unwrap_or_default();
        Err(CudnnError::Call { call, what, status: name, message: message.trim().to_owned() })
    }
}

/// What an attribute is set to.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    /// Data type.
    Data(DataType),
    /// A truth.
    Bool(bool),
    /// Numbers.
    Int64(&'a [i64]),
    /// A factor.
    Float(f32),
    /// A mode, by its type and number.
    Mode(Type, i32),
    /// Text.
    Text(&'a str),
    /// Other descriptors, finished before.
    Descriptors(&'a [&'a Rc<Descriptor>]),
    /// Addresses on the device.
    Addresses(&'a [u64]),
    /// A device with its stream.
    Handle(&'a Handle),
}

/// cuDNN on one device, working on one stream. It belongs to one thread, as cuDNN asks.
pub(crate) struct Handle {
    library: Cudnn,
    raw: Raw,
    /// Whatever owns the stream.
    _stream: Rc<dyn Any>,
}

impl Handle {
    /// Runs a plan on the stream: work is put into the queue, and nothing is waited for.
    ///
    /// The addresses in the pack are those of live allocations of the device, as long as the plan's tensors and workspace are:
    /// whoever fills it has checked that, as with the arguments of a launch.
    pub(crate) fn execute(&self, plan: &Descriptor, pack: &Descriptor) -> Result<()> {
        // SAFETY: all three are alive and finished, and the addresses are the caller's promise.
        let status = unsafe { (self.library.0.execute)(self.raw, plan.raw, pack.raw) };
        self.library.check("cudnnBackendExecute", "an execution plan", status)
    }

    /// The library it belongs to.
    pub(crate) fn library(&self) -> &Cudnn {
        &self.library
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by cudnnCreate and destroyed once, here; plans keep an `Rc` of it.
        unsafe { (self.library.0.destroy_handle)(self.raw) };
    }
}

/// One backend descriptor.
pub(crate) struct Descriptor {
    library: Cudnn,
    kind: Kind,
    raw: Raw,
    /// Descriptors that this one refers to.
    kept: Vec<Rc<Descriptor>>,
}

impl Descriptor {
    /// Sets an attribute.
    pub(crate) fn set(&mut self, attribute: Attribute, value: Value<'_>) -> Result<()> {
        match value {
            Value::Data(data) => self.set_raw(attribute, Type::Data, &[data as c_int]),
            Value::Bool(truth) => self.set_raw(attribute, Type::Boolean, &[truth]),
            Value::Int64(numbers) => self.set_raw(attribute, Type::Int64, numbers),
            Value::Float(number) => self.set_raw(attribute, Type::Float, &[number]),
            Value::Mode(kind, mode) => self.set_raw(attribute, kind, &[mode]),
            Value::Text(text) => {
                // With its zero: the count is that of an array of characters, and readers look for the end.
                let mut bytes = text.as_bytes().to_vec();
                bytes.push(0);
                self.set_raw(attribute, Type::Char, &bytes)
            }
            Value::Descriptors(list) => {
                let handles: Vec<Raw> = list.iter().map(|descriptor| descriptor.raw).collect();
                self.set_raw(attribute, Type::Descriptor, &handles)?;
                self.kept.extend(list.iter().map(|&descriptor| Rc::clone(descriptor)));
                Ok(())
            }
            Value::Addresses(list) => self.set_raw(attribute, Type::Pointer, list),
            Value::Handle(handle) => self.set_raw(attribute, Type::Handle, &[handle.raw]),
        }
    }

    fn set_raw<T>(&mut self, attribute: Attribute, kind: Type, values: &[T]) -> Result<()> {
        // SAFETY: the descriptor is alive; the array holds as many elements as are passed, of the C type that `kind` stands for:
        // enums are ints, booleans one byte, handles pointers, and the rest what `set` names them.
        let status = unsafe {
            (self.library.0.set)(
                self.raw,
                attribute as c_int,
                kind as c_int,
                values.len() as i64,
                values.as_ptr().cast(),
            )
        };
        self.library.check("cudnnBackendSetAttribute", self.kind.name(), status)
    }

    /// Ends the filling; from now on it can be referred to.
    pub(crate) fn finish(self) -> Result<Rc<Self>> {
        // SAFETY: the descriptor is alive.
        let status = unsafe { (self.library.0.finalize)(self.raw) };
        self.library.check("cudnnBackendFinalize", self.kind.name(), status)?;
        Ok(Rc::new(self))
    }

    /// Numbers of an attribute, at most as many as asked for.
    pub(crate) fn numbers<T: Copy + Default>(
        &self,
        attribute: Attribute,
        kind: Type,
        most: usize,
    ) -> Result<Vec<T>> {
        let mut values = vec![T::default(); most];
        let count = self.get_raw(attribute, kind, &mut values)?;
        values.truncate(count);
        Ok(values)
    }

    /// Text of an attribute.
    pub(crate) fn text(&self, attribute: Attribute) -> Result<String> {
        let mut size = 0;
        // SAFETY: with nothing requested only the count is written, through a pointer to a live one.
        let status = unsafe {
            (self.library.0.get)(
                self.raw,
                attribute as c_int,
                Type::Char as c_int,
                0,
                &mut size,
                std::ptr::null_mut(),
            )
        };
        self.library.check("cudnnBackendGetAttribute", self.kind.name(), status)?;
        let bytes: Vec<u8> = self.numbers(attribute, Type::Char, usize::try_from(size).unwrap_or(0))?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
    }

    /// Fills given descriptors from an attribute, and says how many were filled.
    pub(crate) fn fill(&self, attribute: Attribute, into: &[Descriptor]) -> Result<usize> {
        let mut handles: Vec<Raw> = into.iter().map(|descriptor| descriptor.raw).collect();
        self.get_raw(attribute, Type::Descriptor, &mut handles)
    }

    fn get_raw<T>(&self, attribute: Attribute, kind: Type, values: &mut [T]) -> Result<usize> {
        let mut count = 0;
        // SAFETY: the descriptor is alive; the array has room for as many elements as are requested, of the C type that `kind` stands
        // for: callers pair them as in `set`. Every element was initialised, so it does not matter how many are written.
        let status = unsafe {
            (self.library.0.get)(
                self.raw,
                attribute as c_int,
                kind as c_int,
                values.len() as i64,
                &mut count,
                values.as_mut_ptr().cast(),
            )
        };
        self.library.check("cudnnBackendGetAttribute", self.kind.name(), status)?;
        Ok(usize::try_from(count).unwrap_or(0).min(values.len()))
    }

    /// Takes descriptors that `fill` has filled: they are finished by cuDNN itself.
    pub(crate) fn filled(self) -> Rc<Self> {
        Rc::new(self)
    }

    /// The library it belongs to.
    pub(crate) fn library(&self) -> &Cudnn {
        &self.library
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: made by cudnnBackendCreateDescriptor and destroyed once, here; nobody refers to it, because whoever does keeps an `Rc`.
        unsafe { (self.library.0.destroy)(self.raw) };
    }
}
