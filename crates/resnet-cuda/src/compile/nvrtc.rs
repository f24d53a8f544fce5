//! The foreign calls of NVRTC.
//!
//! The functions are looked up by name once, when the library is loaded; the library stays loaded as long as they can be called.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr;

use super::{Arch, CompileError, Cubin, Unit};
use crate::error::CudaUnavailable;
use crate::library::{Loaded, nvrtc_version};
use crate::probe::{DriverVersion, open_nvrtc};
use crate::search::Search;

/// `nvrtcResult` for a source that the compiler refuses.
const COMPILATION: c_int = 6;

type Handle = *mut c_void; // nvrtcProgram

type Create = unsafe extern "C" fn(
    *mut Handle,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Handle) -> c_int;
type Size = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type Fill = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;
type ErrorString = unsafe extern "C" fn(c_int) -> *const c_char;
type CountArchs = unsafe extern "C" fn(*mut c_int) -> c_int;
type ListArchs = unsafe extern "C" fn(*mut c_int) -> c_int;

/// A text or an array of bytes that NVRTC hands out: first its size, then itself.
#[derive(Clone, Copy)]
struct Output {
    size_call: &'static str,
    fill_call: &'static str,
    size: Size,
    fill: Fill,
}

/// The loaded compiler.
pub(crate) struct Nvrtc {
    create: Create,
    compile: Compile,
    destroy: Destroy,
    log: Output,
    cubin: Output,
    ptx: Output,
    error_string: ErrorString,
    version: DriverVersion,
    architectures: Vec<u32>,
    path: PathBuf,
    /// Kept loaded: the functions above are in them. The headers are opened by the library itself, by bare name.
    _libraries: (Loaded, Option<Loaded>),
}

impl std::fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NVRTC {} from {}", self.version, self.path.display())
    }
}

impl Nvrtc {
    /// Finds and loads it, and looks all functions up.
    pub(crate) fn load(search: &Search) -> Result<Self, CudaUnavailable> {
        let (library, builtins) = open_nvrtc(search)?;
        let (major, minor) = nvrtc_version(&library)?;
        let unsigned = |value: c_int| u32::try_from(value).unwrap_or(0);
        let output = |size_call, fill_call| {
            // SAFETY: `nvrtcResult f(nvrtcProgram prog, size_t *size)` and `nvrtcResult f(nvrtcProgram prog, char *out)`,
            // which is the type of every pair of names given below.
            let (size, fill) = unsafe { (library.get::<Size>(size_call)?, library.get::<Fill>(fill_call)?) };
            Ok::<_, CudaUnavailable>(Output { size_call, fill_call, size, fill })
        };
        // SAFETY: the types above are those of `nvrtc.h`: nvrtcCreateProgram(prog, src, name, numHeaders, headers, includeNames),
        // nvrtcCompileProgram(prog, numOptions, options), nvrtcDestroyProgram(prog), nvrtcGetErrorString(result).
        let (create, compile, destroy, error_string) = unsafe {
            (
                library.get::<Create>("nvrtcCreateProgram")?,
                library.get::<Compile>("nvrtcCompileProgram")?,
                library.get::<Destroy>("nvrtcDestroyProgram")?,
                library.get::<ErrorString>("nvrtcGetErrorString")?,
            )
        };
        Ok(Nvrtc {
            create,
            compile,
            destroy,
            log: output("nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?,
            cubin: output("nvrtcGetCUBINSize", "nvrtcGetCUBIN")?,
            ptx: output("nvrtcGetPTXSize", "nvrtcGetPTX")?,
            error_string,
            version: DriverVersion { major: unsigned(major), minor: unsigned(minor) },
            architectures: architectures(&library)?,
            path: library.path().to_owned(),
            _libraries: (library, builtins),
        })
    }

    pub(crate) fn version(&self) -> DriverVersion {
        self.version
    }

    /// The architectures it compiles for, by number.
    pub(crate) fn architectures(&self) -> &[u32] {
        &self.architectures
    }

    /// Compiles a unit.
    pub(crate) fn compile(
        &self,
        unit: &Unit,
        arch: Arch,
        options: &[String],
    ) -> Result<Program<'_>, CompileError> {
        let inner_nul = |what: &'static str| CompileError::Nvrtc {
            call: "nvrtcCreateProgram",
            unit: unit.name.to_owned(),
            what: format!("{what} holds a zero byte"),
            log: String::new(),
        };
        let c = |text: &str, what| CString::new(text).map_err(|_| inner_nul(what));
        let (text, name) = (c(unit.text, "the source")?, c(unit.name, "the name")?);
        let names = all(unit.headers.iter().map(|(name, _)| c(name, "a header's name")))?;
        let texts = all(unit.headers.iter().map(|(_, text)| c(text, "a header")))?;
        let options = all(options.iter().map(|option| c(option, "an option")))?;

