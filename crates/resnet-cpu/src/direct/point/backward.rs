//! Both gradients of a window of one pixel: `dw = dyᵀ · x` and `dx = dy · w`, from one reading of `dy` and `x`.

use resnet_core::op::Conv2d;

use super::{Ahead, Cut, evaluate};
use crate::epilogue::Backward;
use crate::kernels::Isa;
use crate::kernels::product::{Left, ROWS, Tap, Tile, WIDTH, product};
use crate::load::{GradLoad, Load};
use crate::threads::Scratch;

/// The op, and how it is cut.
pub(crate) struct Pass<'a> {
    pub(crate) isa: Isa,
    pub(crate) op: &'a Conv2d,
    pub(crate) cut: Cut,
    /// What is also the value that masks `dx`, where it is masked.
    pub(crate) x: Load<'a, f32>,
    pub(crate) dy: GradLoad<'a, f32>,
    /// `weights[c / 32][k][c % 32]`.
    pub(crate) weights: &'a [f32],
    /// Whether `dx` holds something that is added to.
    pub(crate) add: bool,
    pub(crate) epilogue: Backward<'a, f32>,
}

impl Pass<'_> {
    /// Sets the rows of `dx` and the sums of one chunk; `dw`, in panels, to the sum over its rows. `partial` holds zeros.
    pub(crate) fn chunk(
        &self,
        chunk: usize,
        dx: &mut [f32],
        dw: &mut [f32],
        partial: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let (c, k) = (self.op.c(), self.op.k());
        let mut rest = dx;
        let mut steps = self.cut.steps(chunk).peekable();
        let mut first = true;
        while let Some(rows) = steps.next() {
            let (dx, later) = std::mem::take(&mut rest).split_at_mut(rows.len() * c);
            let x = scratch.a.take(rows.len() * c);
            evaluate(self.isa, &self.x, rows.clone(), c, x);
            let dy = scratch.b.take(rows.len() * k);
            evaluate(self.isa, &self.dy, rows.clone(), k, dy);

            let next = steps.peek().cloned().unwrap_or(rows.end..rows.end);
            let written = &later[..next.len() * c];
            let parts = self.dy.parts(&next).chain(self.epilogue.parts(&self.x, &next)).chain([written]);
            let calls = k / WIDTH * (c / ROWS) + c / WIDTH * rows.len().div_ceil(ROWS);
            let mut ahead = Ahead::new(self.isa, parts, calls);

            self.weight(rows.len(), x, dy, dw, !first, &mut ahead);
            let tile = scratch.c.take(rows.len() * WIDTH);
            for panel in 0..c / WIDTH {
                self.data(panel, rows.len(), dy, tile, &mut scratch.taps, &mut ahead);
                let value = &x[panel * rows.len() * WIDTH..][..rows.len() * WIDTH];
                self.epilogue.panel(tile, value, (rows.start, panel * WIDTH), self.add, dx, partial);
            }
            rest = later;
            first = false;
        }
    }

    /// Sets or adds the products of `n_rows` rows.
    fn weight(&self, n_rows: usize, x: &[f32], dy: &[f32], dw: &mut [f32], add: bool, ahead: &mut Ahead<'_>) {
        let c = self.op.c();
        for (dy, dw) in dy.chunks_exact(n_rows * WIDTH).zip(dw.chunks_exact_mut(c * WIDTH)) {
            for (first, data) in (0..c).step_by(ROWS).zip(dw.chunks_exact_mut(ROWS * WIDTH)) {
                let x = &x[first / WIDTH * n_rows * WIDTH + first % WIDTH..];
                let x = Left { data: x, row: 1, step: WIDTH };
                let tile = Tile { data, stride: WIDTH, rows: ROWS, width: WIDTH };
                product(self.isa, x, dy, &[Tap::default()], n_rows, tile, add);
                ahead.ask();
            }
        }
    }

    /// The gradient of 32 channels of `n_rows` rows, before its epilogue.
    fn data(
        &self,
        panel: usize,
        n_rows: usize,
        dy: &[f32],
        out: &mut [f32],
        taps: &mut Vec<Tap>,
        ahead: &mut Ahead<'_>,
    ) {
        let k = self.op.k();
        taps.clear();
        taps.extend((0..k / WIDTH).map(|i| Tap { a: i * n_rows * WIDTH, b: i * WIDTH * WIDTH }));
        let weights = &self.weights[panel * k * WIDTH..][..k * WIDTH];
        for (first, data) in (0..n_rows).step_by(ROWS).zip(out.chunks_mut(ROWS * WIDTH)) {
            let dy = Left { data: &dy[first * WIDTH..], row: WIDTH, step: 1 };
            let tile = Tile { rows: data.len() / WIDTH, data, stride: WIDTH, width: WIDTH };
            product(self.isa, dy, weights, taps, WIDTH, tile, false);
            ahead.ask();
        }
    }
}
