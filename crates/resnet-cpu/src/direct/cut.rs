//! How backward-weight is shared out: pictures in blocks, blocks in chunks with sums of their own, output rows in bands.

use std::ops::Range;

use resnet_core::op::Conv2d;

use crate::threads::ScratchLens;

/// Most chunks, and most floats in the sums of all of them together while there are more than two.
const CHUNKS: usize = 16;
const SUMS: usize = 4 << 20;

/// Depends on the problem alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Pictures per block.
    block: usize,
    /// Output rows per band.
    band: usize,
    /// Blocks per chunk.
    chunk: usize,
    /// Chunks.
    pub(crate) n_chunks: usize,
    /// What a task needs.
    pub(crate) scratch: ScratchLens,
}

impl Cut {
    /// `sums_len`: floats of the sums of one chunk.
    pub(crate) fn new(n: usize, block: usize, band: usize, sums_len: usize, scratch: ScratchLens) -> Self {
        let n_blocks = n.div_ceil(block);
        let wanted = (SUMS / sums_len).clamp(2, CHUNKS).min(n_blocks);
        let chunk = n_blocks.div_ceil(wanted);
        Self { block, band, chunk, n_chunks: n_blocks.div_ceil(chunk), scratch }
    }

    /// The work of one chunk, in order: output rows, and pictures.
    pub(crate) fn bands(
        self,
        op: &Conv2d,
        chunk: usize,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<> {
        let Self { block, band, .. } = self;
        let (n, p) = (op.n(), op.p());
        let blocks = chunk * self.chunk..((chunk + 1) * self.chunk).min(n.div_ceil(block));
        blocks.flat_map(move |i| {
            let pictures = i * block..((i + 1) * block).min(n);
            (0..p).step_by(band).map(move |first| (first..(first + band).min(p), pictures.clone()))
        })
    }
}
