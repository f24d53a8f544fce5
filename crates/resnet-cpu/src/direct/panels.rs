//! Weights as the micro-kernel reads them: panels of 32 output channels, the sum running through memory in order.

use std::ops::Range;

use half::bf16;
use resnet_core::op::Conv2d;

use super::groups::Groups;
use crate::element::Element;
use crate::kernels::product::WIDTH;
use crate::kernels::transpose::transpose;
use crate::kernels::{Isa, load};
use crate::threads::Threads;

/// Floats of all panels for `width` outputs, `taps` taps and a sum over `depth` channels.
pub(crate) fn len(width: usize, taps: usize, depth: usize) -> usize {
    width.div_ceil(WIDTH) * taps * depth * WIDTH
}

/// Steps of the sum that are transposed together: reads and writes of one square stay in the innermost cache.
const SQUARE: usize = 64;

/// The squares of some stretches.
fn squares(used: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    used.iter().flat_map(|u| u.clone().step_by(SQUARE).map(|first| first..(first + SQUARE).min(u.end)))
}

/// Forward: `panels[k / 32][tap][c][k % 32] = w[k, tap, c]`, zero beyond the last kernel.
/// Only `used` stretches of the kernels are written.
pub(crate) fn forward(threads: &Threads, op: &Conv2d, used: &[Range<usize>], w: &[f32], panels: &mut [f32]) {
    let kernel = op.r() * op.s() * op.c();
    let panels = panels.chunks_exact_mut(kernel * WIDTH).enumerate();
    threads.run(panels, |(i, panel), _| {
        let kernels = &w[i * WIDTH * kernel..((i + 1) * WIDTH).min(op.k()) * kernel];
        if kernels.len() < panel.len() {
            panel.fill(0.0);
        }
        for square in squares(used) {
            let first = square.start;
            let out = &mut panel[first * WIDTH..square.end * WIDTH];
            for (j, w) in kernels.chunks_exact(kernel).enumerate() {
                for (out, w) in out.chunks_exact_mut(WIDTH).zip(&w[first..]) {
                    out[j] = *w;
                }
            }
        }
    });
}

/// Backward-data: `panels[c / 32][tap][k][c % 32] = w[k, tap, c]`, zero beyond the last channel.
/// Only `used` stretches of the panels are written.
pub(crate) fn backward(threads: &Threads, op: &Conv2d, used: &[Range<usize>], w: &[f32], panels: &mut [f32]) {
    let (c, taps) = (op.c(), op.r() * op.s());
    let panels = panels.chunks_exact_mut(taps * op.k() * WIDTH).enumerate();
    threads.run(panels, |(i, panel), _| {
        let channels = i * WIDTH..((i + 1) * WIDTH).min(c);
        let used = |tap: usize| used.iter().any(|u| u.contains(&(tap * op.k())));
        for (tap, panel) in panel.chunks_exact_mut(op.k() * WIDTH).enumerate().filter(|(tap, _)| used(*tap)) {
            for (k, out) in panel.chunks_exact_mut(WIDTH).enumerate() {
                let from = (k * taps + tap) * c;
                let (values, rest) = out.split_at_mut(channels.len());
                values.copy_from_slice(&w[from + channels.start..from + channels.end]);
                rest.fill(0.0);
            }
        }
    });
}

/// bf16 numbers of all panels whose steps multiply two inputs.
pub(crate) fn paired_len(width: usize, taps: usize, depth: usize) -> usize {
    len(width, taps, depth.next_multiple_of(2))
}

/// Channels that are narrowed and transposed together.
const CHANNELS: usize = 256;

/// Floats of scratch that [`paired`] takes.
pub(crate) const PAIRED_SCRATCH: usize = WIDTH * CHANNELS / 2;

