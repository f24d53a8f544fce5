//! Weights as tiles read them: panels of 32 outputs, in blocks of 32 inputs.

use crate::kernels::amx::{Amx, BLOCK, PIECE};
use crate::kernels::product::WIDTH;
use crate::threads::Threads;

/// Numbers of bf16 in all panels for `width` outputs, `taps` taps and a sum over `depth` inputs.
pub(crate) fn panels_len(amx: Amx, width: usize, taps: usize, depth: usize) -> usize {
    width.div_ceil(WIDTH) * panel_len(amx, taps, depth)
}

/// Numbers of bf16 in one panel.
pub(crate) fn panel_len(amx: Amx, taps: usize, depth: usize) -> usize {
    taps * depth.div_ceil(BLOCK) * amx.products().pieces() * PIECE
}

/// Splits panels of f32, `[panel][tap][input][output]`, to `[panel][tap][input / 32][piece][input / 2][output][input % 2]`.
pub(crate) fn arrange(threads: &Threads, amx: Amx, taps: usize, depth: usize, from: &[f32], out: &mut [u16]) {
    let step = amx.products().pieces() * PIECE;
    let panels =
        from.chunks_exact(taps * depth * WIDTH).zip(out.chunks_exact_mut(panel_len(amx, taps, depth)));
    threads.run(panels, |(from, out), _| {
        let blocks = from.chunks_exact(depth * WIDTH).flat_map(|tap| tap.chunks(BLOCK * WIDTH));
        for (values, out) in blocks.zip(out.chunks_exact_mut(step)) {
            amx.split_pairs(values, out);
        }
    });
}
