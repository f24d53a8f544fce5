//! Streams, their capture as graphs, and events.

use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};
use std::sync::Mutex;

use crate::queues::{Event, Work, queues};
use crate::{CAPTURE_UNSUPPORTED, INVALID_VALUE, SUCCESS};

/// What is being captured.
pub(crate) static CAPTURE: Mutex<Option<Vec<Work>>> = Mutex::new(None);

pub(crate) fn capturing() -> bool {
    CAPTURE.lock().expect("not poisoned").is_some()
}

/// For the fake cuDNN: whether a stream is being captured.
#[unsafe(no_mangle)]
extern "C" fn fakeCapturing() -> c_int {
    c_int::from(capturing())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(out: *mut usize, flags: c_uint) -> c_int {
    if flags != 1 {
        return INVALID_VALUE; // only one that does not wait for the null stream
    }
    let mut queues = queues();
    queues.streams.push(VecDeque::new());
    // SAFETY: points to a handle.
    unsafe { *out = queues.streams.len() };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: usize) -> c_int {
    queues().finish(stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    queues().finish(stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, _flags: c_uint) -> c_int {
    let mut queues = queues();
    let recorded = queues.events[event - 1].recorded;
    queues.push(stream, Work::Wait(event, recorded));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(_stream: usize, _mode: c_int) -> c_int {
    *CAPTURE.lock().expect("not poisoned") = Some(Vec::new());
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(_stream: usize, out: *mut *mut Vec<Work>) -> c_int {
    let list = CAPTURE.lock().expect("not poisoned").take().expect("was begun");
    // SAFETY: points to a handle.
    unsafe { *out = Box::into_raw(Box::new(list)) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(out: *mut *mut Vec<Work>, graph: *mut Vec<Work>, _flags: u64) -> c_int {
    // SAFETY: points to a handle. The executable graph is the graph itself.
    unsafe { *out = graph };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(graph: *mut Vec<Work>, stream: usize) -> c_int {
    queues().push(stream, Work::Graph(graph as usize));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(_graph: *mut Vec<Work>) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphDestroy(graph: *mut Vec<Work>) -> c_int {
    queues().finish_all();
    // SAFETY: made by `cuStreamEndCapture`, destroyed once.
    drop(unsafe { Box::from_raw(graph) });
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(out: *mut usize, _flags: c_uint) -> c_int {
    let mut queues = queues();
    queues.events.push(Event::default());
    // SAFETY: points to a handle.
    unsafe { *out = queues.events.len() };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(_event: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: usize, stream: usize) -> c_int {
    if capturing() {
        return CAPTURE_UNSUPPORTED;
    }
    let mut queues = queues();
    queues.events[event - 1].recorded += 1;
    let n = queues.events[event - 1].recorded;
    queues.push(stream, Work::Record(event, n));
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(out: *mut f32, from: usize, to: usize) -> c_int {
    let queues = queues();
    // SAFETY: points to a number.
    unsafe { *out = (queues.events[to - 1].clock - queues.events[from - 1].clock) as f32 };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: usize) -> c_int {
    let mut queues = queues();
    let recorded = queues.events[event - 1].recorded;
    queues.wait(event, recorded);
    SUCCESS
}
