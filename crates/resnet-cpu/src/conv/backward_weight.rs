//! The gradient of the kernels: `dw[k,r,s,c] = Σ_{n,p,q} dy[n,p,q,k] · x[n, p·stride − top + r, q·stride − left + s, c]`.
//!
//! Per tile of output rows, both operands are evaluated into panels, and each tap adds a product that sums over the rows.
//! Tasks are blocks of kernels times chunks of the batch's rows, both cut by the problem.
//! Chunks add into gradients of their own, which are then added in order.

use std::ops::Range;

use rayon::prelude::*;
use resnet_core::op::Conv2d;
use resnet_core::{Accumulate, GradSource, Result, Source};

use super::im2col;
use crate::buffer::{Buffer, check};
use crate::engine::Engine;
use crate::kernels::gemm::{Mat, gemm};
use crate::kernels::{Isa, load, sums};
use crate::load::{GradLoad, Load, Rows, X};
use crate::threads::{Panel, Scratch, ScratchLens, grown};
use crate::window::{Window, segments};

const OP: &str = "conv2d_backward_weight";

pub(crate) fn conv2d_backward_weight(
    engine: &mut Engine,
    op: &Conv2d,
    x: Source<'_, Buffer>,
    dy: GradSource<'_, Buffer>,
    dw: &mut Buffer,
    dbias: Option<&mut Buffer>,
    accumulate: Accumulate,
) -> Result<()> {
    let (k, w_desc) = (op.k(), op.w_desc());
    let x = Load::open(OP, &X, x, &op.x_desc())?;
    let dy = GradLoad::open(OP, dy, &op.y_desc())?;
    check(OP, "dw", dw, &w_desc)?;
    if let Some(dbias) = &dbias {
        check(OP, "dbias", dbias, &op.bias_desc())?;
    }

    let plan = Plan::new(op);
    let pass =
        Pass { isa: engine.isa, op, plan, window: Window::from(op), x, dy, with_bias: dbias.is_some() };
    let kernel_len = w_desc.len() / k;
    let (block_len, n_chunks) = (plan.block * kernel_len, plan.n_chunks);

    // Per task: the gradient of a block of kernels from a chunk of rows. Tasks of one block follow each other.
    let n_tasks = plan.n_blocks * n_chunks;
    let weights = grown(&mut engine.weight_partials, n_tasks * block_len);
    let biases = grown(&mut engine.partials, n_tasks * plan.block);
    let tasks = weights.par_chunks_mut(block_len).zip(biases.par_chunks_mut(plan.block)).enumerate();
    engine.threads.run(tasks, |(i, (dw, dbias)), scratch| {
        pass.task(i / n_chunks, i % n_chunks, dw, dbias, scratch);
    });

    let (isa, add) = (engine.isa, accumulate == Accumulate::Add);
    let blocks =
        dw.f32_mut(w_desc.len()).par_chunks_mut(block_len).zip(weights.par_chunks(n_chunks * block_len));
    engine.threads.run(blocks, |(dw, chunks), _| {
        for (i, chunk) in chunks.chunks_exact(block_len).enumerate() {
            let chunk = &chunk[..dw.len()];
            if i == 0 && !add {
                dw.copy_from_slice(chunk);
            } else {
                load::add(isa, dw, chunk);
            }
        }
    });
    if let Some(dbias) = dbias {
        let blocks = dbias.f32_mut(k).chunks_mut(plan.block).zip(biases.chunks(n_chunks * plan.block));
        for (dbias, chunks) in blocks {
            for (i, d) in dbias.iter_mut().enumerate() {
                let sum: f64 = chunks.chunks_exact(plan.block).map(|chunk| chunk[i]).sum();
                *d = (sum + if add { f64::from(*d) } else { 0.0 }) as f32;
            }
        }
    }
    Ok(())
}

/// How the work is cut. Depends on the problem alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Kernels per block; all of them where there are groups.
    block: usize,
    n_blocks: usize,
    /// Rows per tile, and tiles per chunk.
    tile_rows: usize,
    chunk_tiles: usize,
    n_chunks: usize,
}

