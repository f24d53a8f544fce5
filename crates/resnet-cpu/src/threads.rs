//! The thread pool, and the scratch that each of its threads keeps.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::ThreadPool;
use rayon::prelude::*;
use resnet_core::{Error, Result};

/// A pool of its own, so that two backends, or a backend and a loader, do not share a queue.
///
/// Which thread runs a task never shows in a result: tasks are cut by the problem, each writes memory of its own, and
/// whatever they leave to be added up is added in the order of the tasks.
pub(crate) struct Threads {
    pool: ThreadPool,
    scratch: Vec<Mutex<Scratch>>,
}

/// Memory of one thread for the duration of one task. Contents are not kept between tasks.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The left operand of a product, or the value of a tile.
    pub(crate) a: Panel,
    /// The right operand of a product.
    pub(crate) b: Panel,
}

/// Floats that grow to the largest size ever asked for.
#[derive(Default)]
pub(crate) struct Panel(Vec<f32>);

impl Panel {
    /// Room for `len` floats, with whatever they held.
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len {
            self.0.resize(len, 0.0);
        }
        &mut self.0[..len]
    }

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<f32>()
    }
}

impl Threads {
    /// Starts `threads` threads.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("resnet-cpu-{i}"))
            .build()
            .map_err(|e| Error::Device {
                backend: crate::NAME,
                action: format!("starting {threads} threads failed: {e}"),
            })?;
        let scratch = (0..pool.current_num_threads()).map(|_| Mutex::default()).collect();
        Ok(Self { pool, scratch })
    }

    /// How many threads there are.
    pub(crate) fn count(&self) -> usize {
        self.scratch.len()
    }

    /// Runs `task` on every item, and returns when all are done.
    pub(crate) fn run<I>(&self, items: I, task: impl Fn(I::Item, &mut Scratch) + Sync + Send)
    where
        I: IndexedParallelIterator,
    {
        self.pool.install(|| items.with_max_len(1).for_each(|item| task(item, &mut self.mine())));
    }

    /// Gives every thread scratch of this many floats.
    pub(crate) fn reserve(&mut self, a: usize, b: usize) {
        for slot in &mut self.scratch {
            let slot = slot.get_mut().unwrap_or_else(PoisonError::into_inner);
            slot.a.take(a);
            slot.b.take(b);
        }
    }

    /// Bytes of scratch over all threads.
    pub(crate) fn scratch_bytes(&self) -> usize {
        let bytes = |slot: &Mutex<Scratch>| {
            let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.a.bytes() + slot.b.bytes()
        };
        self.scratch.iter().map(bytes).sum()
    }

    /// The scratch of the calling thread. Nobody else takes it, so the lock never waits.
    fn mine(&self) -> MutexGuard<'_, Scratch> {
        let slot = rayon::current_thread_index().unwrap_or(0);
        self.scratch[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
