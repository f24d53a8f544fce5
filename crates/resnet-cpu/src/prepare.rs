//! Sizing scratch before the first step, so that no op allocates.

use resnet_core::Result;
use resnet_core::op::Op;

use crate::buffer::refuse_bf16;
use crate::conv::{backward_weight, gather};
use crate::engine::{Engine, grown};
use crate::epilogue::partial_len;
use crate::threads::Threads;
use crate::window::{Window, pass_tile_rows, product_tile_rows};

/// The largest of each kind of scratch that some ops need.
#[derive(Default)]
pub(crate) struct Need {
    /// Floats per thread, see [`Scratch`](crate::threads::Scratch).
    a: usize,
    b: usize,
    partials: usize,
    weight_partials: usize,
}

impl Need {
    /// Takes in an op.
    pub(crate) fn add(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Conv2d(op) => {
                refuse_bf16(op.dtype())?;
                let rows = op.n() * op.p() * op.q();
                self.product(rows, product_tile_rows(op.p() * op.q(), op.n()), op.k());
                self.panel(&Window::from(op), op.p() * op.q(), op.n(), op.c() / op.groups());
            }
            Op::Conv2dBackwardData(op) => {
                refuse_bf16(op.dtype())?;
                let rows = op.n() * op.h() * op.w();
                self.product(rows, product_tile_rows(op.h() * op.w(), op.n()), op.c());
                self.panel(&Window::from(op), op.h() * op.w(), op.n(), op.k() / op.groups());
            }
            Op::Conv2dBackwardWeight(op) => {
                refuse_bf16(op.dtype())?;
                let plan = backward_weight::Plan::new(op);
                let (a, b) = backward_weight::panel_lens(op);
                self.a = self.a.max(a);
                self.b = self.b.max(b);
                self.weight_partials = self.weight_partials.max(plan.weight_partials(op));
                self.partials = self.partials.max(plan.bias_partials());
            }
            Op::Combine(op) | Op::CombineBackward(op) => {
                refuse_bf16(op.dtype())?;
                self.pass(op.rows(), op.c());
            }
            Op::MaxPool(op) => {
                refuse_bf16(op.dtype())?;
                self.pass(op.n() * op.h() * op.w(), op.c());
                self.pass(op.n() * op.p() * op.q(), op.c());
            }
            Op::AvgPool(op) => {
                refuse_bf16(op.dtype())?;
                self.pass(op.n() * op.h() * op.w(), op.c());
                self.pass(op.n() * op.p() * op.q(), op.c());
            }
            Op::SoftmaxCrossEntropy(op) => {
                refuse_bf16(op.logits_desc().dtype)?;
                self.partials = self.partials.max(2 * op.n());
            }
            Op::Ingest(op) => {
                refuse_bf16(op.x_desc().dtype)?;
                let desc = op.x_desc();
                self.pass(desc.len() / desc.c, desc.c);
            }
            Op::BatchNorm(_) => {}
        }
        Ok(())
    }

    /// Tiles of products, with an epilogue.
    fn product(&mut self, rows: usize, tile_rows: usize, c: usize) {
        self.partials = self.partials.max(rows.div_ceil(tile_rows) * partial_len(c));
        self.b = self.b.max(tile_rows.min(rows) * c);
    }

    fn panel(&mut self, window: &Window, pixels: usize, n: usize, depth: usize) {
        let rows = product_tile_rows(pixels, n);
        self.a = self.a.max(gather::panel_len(rows, window.n_taps(), depth));
    }

    /// Tiles of a pass, with an epilogue.
    fn pass(&mut self, rows: usize, c: usize) {
        let tile_rows = pass_tile_rows(c);
        self.partials = self.partials.max(rows.div_ceil(tile_rows.min(rows.div_ceil(8))) * partial_len(c));
        self.a = self.a.max(tile_rows * c);
        self.b = self.b.max(tile_rows * c);
    }

    /// Grows the scratch to what is needed, and returns its bytes.
    pub(crate) fn reserve(&self, engine: &mut Engine) -> usize {
        let Engine { threads, partials, weight_partials, .. } = engine;
        threads.reserve(self.a, self.b);
        grown(partials, self.partials);
        grown(weight_partials, self.weight_partials);
        Threads::scratch_bytes(threads)
            + size_of_val(partials.as_slice())
            + size_of_val(weight_partials.as_slice())
    }
}
