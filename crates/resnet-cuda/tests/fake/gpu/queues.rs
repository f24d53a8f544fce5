//! Work, and the queues it waits in. Done as late as it may be, see `gpu.rs`.

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard};

use crate::memory::GIVEN;
use crate::streams::CAPTURE;
use crate::{INVALID_VALUE, LAUNCH_FAILED, SUCCESS};

pub(crate) type Kernel = unsafe extern "C" fn(*const RawLaunch, *const c_void) -> c_int;

/// Twin of `emu::Launch` in the shim.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawLaunch {
    pub(crate) grid: [c_uint; 3],
    pub(crate) block: [c_uint; 3],
    pub(crate) shared_bytes: c_uint,
}

#[derive(Clone)]
pub(crate) enum Work {
    Launch(Kernel, RawLaunch, Vec<u64>, i64),
    Fill(u64, u8, usize),
    /// Of another library, with how long it takes.
    Foreign(extern "C" fn(*mut c_void), usize, c_int),
    /// To, from, bytes, on host or device.
    Copy(u64, u64, usize),
    /// From memory that the driver has already read.
    Write(u64, Vec<u8>),
    /// A graph, not destroyed before everything is done.
    Graph(usize),
    Free(u64),
    Record(usize, u64),
    Wait(usize, u64),
}

/// The device's clock: a kernel takes a unit for each word of its arguments, or two if it is slow, copies none, and other libraries say
/// how long they take.
pub(crate) static CLOCK: Mutex<i64> = Mutex::new(0);

/// For the fake cuDNN: its work after everything that was issued.
#[unsafe(no_mangle)]
extern "C" fn fakeIssue(call: extern "C" fn(*mut c_void), data: *mut c_void, units: c_int) {
    let work = Work::Foreign(call, data as usize, units);
    if let Some(list) = CAPTURE.lock().expect("not poisoned").as_mut() {
        list.push(work);
        return;
    }
    queues().finish_all();
    run(&work);
}

/// How often an event was recorded, which of these is done, and the clock then.
#[derive(Default)]
pub(crate) struct Event {
    pub(crate) recorded: u64,
    pub(crate) done: u64,
    pub(crate) clock: i64,
}

/// What was issued and not done, by stream.
pub(crate) struct Queues {
    pub(crate) streams: Vec<VecDeque<Work>>,
    pub(crate) events: Vec<Event>,
    /// The stream that works as early as it may.
    pub(crate) hurried: Option<usize>,
    pub(crate) error: c_int,
    /// What was done, in order: `copy 8192`, `launch`, `graph`, by stream.
    pub(crate) log: String,
}

pub(crate) static QUEUES: Mutex<Queues> = Mutex::new(Queues {
    streams: Vec::new(),
    events: Vec::new(),
    hurried: None,
    error: SUCCESS,
    log: String::new(),
});

impl Queues {
    pub(crate) fn push(&mut self, stream: usize, work: Work) {
        self.streams[stream - 1].push_back(work);
        while let Some(hurried) = self.hurried
            && let Some(first) = self.streams.get(hurried - 1).and_then(VecDeque::front)
            && !matches!(*first, Work::Wait(event, n) if self.events[event - 1].done < n)
        {
            self.step(hurried);
        }
    }

    /// Does the first thing of a stream, and before it what that waits for.
    pub(crate) fn step(&mut self, stream: usize) {
        let Some(work) = self.streams[stream - 1].pop_front() else { return };
        match work {
            Work::Record(event, n) => {
                self.events[event - 1].done = n;
                self.events[event - 1].clock = *CLOCK.lock().expect("not poisoned");
            }
            Work::Wait(event, n) => self.wait(event, n),
            work => {
                let what = match &work {
                    Work::Copy(_, _, bytes) => format!("copy {bytes}"),
                    Work::Write(_, bytes) => format!("write {}", bytes.len()),
                    Work::Launch(..) => "launch".into(),
                    Work::Graph(_) => "graph".into(),
                    _ => "other".into(),
                };
                self.log.push_str(&format!("{stream} {what}\n"));
                let code = run(&work);
                if self.error == SUCCESS {
                    self.error = code;
                }
            }
        }
    }

