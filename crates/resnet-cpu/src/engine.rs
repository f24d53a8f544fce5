//! What every op is given: threads, instructions, and memory that outlives the op.

use rayon::prelude::*;

use crate::kernels::Isa;
use crate::threads::{Scratch, Threads};

/// The fields of the backend that ops work with.
pub(crate) struct Engine {
    pub(crate) isa: Isa,
    pub(crate) threads: Threads,
    /// What tiles leave behind to be merged.
    pub(crate) partials: Vec<f64>,
    /// Weight gradients of parts of a batch.
    pub(crate) weight_partials: Vec<f32>,
}

/// A part of an op's output: whole rows that no other task touches.
pub(crate) struct Tile<'a> {
    /// The first row of the output that is in the tile.
    pub(crate) first_row: usize,
    /// The rows.
    pub(crate) out: &'a mut [f32],
    /// The numbers that this tile leaves behind.
    pub(crate) partial: &'a mut [f64],
}

/// The first `len` numbers of memory that grows to the largest length ever asked for.
pub(crate) fn grown<T: Clone + Default>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::default());
    }
    &mut memory[..len]
}

impl Engine {
    /// Cuts rows of `c` numbers into tiles of `tile_rows`, runs `task` on each, and returns the `partial_len` numbers that
    /// every tile left behind, in the order of the tiles.
    pub(crate) fn for_tiles(
        &mut self,
        out: &mut [f32],
        c: usize,
        tile_rows: usize,
        partial_len: usize,
        task: impl Fn(Tile<'_>, &mut Scratch) + Sync + Send,
    ) -> &[f64] {
        let n_tiles = out.len().div_ceil(tile_rows * c);
        let partials = grown(&mut self.partials, n_tiles * partial_len);
        let tiles = out.par_chunks_mut(tile_rows * c).zip(partials.par_chunks_mut(partial_len)).enumerate();
        self.threads.run(tiles, |(i, (out, partial)), scratch| {
            task(Tile { first_row: i * tile_rows, out, partial }, scratch);
        });
        &self.partials[..n_tiles * partial_len]
    }
}
