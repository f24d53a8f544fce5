//! Forward with one picture: tasks share out the output's channels, so that each reads its own weights, once.
//!
//! Where weights are larger than the picture's activations, tasks that share out rows would each read all weights, and time is
//! spent on fetching them. Here the input is evaluated once for all tasks, with zeros for padding, so that all windows look
//! alike; a task then goes over its weights in pieces that stay in the innermost cache for all pixels.

use resnet_core::op::Conv2d;

use super::blocks::{Grid, for_cells};
use super::groups::Groups;
use crate::element::Element;
use crate::epilogue::Forward;
use crate::kernels::Isa;
use crate::kernels::product::{Left, ROWS, Tap, Tile, WIDTH, product};
use crate::load::Rows;
use crate::threads::Threads;

/// Floats of weights from which on this way is taken: fewer stay in a core's own cache while rows are shared out.
const MIN_WEIGHTS: usize = 48 * 1024;

/// Steps of a sum whose weights stay in the innermost cache.
const STRETCH: usize = 512;

/// Tasks that share out the channels, where there are enough.
const TASKS: usize = 8;

/// How one picture is computed. Depends on the problem alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Single {
    /// Output channels of a task.
    channels: usize,
    /// Rows and columns of the input that windows reach over, padding included.
    extents: (usize, usize),
}

impl Single {
    /// If this way pays.
    pub(crate) fn plan(op: &Conv2d) -> Option<Self> {
        let (k, c, taps) = (op.k(), op.c(), op.r() * op.s());
        if op.n() != 1 || op.groups() != 1 || !k.is_multiple_of(WIDTH) || k * c * taps < MIN_WEIGHTS {
            return None;
        }
        let share = (k / TASKS).next_multiple_of(WIDTH);
        let channels = if k.is_multiple_of(share) { share } else { WIDTH };
        let along = |outputs: usize, taps: usize| (outputs - 1) * op.stride() + taps;
        Some(Self { channels, extents: (along(op.p(), op.r()), along(op.q(), op.s())) })
    }

    /// Whether the input is read as it lies.
    fn is_plain(&self, op: &Conv2d) -> bool {
        self.extents == (op.h(), op.w()) && (op.padding().top, op.padding().left) == (0, 0)
    }

    /// Floats of the evaluated input.
    pub(crate) fn input_len(&self, op: &Conv2d) -> usize {
        self.extents.0 * self.extents.1 * op.c()
    }

    /// Floats of a task's output.
    pub(crate) fn output_len(&self, op: &Conv2d) -> usize {
        op.p() * op.q() * self.channels
    }

    /// `y`, from weights in panels.
    pub(crate) fn forward<E: Element>(
        &self,
        (threads, op): (&Threads, &Conv2d),
        x: &impl Rows,
        panels: &[f32],
        input: &mut [f32],
        epilogue: &Forward<'_, E>,
        partials: &mut [f64],
        y: &mut [E],
    ) {
        let (pixels, channels) = (op.p() * op.q(), self.channels);
        let stored = x.stored(0..op.h() * op.w()).filter(|_| self.is_plain(op));
        let input = match stored {
            Some(stored) => stored,
            None => {
                self.evaluate(threads, op, epilogue.isa, x, input);
                &*input
            }
        };
        // One picture's channels in shares lie as the channels of so many pictures would.
        let grid = Grid { pixels, n: op.k() / channels, band: pixels, block: 1 };
        for_cells(threads, grid, channels, y, partials, 1, |cell, _, scratch| {
            let share = cell.pictures.start;
            let out = scratch.a.take(self.output_len(op));
            for panel in 0..channels / WIDTH {
                self.panel(
                    op,
                    epilogue.isa,
                    input,
                    panels,
                    share * channels / WIDTH + panel,
                    &mut out[panel * WIDTH..],
                );
            }
            for (pixel, values) in out.chunks_exact_mut(channels).enumerate() {
                epilogue.store(values, pixel, share * channels, cell.at(pixel));
            }
        });
    }

    /// Evaluates the input with zeros around it, row by row.
    fn evaluate(&self, threads: &Threads, op: &Conv2d, isa: Isa, x: &impl Rows, input: &mut [f32]) {
        let (c, w, (top, left)) = (op.c(), op.w(), (op.padding().top, op.padding().left));
        let columns = self.extents.1;
        let rows = input[..self.input_len(op)].chunks_exact_mut(columns * c).enumerate();
        threads.run(rows, |(row, out), _| {
            let read = w.min(columns - left.min(columns));
            let Some(y) = row.checked_sub(top).filter(|&y| y < op.h() && read > 0) else {
                return out.fill(0.0);
            };
            let (before, rest) = out.split_at_mut(left * c);
            let (values, after) = rest.split_at_mut(read * c);
            before.fill(0.0);
            after.fill(0.0);
            x.eval(isa, y * w..y * w + read, 0..c, values, c);
        });
    }

    /// Sums of one panel of weights for all pixels, which are `channels` apart.
    fn panel(&self, op: &Conv2d, isa: Isa, input: &[f32], panels: &[f32], panel: usize, out: &mut [f32]) {
        let (c, q, columns) = (op.c(), op.q(), self.extents.1);
        let depth = Groups::forward(op).depth;
        let weights = &panels[panel * op.r() * op.s() * depth * WIDTH..][..op.r() * op.s() * depth * WIDTH];
        // Rows of output follow each other where nothing lies between their inputs.
        let follow = op.stride() == 1 && columns == q;
        let (n_rows, len) = if follow { (1, op.p() * q) } else { (op.p(), q) };
        for tap in 0..op.r() * op.s() {
            let at = (tap / op.s() * columns + tap % op.s()) * c;
            for first in (0..c).step_by(STRETCH) {
                let steps = STRETCH.min(c - first);
                let b = &weights[(tap * c + first) * WIDTH..][..steps * WIDTH];
                let add = tap > 0 || first > 0;
                for row in 0..n_rows {
                    for column in (0..len).step_by(ROWS) {
                        let from = (row * columns + column) * op.stride() * c + at + first;
                        let a = Left { data: &input[from..], row: op.stride() * c, step: 1 };
                        let data = &mut out[(row * len + column) * self.channels..];
                        let rows = ROWS.min(len - column);
                        let tile = Tile { data, stride: self.channels, rows, width: WIDTH };
                        product(isa, a, b, &[Tap::default()], steps, tile, add);
                    }
                }
            }
        }
    }
}
