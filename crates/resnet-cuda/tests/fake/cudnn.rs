//! A cuDNN that computes: graphs are executed in plain loops on the memory of `gpu.rs`, in the order of its stream.
//! Compiled to a shared library by `tests/cudnn_device.rs`.
//!
//! What real cuDNN forbids is refused here: descriptors used before they are finished or after they are destroyed, packs that do not name
//! exactly the tensors in memory, and plans that are made while a stream is captured. Its engines, by number:
//!
//! | engine | |
//! |---|---|
//! | 5 | the first that is offered; not deterministic, and wrong |
//! | 9 | Winograd's algorithm, and wrong |
//! | 30 | wrong, and says nothing of it; for 56 output channels |
//! | 31 | its plan cannot be made; for 40 output channels |
//! | 32 | its execution fails; for 72 output channels |
//! | 33 | pads before its prologue, so its halo is not zero; for 48 output channels and padding |
//! | 34 | its last sums are wrong; for graphs with a mask and 80 output channels |
//! | 60 | right; takes 50 units of time, as all others but the next |
//! | 61 | right; takes 8 units, for nothing but plain convolutions |
//! | 62 | right; takes 3 units, for nothing but convolutions with statistics |
//! | 63 | right; takes 2 units, for nothing but convolutions with a prologue or a mask |
//! | 1 | right, without tensor cores |
//!
//! Forward to 24 channels, 62 and 63 take 30 units where tables of a prologue are f32, so that others may win.

#[path = "dnn/graph.rs"]
mod graph;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use graph::{Fault, Graph};

const SUCCESS: c_int = 0;
const BAD_PARAM: c_int = 2000;
const NOT_SUPPORTED: c_int = 3000;
const EXECUTION_FAILED: c_int = 5000;

const ENGINE: c_int = 2;
const ENGINE_CONFIG: c_int = 3;
const HEURISTICS: c_int = 4;
const PLAN: c_int = 5;
const GRAPH: c_int = 15;
const PACK: c_int = 16;

/// Bytes of workspace of every plan; all of them are overwritten.
const WORKSPACE: i64 = 1000;

type Raw = *mut Descriptor;

/// A descriptor: numbers, truths and addresses as 64-bit words, by attribute. None is ever freed, so late uses are found.
pub(crate) struct Descriptor {
    kind: c_int,
    attributes: HashMap<c_int, Vec<u64>>,
    text: Vec<u8>,
    finished: bool,
    destroyed: bool,
}

struct Handle {
    stream: usize,
}

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

fn refuse(status: c_int, why: impl Into<String>) -> c_int {
    MESSAGE.with_borrow_mut(|message| *message = why.into());
    status
}

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// A function of the fake driver beyond those of the real one.
fn driver(name: &std::ffi::CStr) -> *mut c_void {
    // SAFETY: the driver is loaded already, so this finds it by its name, as cuDNN does.
    let found = unsafe { dlsym(dlopen(c"libcuda.so.1".as_ptr(), 2), name.as_ptr()) };
    assert!(!found.is_null(), "the driver is not the fake one");
    found
}

fn capturing() -> bool {
    // SAFETY: the fake driver's function has this type.
    let f: extern "C" fn() -> c_int = unsafe { std::mem::transmute(driver(c"fakeCapturing")) };
    f() != 0
}

/// Puts work into the driver's queue; it takes so many units of time.
fn issue(work: Box<dyn Fn()>, units: c_int) {
    extern "C" fn call(work: *mut c_void) {
        // SAFETY: made by `Box::into_raw` below and never freed, because a captured graph may run it again.
        let work = unsafe { &*work.cast::<Box<dyn Fn()>>() };
        work();
    }
    type Issue = extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_int);
    // SAFETY: the fake driver's function has this type.
    let f: Issue = unsafe { std::mem::transmute(driver(c"fakeIssue")) };
    f(call, Box::into_raw(Box::new(work)).cast(), units);
}