        let mut program = Program { nvrtc: self, handle: ptr::null_mut(), unit: unit.name };
        let (name_list, text_list) = (pointers(&names), pointers(&texts));
        // SAFETY: every string is a live CString; the two lists have the length that is passed; the handle is written through
        // a pointer to a live one. NVRTC copies what it keeps.
        let code = unsafe {
            (self.create)(
                &mut program.handle,
                text.as_ptr(),
                name.as_ptr(),
                name_list.len() as c_int,
                text_list.as_ptr(),
                name_list.as_ptr(),
            )
        };
        program.check("nvrtcCreateProgram", code)?;
        let list = pointers(&options);
        // SAFETY: the program was created; the options are live CStrings in a list of the length that is passed.
        let code = unsafe { (self.compile)(program.handle, list.len() as c_int, list.as_ptr()) };
        if code == COMPILATION {
            return Err(CompileError::Rejected { unit: unit.name.to_owned(), arch, log: program.log() });
        }
        program.check("nvrtcCompileProgram", code)?;
        Ok(program)
    }

    fn error_name(&self, code: c_int) -> String {
        // SAFETY: takes any int and returns a static string, or null for none.
        let name = unsafe { (self.error_string)(code) };
        if name.is_null() {
            return format!("code {code}");
        }
        // SAFETY: not null, and a string constant of the library, which stays loaded while `self` lives.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }
}

/// A compiled program.
pub(crate) struct Program<'a> {
    nvrtc: &'a Nvrtc,
    handle: Handle,
    unit: &'static str,
}

impl Program<'_> {
    /// The machine code and the log.
    pub(crate) fn cubin(&self) -> Result<Cubin, CompileError> {
        Ok(Cubin { code: self.output(self.nvrtc.cubin)?, log: self.log() })
    }

    /// The virtual assembly.
    pub(crate) fn ptx(&self) -> Result<String, CompileError> {
        Ok(text(&self.output(self.nvrtc.ptx)?))
    }

    /// What the compiler said; empty if it cannot be had, because it only ever explains something else.
    fn log(&self) -> String {
        self.output(self.nvrtc.log).map(|bytes| text(&bytes)).unwrap_or_default()
    }

    fn output(&self, output: Output) -> Result<Vec<u8>, CompileError> {
        let mut size = 0;
        // SAFETY: the program is alive until `self` is dropped; writes one size through a pointer to a live one.
        let code = unsafe { (output.size)(self.handle, &mut size) };
        self.check(output.size_call, code)?;
        let mut bytes = vec![0_u8; size];
        // SAFETY: the buffer has exactly the size that the library asked for.
        let code = unsafe { (output.fill)(self.handle, bytes.as_mut_ptr().cast()) };
        self.check(output.fill_call, code)?;
        Ok(bytes)
    }

    fn check(&self, call: &'static str, code: c_int) -> Result<(), CompileError> {
        if code == 0 {
            return Ok(());
        }
        let what = self.nvrtc.error_name(code);
        // The log itself cannot be had where asking for it is what failed.
        let log = if call == "nvrtcCompileProgram" { self.log() } else { String::new() };
        Err(CompileError::Nvrtc { call, unit: self.unit.to_owned(), what, log })
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: made by nvrtcCreateProgram and destroyed once, here.
            unsafe { (self.nvrtc.destroy)(&mut self.handle) };
        }
    }
}

fn architectures(library: &Loaded) -> Result<Vec<u32>, CudaUnavailable> {
    // SAFETY: `nvrtcResult nvrtcGetNumSupportedArchs(int *count)` and `nvrtcResult nvrtcGetSupportedArchs(int *archs)`.
    let (count, list) = unsafe {
        (
            library.get::<CountArchs>("nvrtcGetNumSupportedArchs")?,
            library.get::<ListArchs>("nvrtcGetSupportedArchs")?,
        )
    };
    let mut n = 0;
    // SAFETY: writes one int through a pointer to a live one.
    let code = unsafe { count(&mut n) };
    if code != 0 {
        return Err(CudaUnavailable::Call { call: "nvrtcGetNumSupportedArchs", code });
    }
    let mut found = vec![0; usize::try_from(n).unwrap_or(0)];
    // SAFETY: the library writes as many ints as it just said, and the array has so many.
    let code = unsafe { list(found.as_mut_ptr()) };
    if code != 0 {
        return Err(CudaUnavailable::Call { call: "nvrtcGetSupportedArchs", code });
    }
    Ok(found.into_iter().filter_map(|sm| u32::try_from(sm).ok()).collect())
}

fn all<T, E>(items: impl Iterator<Item = Result<T, E>>) -> Result<Vec<T>, E> {
    items.collect()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}

/// C text as Rust text, without the zero at its end.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
