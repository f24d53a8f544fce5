//! Turns a [`Source`] into an ordered sequence of batches, on worker threads.
//!
//! A batch is a pure function of (source, pipeline, options, epoch, number of the batch): `BatchSpec::fill`.
//! Workers take numbers in order and put finished batches into a bounded queue, from which they leave in order.
//! So the number of workers changes the speed and nothing else, and an epoch can start at any batch.

mod bad;
mod batch;
mod order;
mod queue;
mod spec;

pub use batch::Batch;
pub use order::{LastBatch, Order};

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use queue::Queue;
use spec::BatchSpec;

use super::transform::Picker;
use super::{Pipeline, Source};
use crate::{Error, Result};

/// How a [`Loader`] makes batches.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Pictures per batch.
    pub batch: usize,
    /// The order of the pictures.
    pub order: Order,
    /// What happens to the last batch when the pictures do not fill it.
    pub last: LastBatch,
    /// Seed of the transforms.
    pub seed: u64,
    /// Threads that read and transform.
    pub n_workers: usize,
    /// Batches that are finished or being made at one time. At least the number of workers is used.
    pub n_queued: usize,
    /// Most bytes kept of pictures after the part of the pipeline that is the same in every epoch; 0 keeps none.
    pub cache_bytes: usize,
    /// Most broken pictures that are left out before an error ends the epoch; 0 for none.
    ///
    /// In training the next one in the source takes the place of a broken picture, so batches stay full and the result does
    /// not depend on when it was found. In an evaluation ([`LastBatch::Pad`]) it is not counted.
    pub max_bad: usize,
}

impl LoaderOptions {
    /// For training: shuffled, an incomplete last batch left out.
    pub fn train(batch: usize, seed: u64) -> Self {
        Self {
            batch,
            order: Order::Shuffled { seed },
            last: LastBatch::Drop,
            seed,
            n_workers: 1,
            n_queued: 3,
            cache_bytes: 1 << 30,
            max_bad: 0,
        }
    }

    /// For evaluation: in order, every picture once, the last batch padded.
    pub fn eval(batch: usize) -> Self {
        Self { order: Order::Sequential, last: LastBatch::Pad, ..Self::train(batch, 0) }
    }
}

/// Makes the batches of any epoch of a source. A clone shares what was read and what was found broken.
#[derive(Clone, Debug)]
pub struct Loader {
    spec: Arc<BatchSpec>,
    n_workers: usize,
    n_queued: usize,
}

impl Loader {
    /// A loader of this source.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the batch or the number of workers is zero, no batch can be filled,
    /// or the pictures come out of the pipeline in different sizes.
    pub fn new(source: Arc<dyn Source>, pipeline: Pipeline, options: LoaderOptions) -> Result<Self> {
        if options.n_workers == 0 {
            return Err(Error::invalid("loader workers", "0; at least 1 wanted"));
        }
        let (n_workers, n_queued) = (options.n_workers, options.n_queued.max(options.n_workers));
        Ok(Self { spec: Arc::new(BatchSpec::new(source, pipeline, options)?), n_workers, n_queued })
    }

    /// Batches of an epoch.
    pub fn n_batches(&self) -> usize {
        self.spec.n_batches()
    }

    /// Pictures per batch.
    pub fn batch(&self) -> usize {
        self.spec.options().batch
    }

    /// What was left out since this was last asked: an error for each broken picture, which names it.
    pub fn take_bad(&self) -> Vec<Error> {
        self.spec.bad().take()
    }