impl Descriptor {
    pub(crate) fn numbers(&self, attribute: c_int) -> Vec<i64> {
        self.attributes.get(&attribute).cloned().unwrap_or_default().iter().map(|&word| word as i64).collect()
    }

    pub(crate) fn number(&self, attribute: c_int) -> Option<i64> {
        self.numbers(attribute).first().copied()
    }

    /// A descriptor that this one refers to.
    pub(crate) fn descriptor(&self, attribute: c_int) -> Option<&'static Descriptor> {
        self.descriptors(attribute).first().copied()
    }

    pub(crate) fn descriptors(&self, attribute: c_int) -> Vec<&'static Descriptor> {
        // SAFETY: descriptors are never freed, and whoever refers to one has set it by its address.
        self.numbers(attribute).iter().map(|&address| unsafe { &*(address as Raw) }).collect()
    }

    pub(crate) fn kind(&self) -> c_int {
        self.kind
    }
}

/// # Safety
/// As cuDNN's function of this name; so are all below.
#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnGetVersion() -> usize {
    91_900
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetErrorString(status: c_int) -> *const c_char {
    match status {
        BAD_PARAM => c"CUDNN_STATUS_BAD_PARAM".as_ptr(),
        NOT_SUPPORTED => c"CUDNN_STATUS_NOT_SUPPORTED".as_ptr(),
        EXECUTION_FAILED => c"CUDNN_STATUS_EXECUTION_FAILED".as_ptr(),
        _ => ptr::null(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnGetLastErrorString(message: *mut c_char, size: usize) {
    MESSAGE.with_borrow(|text| {
        let bytes = &text.as_bytes()[..text.len().min(size - 1)];
        // SAFETY: `size` bytes are there.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr().cast(), message, bytes.len());
            *message.add(bytes.len()) = 0;
        }
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnCreate(out: *mut *mut Handle) -> c_int {
    if capturing() {
        return refuse(NOT_SUPPORTED, "a handle is made while a stream is captured");
    }
    // SAFETY: points to a handle.
    unsafe { *out = Box::into_raw(Box::new(Handle { stream: 0 })) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudnnDestroy(_handle: *mut Handle) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnSetStream(handle: *mut Handle, stream: usize) -> c_int {
    // SAFETY: a handle of `cudnnCreate`.
    unsafe { (*handle).stream = stream };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnBackendCreateDescriptor(kind: c_int, out: *mut Raw) -> c_int {
    let blank =
        Descriptor { kind, attributes: HashMap::new(), text: Vec::new(), finished: false, destroyed: false };
    // SAFETY: points to a handle.
    unsafe { *out = Box::into_raw(Box::new(blank)) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnBackendDestroyDescriptor(descriptor: Raw) -> c_int {
    // SAFETY: the caller passes a descriptor of cudnnBackendCreateDescriptor, and none is ever freed.
    unsafe { (*descriptor).destroyed = true };
    SUCCESS
}

/// Bytes of an element by `cudnnBackendAttributeType_t`.
fn width(kind: c_int) -> usize {
    match kind {
        0 | 3 | 6 | 15 => 8, // handle, int64, pointer, descriptor
        2 | 24 => 1,         // boolean, character
        _ => 4,              // enumerations and f32
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnBackendSetAttribute(
    descriptor: Raw,
    attribute: c_int,
    kind: c_int,
    count: i64,
    array: *const u8,
) -> c_int {
    // SAFETY: the caller passes a descriptor of cudnnBackendCreateDescriptor, and none is ever freed.
    let descriptor = unsafe { &mut *descriptor };
    if descriptor.finished || descriptor.destroyed {
        return refuse(BAD_PARAM, format!("attribute {attribute} is set too late"));
    }
    // SAFETY: as many elements of this width are there.
    let bytes = unsafe { std::slice::from_raw_parts(array, count as usize * width(kind)) };
    if kind == 24 {
        descriptor.text = bytes.strip_suffix(&[0]).expect("ends in a zero").to_vec();
        return SUCCESS;
    }
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let words: Vec<u64> = bytes.chunks_exact(width(kind)).map(word).collect();
    if kind == 15 {
        for &address in &words {
            // SAFETY: the caller passes a descriptor of cudnnBackendCreateDescriptor, and none is ever freed.
            let other = unsafe { &*(address as Raw) };
            if !other.finished || other.destroyed {
                return refuse(BAD_PARAM, format!("attribute {attribute} refers to a descriptor that is not finished"));
            }
        }
    }
    descriptor.attributes.insert(attribute, words);
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnBackendFinalize(descriptor: Raw) -> c_int {
    // SAFETY: the caller passes a descriptor of cudnnBackendCreateDescriptor, and none is ever freed.
    let descriptor = unsafe { &mut *descriptor };
    if descriptor.kind == GRAPH && descriptor.number(800).is_none() {
        return refuse(BAD_PARAM, "a graph without a handle");
    }
    if descriptor.kind == PLAN {
        if capturing() {
            return refuse(NOT_SUPPORTED, "a plan is made while a stream is captured");
        }
        if descriptor.number(400).is_none() {
            return refuse(BAD_PARAM, "a plan without a handle");
        }
        if !descriptor.text.is_empty() {
            // The text of a plan: its configuration by address, which lives as long as the process.
            let text = String::from_utf8_lossy(&descriptor.text).into_owned();
            let Some(config) = text.strip_prefix("fake plan ").and_then(|text| text.parse::<u64>().ok()) else {
                return refuse(BAD_PARAM, format!("`{text}` is no plan"));
            };
            descriptor.attributes.insert(401, vec![config]);
        }
        let Some(config) = descriptor.descriptor(401) else { return refuse(BAD_PARAM, "a plan of nothing") };
        if config.number(0) == Some(31) {
            return refuse(NOT_SUPPORTED, "engine 31 never works");
        }
    }
    descriptor.finished = true;
    SUCCESS
}

/// Engines for a graph in a mode of the heuristics, those expected to be fastest first.
fn engines(graph: &Graph, mode: i64) -> Vec<i64> {
    let k = graph.output_channels();
    match mode {
        3 => {
            let mut engines = vec![5, 9];
            engines.extend([(56, 30), (40, 31), (72, 32)].iter().filter(|(of, _)| *of == k).map(|(_, engine)| *engine));
            engines.push(60);
            if graph.is_plain() {
                engines.push(61);
            }
            if graph.has_statistics() {
                engines.push(62);
            }
            if graph.has_prologue() && graph.has_halo() && k == 48 {
                engines.push(33);
            }
            if graph.has_end() && k == 80 {
                engines.push(34);
            }
            if graph.has_prologue() || graph.has_end() {
                engines.push(63);
            }
            engines
        }
        2 => vec![1],
        _ => Vec::new(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnBackendGetAttribute(
    descriptor: Raw,
    attribute: c_int,
    kind: c_int,
    requested: i64,
    count: *mut i64,
    array: *mut u8,
) -> c_int {
    // SAFETY: the caller passes a descriptor of cudnnBackendCreateDescriptor, and none is ever freed.
    let descriptor = unsafe { &mut *descriptor };
    let numbers: Vec<i64> = match (descriptor.kind, attribute) {
        (HEURISTICS, 202) => {
            let graph = descriptor.descriptor(201).expect("has a graph");
            let engines = engines(&Graph::read(graph), descriptor.number(200).expect("has a mode"));
            for (i, &engine) in engines.iter().enumerate().take(requested as usize) {
                // SAFETY: as many descriptors are there to be filled.
                let config = unsafe { &mut **array.cast::<Raw>().add(i) };
                assert_eq!(config.kind, ENGINE_CONFIG);
                // Attribute 0 is the fake's own: the number of the engine. 1: its graph.
                config.attributes.insert(0, vec![engine as u64]);
                config.attributes.insert(1, vec![ptr::from_ref(graph) as u64]);
                config.finished = true;
            }
            // SAFETY: points to a count.
            unsafe { *count = engines.len() as i64 };
            return SUCCESS;
        }
        (ENGINE_CONFIG, 300) => {
            // SAFETY: one descriptor is there to be filled.
            let engine = unsafe { &mut **array.cast::<Raw>() };
            assert_eq!(engine.kind, ENGINE);
            engine.attributes = descriptor.attributes.clone();
            engine.finished = true;
            // SAFETY: points to a count.
            unsafe { *count = 1 };
            return SUCCESS;
        }
        (ENGINE, 1301) => descriptor.numbers(0),
        (ENGINE, 1303) => match descriptor.number(0) {
            Some(5) => vec![0, 4],
            Some(9) => vec![0, 5, 6],
            Some(1) => vec![9],
            _ => vec![0],
        },
        (ENGINE, 1305) => Vec::new(),
        (PLAN, 402) => vec![WORKSPACE],
        (PLAN, 405) => {
            let text = format!("fake plan {}", descriptor.number(401).expect("has a configuration"));
            let bytes: Vec<u8> = text.bytes().chain([0]).collect();
            let n = bytes.len().min(requested as usize);
            // SAFETY: `requested` bytes are there, and a count.
            unsafe {
                ptr::copy_nonoverlapping(bytes.as_ptr(), array, n);
                *count = bytes.len() as i64;
            }
            return SUCCESS;
        }
        other => return refuse(BAD_PARAM, format!("attribute {other:?} is not known")),
    };
    for (i, &number) in numbers.iter().enumerate().take(requested as usize) {
        let bytes = number.to_le_bytes();
        // SAFETY: as many elements of this width are there.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), array.add(i * width(kind)), width(kind)) };
    }
    // SAFETY: points to a count.
    unsafe { *count = numbers.len() as i64 };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cudnnBackendExecute(handle: *const Handle, plan: Raw, pack: Raw) -> c_int {
    // SAFETY: a handle of `cudnnCreate`, and descriptors, which are never freed.
    let (handle, plan, pack) = unsafe { (&*handle, &*plan, &*pack) };
    if handle.stream == 0 || plan.number(400) != Some(ptr::from_ref(handle) as i64) {
        return refuse(BAD_PARAM, "a handle without its stream, or of another plan");
    }
    if [plan, pack].iter().any(|descriptor| !descriptor.finished || descriptor.destroyed) || pack.kind != PACK {
        return refuse(BAD_PARAM, "what is executed is not there");
    }
    let config = plan.descriptor(401).expect("has a configuration");
    let engine = config.number(0).expect("has an engine");
    let graph = Graph::read(config.descriptor(1).expect("has a graph"));
    let addresses: HashMap<i64, u64> =
        pack.numbers(1000).into_iter().zip(pack.numbers(1001).iter().map(|&address| address as u64)).collect();
    let mut named: Vec<i64> = addresses.keys().copied().collect();
    named.sort_unstable();
    if named != graph.in_memory() || addresses.values().any(|&address| address == 0 || address % 16 != 0) {
        return refuse(BAD_PARAM, format!("the pack names tensors {addresses:?}, the graph {:?}", graph.in_memory()));
    }
    if engine == 32 {
        return refuse(EXECUTION_FAILED, "engine 32 fails when it runs");
    }
    let workspace = pack.number(1003).expect("has a workspace") as *mut u8;
    let fault = match engine {
        5 | 9 | 30 => Fault::Result,
        33 => Fault::Halo,
        34 => Fault::Sums,
        _ => Fault::Nothing,
    };
    let units = match engine {
        62 | 63 if graph.output_channels() == 24 && graph.has_wide_prologue() => 30,
        61 => 8,
        62 => 3,
        63 => 2,
        33 | 34 => 1,
        _ => 50,
    };
    let work = move || {
        // SAFETY: so many bytes were promised to be there.
        unsafe { ptr::write_bytes(workspace, 0xff, WORKSPACE as usize) };
        graph.run(&addresses, fault);
    };
    issue(Box::new(work), units);
    SUCCESS
}
