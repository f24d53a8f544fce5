//! Threads that wait for work together: one task, run once on each of them, and on the caller.
//!
//! A step is a few hundred pieces of work of some microseconds to some milliseconds, one after the other. So the threads live as
//! long as the backend, handing them a task allocates nothing, and they look for the next one for a moment before they sleep.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread looks before it sleeps: more than tasks of one op ever differ, so that nobody sleeps during a forward
/// pass of one picture, where waking up, some 50 µs on a virtual machine, would take as long as many an op.
const PATIENCE: Duration = Duration::from_micros(100);

/// What is run on every thread, with the thread's number.
type Task<'a> = &'a (dyn Fn(usize) + Sync);

/// The threads.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    order: Mutex<Order>,
    /// Rings when `order` changed.
    ordered: Condvar,
    /// Rings when the last worker is done.
    done: Condvar,
    /// How many tasks there have been: what a waiting worker looks at.
    count: AtomicU64,
    /// Workers that have not finished the present task.
    busy: AtomicUsize,
}

#[derive(Default)]
struct Order {
    task: Option<Task<'static>>,
    /// The number of the task.
    count: u64,
    stop: bool,
    /// What a worker panicked with.
    panic: Option<Box<dyn Any + Send>>,
}

impl Crew {
    /// A crew of `size` threads, the caller of [`Crew::run`] among them.
    pub(crate) fn new(size: usize) -> std::io::Result<Self> {
        let mut crew = Self { shared: Arc::default(), workers: Vec::new() };
        for number in 1..size {
            let shared = Arc::clone(&crew.shared);
            let name = format!("resnet-cpu-{number}");
            let worker = std::thread::Builder::new().name(name).spawn(move || shared.work(number))?;
            crew.workers.push(worker);
        }
        Ok(crew)
    }

    /// Runs `task` on every thread, with the numbers from 0 on, and returns when all are done. The caller is thread 0.
    ///
    /// # Panics
    /// If the task does on any thread.
    pub(crate) fn run(&mut self, task: Task<'_>) {
        if self.workers.is_empty() {
            return task(0);
        }
        // SAFETY: the reference must not be used after `task` ends. Workers use it only between taking the order that is given
        // here and counting themselves out of `busy`; this function gives it to nobody else, and does not return, nor unwind,
        // before `busy` is 0 and the order is taken back below. `&mut self` allows one order at a time.
        let forever = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        let shared = &*self.shared;
        shared.busy.store(self.workers.len(), Ordering::Relaxed);
        {
            let mut order = shared.lock();
            order.task = Some(forever);
            order.count += 1;
            shared.count.store(order.count, Ordering::Release);
        }
        shared.ordered.notify_all();
        let own = catch_unwind(AssertUnwindSafe(|| task(0)));
        shared.wait();
        let panic = {
            let mut order = shared.lock();
            order.task = None;
            order.panic.take()
        };
        if let Some(panic) = own.err().or(panic) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.count.fetch_add(1, Ordering::Release);
        self.shared.ordered.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches what a task panics with, so there is nothing to hear from it.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a worker.
    fn work(&self, number: usize) {
        let mut seen = 0;
        loop {
            patiently(|| self.count.load(Ordering::Acquire) != seen);
            let task = {
                let mut order = self.lock();
                loop {
                    if order.stop {
                        return;
                    }
                    match order.task {
                        Some(task) if order.count != seen => {
                            seen = order.count;
                            break task;
                        }
                        _ => order = self.ordered.wait(order).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            };
            let result = catch_unwind(AssertUnwindSafe(|| task(number)));
            if let Err(panic) = result {
                self.lock().panic = Some(panic);
            }
            if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
                // Under the lock, so that the caller is either still looking or already waiting.
                drop(self.lock());
                self.done.notify_one();
            }
        }
    }

    /// Until all workers are done.
    fn wait(&self) {
        let done = || self.busy.load(Ordering::Acquire) == 0;
        patiently(done);
        let mut order = self.lock();
        while !done() {
            order = self.done.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Looks at a condition until it holds, or for a moment.
fn patiently(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() && start.elapsed() < PATIENCE {
        for _ in 0..32 {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn every_thread_runs_every_task_once() {
        for size in [1, 2, 5] {
            let mut crew = Crew::new(size).unwrap();
            for round in 0..200 {
                let calls: Vec<AtomicUsize> = (0..size).map(|_| AtomicUsize::new(0)).collect();
                if round % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(1)); // long enough for workers to sleep
                }
                crew.run(&|i| {
                    calls[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_comes_back_to_the_caller_and_the_crew_lives_on() {
        let mut crew = Crew::new(3).unwrap();
        for guilty in 0..3 {
            let run = AssertUnwindSafe(|| crew.run(&|i| assert!(i != guilty, "thread {i}")));
            assert!(catch_unwind(run).is_err());
        }
        let count = AtomicUsize::new(0);
        crew.run(&|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}