    /// Height, width and channels of the pictures in a batch.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.spec.shape()
    }

    /// Starts the workers on an epoch, from batch `first` on (0 for all of it).
    /// Dropping the result stops them; it waits for at most one picture per worker.
    ///
    /// # Errors
    /// [`Error::Io`] if the system starts no thread.
    pub fn epoch(&self, epoch: u64, first: usize) -> Result<Epoch> {
        let n_batches = self.n_batches();
        let queue = Arc::new(Queue::new(first.min(n_batches)..n_batches, self.n_queued));
        let mut running = Workers { queue, threads: Vec::new() };
        for i in 0..self.n_workers.min(n_batches.saturating_sub(first)) {
            let (spec, queue) = (self.spec.clone(), running.queue.clone());
            let worker = std::thread::Builder::new()
                .name(format!("loader-{i}"))
                .spawn(move || work(&spec, &queue, epoch))
                .map_err(Error::io("loader thread".as_ref(), "start"))?;
            running.threads.push(worker);
        }
        Ok(Epoch(Making::Pixels(running)))
    }

    /// How its batches are made of pictures that lie on a device: the part of the pipeline that is the same in every epoch is done
    /// once, before, by the same code; what is drawn at random is a shift and a mirror, done on the device.
    ///
    /// # Errors
    /// Says what a device does not do.
    pub fn on_device(&self) -> Result<OnDevice, String> {
        Ok(OnDevice { spec: self.spec.clone(), picker: self.spec.picker()? })
    }
}

/// The batches of a [`Loader`] as picks from pictures that lie on a device. They have the same pictures, labels and bytes.
#[derive(Clone, Debug)]
pub struct OnDevice {
    spec: Arc<BatchSpec>,
    picker: Picker,
}

impl OnDevice {
    /// Number of pictures.
    pub fn count(&self) -> usize {
        self.spec.count()
    }

    /// Black pixels around each picture.
    pub fn padding(&self) -> usize {
        self.picker.padding()
    }

    /// Bytes of all pictures.
    pub fn bytes(&self) -> usize {
        self.spec.bytes()
    }

    /// All pictures as they are to lie on the device, read on all processors. Broken ones are black and never picked.
    ///
    /// # Errors
    /// As batches of the loader.
    pub fn read_all(&self) -> Result<Vec<u8>> {
        self.spec.read_all(self.picker.reversed)
    }

    /// As [`Loader::epoch`], with picks in place of pixels.
    pub fn epoch(&self, epoch: u64, first: usize) -> Epoch {
        Epoch(Making::Picks { on_device: self.clone(), epoch, numbers: first..self.spec.n_batches() })
    }
}

/// What a worker thread does: takes the next number, makes that batch, hands it over.
fn work(spec: &BatchSpec, queue: &Queue, epoch: u64) {
    let mut scratch = spec::Scratch::default();
    while let Some(number) = queue.take_number() {
        let made = catch_unwind(AssertUnwindSafe(|| {
            let mut batch = queue.take_used();
            spec.fill(&mut batch, epoch, number, &mut scratch, &|| queue.is_stopped()).map(|()| batch)
        }));
        let made = made.unwrap_or_else(|panic| {
            Err(Error::LoaderPanic { epoch, batch: number, message: panic_message(panic.as_ref()) })
        });
        queue.put(number, made);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no message".to_owned(),
    }
}

/// The batches of one epoch, in order. An error ends it.
#[derive(Debug)]
pub struct Epoch(Making);

#[derive(Debug)]
enum Making {
    Pixels(Workers),
    Picks { on_device: OnDevice, epoch: u64, numbers: Range<usize> },
}

#[derive(Debug)]
struct Workers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Making::Pixels(workers) => workers.next(),
            Making::Picks { on_device: OnDevice { spec, picker }, epoch, numbers } => {
                let made = spec.pick(picker, *epoch, numbers.next()?);
                if made.is_err() {
                    numbers.start = numbers.end;
                }
                Some(made)
            }
        }
    }
}

impl Workers {
    fn next(&mut self) -> Option<Result<Batch>> {
        let made = self.queue.take_next()?;
        if made.is_err() {
            self.queue.stop();
        }
        Some(made.map(|mut batch| {
            batch.returns_to(&self.queue);
            batch
        }))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.stop();
        for thread in self.threads.drain(..) {
            // A worker cannot panic outside of what it catches; if it did, there is nothing left to do about it.
            drop(thread.join());
        }
    }
}
