//! The meeting point of workers and consumer: numbers go out, batches come back, and leave in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Batch;
use crate::Result;

/// Bounded: a number goes out only while fewer than `n_queued` batches are being made or wait.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something in the state changed that somebody may wait for.
    changed: Condvar,
    /// Also outside the lock, so that a worker can look between two pictures.
    stopped: AtomicBool,
    n_queued: usize,
    end: usize,
}

#[derive(Debug)]
struct State {
    /// The next number that a worker gets.
    next_in: usize,
    /// The next number that the consumer gets.
    next_out: usize,
    /// Batches made, waiting for those before them.
    made: BTreeMap<usize, Result<Batch>>,
    /// Batches that came back, for their memory.
    used: Vec<Batch>,
}

impl Queue {
    pub(super) fn new(numbers: Range<usize>, n_queued: usize) -> Self {
        let state = State {
            next_in: numbers.start,
            next_out: numbers.start,
            made: BTreeMap::new(),
            used: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            n_queued,
            end: numbers.end,
        }
    }

    /// No code that can panic runs under the lock, so a poisoned lock guards a sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// For a worker: the next batch to make, or `None` when there is no more to do.
    pub(super) fn take_number(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if self.is_stopped() || state.next_in == self.end {
                return None;
            }
            if state.next_in < state.next_out + self.n_queued {
                state.next_in += 1;
                return Some(state.next_in - 1);
            }
            state = self.wait(state);
        }
    }

    /// For a worker: hands over what became of a number.
    pub(super) fn put(&self, number: usize, made: Result<Batch>) {
        self.lock().made.insert(number, made);
        self.changed.notify_all();
    }

    /// For the consumer: the next batch, as soon as it is there, or `None` at the end.
    pub(super) fn take_next(&self) -> Option<Result<Batch>> {
        let mut state = self.lock();
        loop {
            if self.is_stopped() || state.next_out == self.end {
                return None;
            }
            let number = state.next_out;
            if let Some(made) = state.made.remove(&number) {
                state.next_out += 1;
                drop(state);
                self.changed.notify_all();
                return Some(made);
            }
            state = self.wait(state);
        }
    }

    /// For a worker: a batch whose memory can be used again, or a new one.
    pub(super) fn take_used(&self) -> Batch {
        self.lock().used.pop().unwrap_or_default()
    }

    /// From a batch that is dropped. As many are kept as can be in use at once: those queued, and the consumer's own.
    pub(super) fn give_back(&self, batch: Batch) {
        let mut state = self.lock();
        if state.used.len() <= self.n_queued {
            state.used.push(batch);
        }
    }

    /// Ends everybody's waiting; what is being made is given up.
    pub(super) fn stop(&self) {
        // Under the lock, so that nobody checks the flag before it is set and begins to wait after the call.
        let state = self.lock();
        self.stopped.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