impl Plan {
    pub(crate) fn new(op: &Conv2d) -> Self {
        /// Kernels per block: enough to pay for packing the other operand once per block.
        const BLOCK: usize = 256;
        /// Most chunks, and most floats in all their gradients together while there are more than two.
        const CHUNKS: usize = 16;
        const BUDGET: usize = 4 << 20;
        let n_blocks = if op.groups() == 1 { op.k().div_ceil(BLOCK) } else { 1 };
        let block = op.k().div_ceil(n_blocks);
        let tile_rows = im2col::tile_rows(op.p() * op.q(), op.n());
        let n_tiles = (op.p() * op.q() * op.n()).div_ceil(tile_rows);
        let wanted = (BUDGET / op.w_desc().len()).clamp(2, CHUNKS).min(n_tiles);
        let chunk_tiles = n_tiles.div_ceil(wanted);
        Self { block, n_blocks, tile_rows, chunk_tiles, n_chunks: n_tiles.div_ceil(chunk_tiles) }
    }

    /// Numbers of all partial bias gradients.
    pub(crate) fn bias_partials(&self) -> usize {
        self.n_blocks * self.n_chunks * self.block
    }

    /// Floats of all partial gradients.
    pub(crate) fn weight_partials(&self, op: &Conv2d) -> usize {
        self.n_blocks * self.n_chunks * self.block * (op.w_desc().len() / op.k())
    }
}

struct Pass<'a> {
    isa: Isa,
    op: &'a Conv2d,
    plan: Plan,
    window: Window,
    x: Load<'a>,
    dy: GradLoad<'a>,
    with_bias: bool,
}

impl Pass<'_> {
    /// Sets `dw` and `dbias` to the sums over one chunk of rows, for one block of kernels.
    fn task(&self, block: usize, chunk: usize, dw: &mut [f32], dbias: &mut [f64], scratch: &mut Scratch) {
        let op = self.op;
        dw.fill(0.0);
        dbias.fill(0.0);
        let kernels = block * self.plan.block..((block + 1) * self.plan.block).min(op.k());
        let (n_kernels, total) = (kernels.len(), op.p() * op.q() * op.n());
        let chunk_rows = self.plan.chunk_tiles * self.plan.tile_rows;
        let end = ((chunk + 1) * chunk_rows).min(total);
        let mut start = chunk * chunk_rows;
        while start < end {
            let rows = start..(start + self.plan.tile_rows).min(end);
            start = rows.end;
            let panel = scratch.a.take(rows.len() * n_kernels);
            self.dy.eval(self.isa, rows.clone(), kernels.clone(), panel, n_kernels);
            if self.with_bias {
                sums::columns(self.isa, panel, &mut dbias[..n_kernels]);
            }
            self.tile(rows, panel, n_kernels, dw, &mut scratch.b, &mut scratch.c);
        }
    }

    /// Adds the products of one tile.
    fn tile(
        &self,
        rows: Range<usize>,
        dy: &[f32],
        n_kernels: usize,
        dw: &mut [f32],
        panel: &mut Panel,
        spare: &mut Panel,
    ) {
        let (n, n_taps, groups) = (self.op.n(), self.window.n_taps(), self.op.groups());
        let depth = self.op.c() / groups;
        let kernels_per_group = n_kernels / groups;
        let kernel_len = n_taps * depth;
        let step = taps_per_product(n_taps, depth);
        let locate = |pixel, tap| self.window.input(pixel, tap);
        let cut = segments(rows.clone(), n);
        for tap in (0..n_taps).step_by(step) {
            let taps = tap..(tap + step).min(n_taps);
            if !im2col::reads(cut.clone(), taps.clone(), locate) {
                continue; // all of it is padding
            }
            let width = taps.len() * depth;
            for group in 0..groups {
                let channels = group * depth..(group + 1) * depth;
                let view = im2col::View { isa: self.isa, source: &self.x, n, channels, locate };
                let panel = panel.take(rows.len() * width);
                view.rows(cut.clone(), taps.clone(), panel, spare);
                let first = group * kernels_per_group;
                let a = Mat::rows(&dy[first..], n_kernels).t();
                let dw = &mut dw[first * kernel_len + tap * depth..];
                gemm((kernels_per_group, rows.len(), width), a, Mat::rows(panel, width), 1.0, dw, kernel_len);
            }
        }
    }
}

/// Taps whose channels lie side by side in one product: enough to pay for packing the gradient.
fn taps_per_product(n_taps: usize, depth: usize) -> usize {
    const WIDTH: usize = 256;
    WIDTH.div_ceil(depth).min(n_taps)
}

/// Scratch per task: the gradient, and the input under some taps.
pub(crate) fn scratch(op: &Conv2d) -> ScratchLens {
    let plan = Plan::new(op);
    let depth = op.c() / op.groups();
    let panel = plan.tile_rows * depth * taps_per_product(op.r() * op.s(), depth);
    ScratchLens { a: plan.tile_rows * plan.block, b: panel, c: if depth == 1 { panel } else { 0 }, slots: 0 }
}
