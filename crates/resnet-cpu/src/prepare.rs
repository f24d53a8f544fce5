//! Sizing scratch before the first step, so that no op allocates.

use resnet_core::op::{Conv2d, Op};
use resnet_core::{DType, Result};

use crate::conv::{backward_data, backward_weight, forward, gather, weights};
use crate::direct::Direct;
use crate::element::{refuse, work_len};
use crate::engine::Engine;
use crate::epilogue::{BLOCK, partial_len};
use crate::threads::{ScratchLens, grown};
use crate::window::pass_tile_rows;

/// The largest of each kind of scratch that some ops need.
#[derive(Default)]
pub(crate) struct Need {
    /// Per thread.
    scratch: ScratchLens,
    partials: usize,
    weights: usize,
    panels: usize,
    weight_partials: usize,
}

impl Need {
    /// Takes in an op.
    pub(crate) fn add(&mut self, any: &Op, direct: &mut Direct) -> Result<()> {
        match any {
            Op::Conv2d(op) | Op::Conv2dBackwardData(op) | Op::Conv2dBackwardWeight(op)
                if direct.handles(op) =>
            {
                refuse(op.dtype())?;
                if !matches!(any, Op::Conv2d(_)) {
                    direct.train(op);
                }
                let need = direct.prepare(op);
                self.scratch.grow(&need.scratch);
                self.partials = self.partials.max(need.partials);
                self.weights = self.weights.max(need.weights);
                self.panels = self.panels.max(need.panels);
                self.weight_partials = self.weight_partials.max(need.weight_partials);
            }
            Op::Conv2d(op) => {
                refuse(op.dtype())?;
                self.gather(&forward::extents(op), op, op.k());
            }
            Op::Conv2dBackwardData(op) => {
                refuse(op.dtype())?;
                self.gather(&backward_data::extents(op), op, op.c());
            }
            Op::Conv2dBackwardWeight(op) => {
                refuse(op.dtype())?;
                let plan = backward_weight::Plan::new(op);
                self.scratch.grow(&backward_weight::scratch(op));
                self.weight_partials = self.weight_partials.max(plan.weight_partials(op));
                self.partials = self.partials.max(plan.bias_partials());
            }
            Op::Combine(op) | Op::CombineBackward(op) => {
                refuse(op.dtype())?;
                self.pass(op.dtype(), op.rows(), op.c());
            }
            Op::MaxPool(op) => {
                refuse(op.dtype())?;
                self.pass(op.dtype(), op.n() * op.h() * op.w(), op.c());
                self.pass(op.dtype(), op.n() * op.p() * op.q(), op.c());
            }
            Op::AvgPool(op) => {
                refuse(op.dtype())?;
                self.pass(op.dtype(), op.n() * op.h() * op.w(), op.c());
                self.pass(op.dtype(), op.n() * op.p() * op.q(), op.c());
            }
            Op::SoftmaxCrossEntropy(op) => {
                refuse(op.logits_desc().dtype)?;
                self.partials = self.partials.max(2 * op.n());
            }
            Op::Ingest(op) => {
                refuse(op.x_desc().dtype)?;
                let desc = op.x_desc();
                self.pass(desc.dtype, desc.len() / desc.c, desc.c);
            }
            Op::BatchNorm(_) => {}
        }
        Ok(())
    }

    /// A convolution that makes `width` channels.
    fn gather(&mut self, extents: &gather::Extents, op: &Conv2d, width: usize) {
        let cut = gather::Cut::new(extents);
        let rows = extents.n * extents.pixels;
        self.partials = self.partials.max(rows.div_ceil(cut.tile_rows()) * partial_len(width));
        self.weights = self.weights.max(weights::arranged_len(op, rows));
        self.scratch.grow(&cut.scratch(extents));
        let work = work_len(op.dtype(), cut.tile_rows() * width);
        self.scratch.grow(&ScratchLens { b: BLOCK.max(width), work, ..Default::default() }); // the mask
    }

    /// Tiles of a pass, with an epilogue.
    fn pass(&mut self, dtype: DType, rows: usize, c: usize) {
        let tile_rows = pass_tile_rows(c);
        self.partials = self.partials.max(rows.div_ceil(tile_rows.min(rows.div_ceil(8))) * partial_len(c));
        let work = work_len(dtype, tile_rows * c);
        self.scratch.grow(&ScratchLens { a: tile_rows * c, b: BLOCK.max(c), work, ..Default::default() });
    }

    /// Grows the scratch to what is needed, and returns its bytes.
    pub(crate) fn reserve(&self, engine: &mut Engine) -> usize {
        let Engine { threads, direct, partials, weights, panels, weight_partials, .. } = engine;
        threads.reserve(&self.scratch);
        grown(partials, self.partials);
        weights.take(self.weights);
        panels.take(self.panels);
        weight_partials.take(self.weight_partials);
        threads.scratch_bytes()
            + size_of_val(partials.as_slice())
            + (weights.len() + panels.len() + weight_partials.len()) * size_of::<f32>()
            + direct.kept_bytes()
    }
}
