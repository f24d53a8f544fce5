//! The threads, and the scratch that each of its threads keeps.

use std::sync::{Mutex, PoisonError};

use resnet_core::{Error, Result};

use crate::conv::halo::Halo;
use crate::crew::Crew;
use crate::element::Element;
use crate::kernels::product::Tap;
use crate::memory::Memory;

/// Threads of its own, so that two backends, or a backend and a loader, do not wait for each other.
///
/// Which thread runs a task never shows in a result: tasks are cut by the problem, each writes memory of its own, and
/// whatever they leave to be added up is added in the order of the tasks.
pub(crate) struct Threads {
    crew: Mutex<Crew>,
    scratch: Vec<Mutex<Scratch>>,
}

/// A part of an op's output: whole rows that no other task touches.
pub(crate) struct Tile<'a, E> {
    /// The first row of the output that is in the tile.
    pub(crate) first_row: usize,
    /// The rows.
    pub(crate) out: &'a mut [E],
    /// The numbers that this tile leaves behind.
    pub(crate) partial: &'a mut [f64],
}

/// Memory of one thread for the duration of one task. Contents are not kept between tasks.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The left operand of a product, or the value of a tile.
    pub(crate) a: Memory,
    /// The right operand of a product.
    pub(crate) b: Memory,
    /// What is on its way into an operand.
    pub(crate) c: Memory,
    /// What was computed, before it is rounded.
    pub(crate) work: Memory,
    /// Stretches of a sum.
    pub(crate) taps: Vec<Tap>,
    /// The input pixels that are in an operand.
    pub(crate) halo: Halo,
}

/// How much of each kind a task needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScratchLens {
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) c: usize,
    pub(crate) work: usize,
    /// Input pixels of an image.
    pub(crate) halo: usize,
    /// Stretches of a sum.
    pub(crate) taps: usize,
}

impl ScratchLens {
    /// Takes in what another task needs.
    pub(crate) fn grow(&mut self, other: &Self) {
        self.a = self.a.max(other.a);
        self.b = self.b.max(other.b);
        self.c = self.c.max(other.c);
        self.work = self.work.max(other.work);
        self.halo = self.halo.max(other.halo);
        self.taps = self.taps.max(other.taps);
    }
}

impl Threads {
    /// Starts `threads` threads.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let crew = Crew::new(threads).map_err(|e| Error::Device {
            backend: crate::NAME,
            action: format!("starting {threads} threads failed: {e}"),
        })?;
        Ok(Self { crew: Mutex::new(crew), scratch: (0..threads).map(|_| Mutex::default()).collect() })
    }

    /// How many threads there are.
    pub(crate) fn count(&self) -> usize {
        self.scratch.len()
    }

    /// Runs `task` on every item, and returns when all are done. Threads take another item when they have done one, every
    /// second thread from the end: so a thread mostly gets the part of a tensor whose inputs it wrote in the op before, and
    /// finds them in its own caches.
    pub(crate) fn run<I>(&self, items: I, task: impl Fn(I::Item, &mut Scratch) + Sync)
    where
        I: DoubleEndedIterator + Send,
    {
        let take = |items: &mut I, number: usize| {
            if number.is_multiple_of(2) { items.next() } else { items.next_back() }
        };
        self.share_out(items, take, task);
    }

    /// As [`Threads::run`], for items that come in one order only.
    pub(crate) fn run_in_order<I>(&self, items: I, task: impl Fn(I::Item, &mut Scratch) + Sync)
    where
        I: Iterator + Send,
    {
        self.share_out(items, |items, _| items.next(), task);
    }

    /// Runs `task` on every item that `take` finds for a thread's number.
    fn share_out<I: Send, T>(
        &self,
        items: I,
        take: impl Fn(&mut I, usize) -> Option<T> + Sync,
        task: impl Fn(T, &mut Scratch) + Sync,
    ) {
        let items = Mutex::new(items);
        let next = |number| take(&mut items.lock().unwrap_or_else(PoisonError::into_inner), number);
        let mut crew = self.crew.lock().unwrap_or_else(PoisonError::into_inner);
        crew.run(&|number| {
            // Nobody else takes this scratch, so the lock never waits.
            let mut scratch = self.scratch[number].lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(item) = next(number) {
                task(item, &mut scratch);
            }
        });
    }

    /// Cuts rows of `c` numbers into tiles of `tile_rows`, runs `task` on each, and returns the `partial_len` numbers that
    /// every tile left in `partials`, in the order of the tiles.
    pub(crate) fn for_tiles<'p, E: Element>(
        &self,
        partials: &'p mut Vec<f64>,
        out: &mut [E],
        (c, tile_rows, partial_len): (usize, usize, usize),
        task: impl Fn(Tile<'_, E>, &mut Scratch) + Sync + Send,
    ) -> &'p [f64] {
        let n_tiles = out.len().div_ceil(tile_rows * c);
        let partials = grown(partials, n_tiles * partial_len);
        let tiles = out.chunks_mut(tile_rows * c).zip(partials.chunks_mut(partial_len)).enumerate();
        self.run(tiles, |(i, (out, partial)), scratch| {
            partial.fill(0.0);
            task(Tile { first_row: i * tile_rows, out, partial }, scratch);
        });
        partials
    }

    /// Gives every thread this much scratch.
    pub(crate) fn reserve(&mut self, lens: &ScratchLens) {
        for scratch in &mut self.scratch {
            let scratch = scratch.get_mut().unwrap_or_else(PoisonError::into_inner);
            scratch.a.take(lens.a);
            scratch.b.take(lens.b);
            scratch.c.take(lens.c);
            scratch.work.take(lens.work);
            scratch.halo.reserve(lens.halo);
            scratch.taps.clear();
            scratch.taps.reserve(lens.taps);
        }
    }

    /// Bytes of scratch over all threads.
    pub(crate) fn scratch_bytes(&self) -> usize {
        let bytes = |scratch: &Mutex<Scratch>| {
            let scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
            let Scratch { a, b, c, work, halo, .. } = &*scratch;
            (a.len() + b.len() + c.len() + work.len()) * size_of::<f32>() + halo.bytes()
        };
        self.scratch.iter().map(bytes).sum()
    }
}

/// The first `len` numbers of memory that grows to the largest length ever asked for.
pub(crate) fn grown<T: Clone + Default>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::default());
    }
    &mut memory[..len]
}