    pub(crate) fn wait(&mut self, event: usize, n: u64) {
        while self.events[event - 1].done < n {
            let recorded = |work: &Work| matches!(*work, Work::Record(e, m) if e == event && m >= n);
            let stream = self.streams.iter().position(|queue| queue.iter().any(recorded));
            self.step(stream.expect("what is waited for was recorded") + 1);
        }
    }

    pub(crate) fn finish(&mut self, stream: usize) -> c_int {
        while !self.streams[stream - 1].is_empty() {
            self.step(stream);
        }
        std::mem::replace(&mut self.error, SUCCESS)
    }

    pub(crate) fn finish_all(&mut self) {
        for stream in 1..=self.streams.len() {
            while !self.streams[stream - 1].is_empty() {
                self.step(stream);
            }
        }
    }
}

pub(crate) fn queues() -> MutexGuard<'static, Queues> {
    QUEUES.lock().expect("not poisoned")
}

/// For the test: the stream that works early (0: none), everything before done and forgotten.
#[unsafe(no_mangle)]
extern "C" fn fakeHurry(stream: usize) {
    let mut queues = queues();
    queues.finish_all();
    queues.log.clear();
    queues.hurried = (stream != 0).then_some(stream);
}

/// For the test: what was done since, without waiting for anything.
#[unsafe(no_mangle)]
unsafe extern "C" fn fakeLog(out: *mut c_char, room: usize) {
    let log = CString::new(queues().log.as_str()).expect("has no zero");
    let bytes = log.as_bytes_with_nul();
    assert!(bytes.len() <= room);
    // SAFETY: there is room for as many bytes as the caller says.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len()) };
}

pub(crate) fn run(work: &Work) -> c_int {
    *CLOCK.lock().expect("not poisoned") += match work {
        Work::Launch(_, _, _, units) => *units,
        Work::Foreign(_, _, units) => i64::from(*units),
        _ => 0,
    };
    match *work {
        Work::Foreign(call, data, _) => {
            call(data as *mut c_void);
            SUCCESS
        }
        // SAFETY: the kernel is one of the emulator's and the words are as many as it takes, see `cuLaunchKernel`.
        Work::Launch(kernel, ref raw, ref words, _) => match unsafe { kernel(raw, words.as_ptr().cast()) } {
            0 => SUCCESS,
            _ => LAUNCH_FAILED,
        },
        Work::Fill(to, value, bytes) => {
            // SAFETY: the caller of the driver names memory of the device.
            unsafe { ptr::write_bytes(to as *mut u8, value, bytes) };
            SUCCESS
        }
        Work::Copy(to, from, bytes) => {
            // SAFETY: the caller of the driver promised both ranges until it has waited.
            unsafe { ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
            SUCCESS
        }
        Work::Write(to, ref bytes) => {
            // SAFETY: the caller of the driver names memory of the device.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
            SUCCESS
        }
        Work::Graph(graph) => {
            // SAFETY: made by `cuStreamEndCapture`; `cuGraphDestroy` waits for everything.
            let list = unsafe { &*(graph as *const Vec<Work>) };
            list.iter().map(run).find(|&code| code != SUCCESS).unwrap_or(SUCCESS)
        }
        Work::Free(memory) => {
            let mut given = GIVEN.lock().expect("not poisoned");
            let Some(at) = given.iter().position(|&(address, _)| address == memory) else { return INVALID_VALUE };
            let (_, bytes) = given.swap_remove(at);
            let layout = std::alloc::Layout::from_size_align(bytes, 256).expect("is a layout");
            // SAFETY: given out with this layout, freed once.
            unsafe { std::alloc::dealloc(memory as *mut u8, layout) };
            SUCCESS
        }
        Work::Record(..) | Work::Wait(..) => INVALID_VALUE, // never captured
    }
}

pub(crate) fn issue(stream: usize, work: Work) -> c_int {
    if let Some(list) = CAPTURE.lock().expect("not poisoned").as_mut() {
        list.push(work);
        return SUCCESS;
    }
    queues().push(stream, work);
    SUCCESS
}