/// Panels for products of pairs of bf16: `panels[o / 32][tap][i / 2][o % 32][i % 2]`, zero where there is no such output or
/// input, or where they are of different groups. Without groups only `used` stretches of the kernels are written.
pub(crate) fn paired(
    threads: &Threads,
    isa: Isa,
    (groups, used): (&Groups, &[Range<usize>]),
    backward: bool,
    op: &Conv2d,
    w: &[f32],
    panels: &mut [bf16],
) {
    let (taps, per_group) = (op.r() * op.s(), op.c() / op.groups());
    let width = if backward { op.c() } else { op.k() };
    let row = groups.depth.next_multiple_of(2) * WIDTH;
    threads.run(panels.chunks_exact_mut(taps * row).enumerate(), |(i, panel), scratch| {
        let outputs = i * WIDTH..((i + 1) * WIDTH).min(width);
        if op.groups() > 1 || outputs.len() < WIDTH || !groups.depth.is_multiple_of(2) {
            panel.fill(bf16::ZERO);
        }
        let used = |tap: &usize| used.iter().any(|u| u.contains(&(tap * groups.row)));
        for (tap, panel) in panel.chunks_exact_mut(row).enumerate() {
            if op.groups() > 1 {
                for output in outputs.clone() {
                    for input in groups.inputs(output) {
                        let (k, c) = if backward { (input, output) } else { (output, input) };
                        let at = input - groups.first(i);
                        panel[(at / 2 * WIDTH + output % WIDTH) * 2 + at % 2] =
                            Element::narrow(w[(k * taps + tap) * per_group + c % per_group]);
                    }
                }
            } else if backward && used(&tap) {
                // Kernels side by side, two by two: their channels follow each other on both sides.
                let kernels = &w[tap * per_group + outputs.start..];
                load::pair_narrowed(
                    isa,
                    kernels,
                    taps * per_group,
                    (op.k(), outputs.len()),
                    panel,
                    2 * WIDTH,
                );
            } else if used(&tap) {
                // Two channels of a kernel are neighbours on both sides, and move together as one number of 32 bits.
                for first in (0..per_group).step_by(CHANNELS) {
                    let channels = CHANNELS.min(per_group - first);
                    let even = channels.next_multiple_of(2);
                    let kernels = &w[(outputs.start * taps + tap) * per_group + first..];
                    let kernels = &kernels[..(outputs.len() - 1) * taps * per_group + channels];
                    let rows = scratch.c.take_as::<bf16>(outputs.len() * even);
                    if even > channels {
                        rows.fill(bf16::ZERO);
                    }
                    load::plain::<_, _, false>(isa, kernels, taps * per_group, channels, rows, even);
                    let rows: &[f32] = bytemuck::cast_slice(rows);
                    let panel: &mut [f32] = bytemuck::cast_slice_mut(&mut panel[first * WIDTH..]);
                    transpose(isa, rows, even / 2, (outputs.len(), even / 2), panel, WIDTH);
                }
            }
        }
    });
}

/// Backward-weight: adds up what chunks of the batch left in panels of the forward kind, in the order of the chunks.
/// Outside the `used` stretches the gradient is zero, whatever the panels hold.
pub(crate) fn reduce(
    threads: &Threads,
    op: &Conv2d,
    used: &[Range<usize>],
    chunks: &[f32],
    dw: &mut [f32],
    add: bool,
) {
    let kernel = op.r() * op.s() * op.c();
    let all = len(op.k(), 1, kernel);
    let blocks = dw.chunks_mut(WIDTH * kernel).enumerate();
    threads.run(blocks, |(i, dw), _| {
        let panel = i * kernel * WIDTH;
        if !add && used.iter().map(Range::len).sum::<usize>() < kernel {
            dw.fill(0.0);
        }
        for Range { start: first, end } in squares(used) {
            let steps = end - first;
            for (n, chunk) in chunks.chunks_exact(all).enumerate() {
                let square = &chunk[panel + first * WIDTH..][..steps * WIDTH];
                for (j, dw) in dw.chunks_exact_mut(kernel).enumerate() {
                    let dw = &mut dw[first..first + steps];
                    if n == 0 && !add {
                        dw.iter_mut().zip(square.chunks_exact(WIDTH)).for_each(|(d, row)| *d = row[j]);
                    } else {
                        dw.iter_mut().zip(square.chunks_exact(WIDTH)).for_each(|(d, row)| *d += row[j]);
                    }
                }
            }
        }
    });
}

/// Panels of a convolution in groups: `panels[o / 32][tap][i][o % 32]`, for the inputs `i` that the panel reads, zero where
/// input and output are of different groups. `weight` finds the number of an output, a tap and an input.
pub(crate) fn grouped(
    threads: &Threads,
    groups: &Groups,
    (width, taps): (usize, usize),
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
    panels: &mut [f32],
) {
    let panels = panels.chunks_exact_mut(taps * groups.depth * WIDTH).enumerate();
    threads.run(panels, |(i, panel), _| {
        panel.fill(0.0);
        for output in i * WIDTH..((i + 1) * WIDTH).min(width) {
            for tap in 0..taps {
                for input in groups.inputs(output) {
                    let at = tap * groups.depth + input - groups.first(i);
                    panel[at * WIDTH + output % WIDTH] = weight(output, tap, input);
                }
            }
        }
    });
}

/// As [`reduce`], for a convolution in groups.
pub(crate) fn reduce_grouped(
    threads: &Threads,
    groups: &Groups,
    op: &Conv2d,
    chunks: &[f32],
    dw: &mut [f32],
    add: bool,
) {
    let (taps, depth) = (op.r() * op.s(), op.c() / op.groups());
    let all = len(op.k(), taps, groups.depth);
    let kernels = dw.chunks_exact_mut(taps * depth).enumerate();
    threads.run(kernels, |(k, dw), _| {
        let panel = k / WIDTH;
        let first = groups.inputs(k).start - groups.first(panel);
        for (i, d) in dw.iter_mut().enumerate() {
            let at = (panel * taps + i / depth) * groups.depth + first + i % depth;
            let values = chunks.chunks_exact(all).map(|chunk| chunk[at * WIDTH + k % WIDTH]);
            *d = values.fold(if add { *d } else { 0.0 }, |sum, v| sum + v);
        }
    });
}
