//! The gradient of the kernels: `dw[k,r,s,c] = Σ_{n,p,q} dy[n,p,q,k] · x[n, p·stride − top + r, q·stride − left + s, c]`.
//!
//! Per tile of output rows, both operands are evaluated into panels, and each tap adds a product that sums over the rows.
//! Tasks are blocks of kernels times chunks of the batch's rows, both cut by the problem.
//! Chunks add into gradients of their own, which are then added in order.

use std::ops::Range;

use resnet_core::op::Conv2d;
use resnet_core::{Accumulate, GradSource, Result, Source};

use super::forward;
use super::gather::Cut;
use super::im2col;
use crate::buffer::{Buffer, check};
use crate::direct;
use crate::element::Element;
use crate::engine::Engine;
use crate::kernels::gemm::{Mat, gemm};
use crate::kernels::{Isa, load, sums};
use crate::load::{GradLoad, Load, Rows, X};
use crate::memory::Memory;
use crate::stats;
use crate::threads::{Scratch, ScratchLens, grown};
use crate::window::{Window, segments};

const OP: &str = "conv2d_backward_weight";

pub(crate) fn conv2d_backward_weight<E: Element>(
    engine: &mut Engine,
    op: &Conv2d,
    x: Source<'_, Buffer>,
    dy: GradSource<'_, Buffer>,
    dw: &mut Buffer,
    dbias: Option<&mut Buffer>,
    accumulate: Accumulate,
) -> Result<()> {
    let (k, w_desc) = (op.k(), op.w_desc());
    let x = Load::<E>::open(OP, &X, x, &op.x_desc())?;
    let dy = GradLoad::<E>::open(OP, dy, &op.y_desc())?;
    check(OP, "dw", dw, &w_desc)?;
    if let Some(dbias) = &dbias {
        check(OP, "dbias", dbias, &op.bias_desc())?;
    }

    if engine.direct.handles(op) {
        let (dw, dbias) = (dw.f32_mut(w_desc.len()), dbias.map(|d| d.f32_mut(k)));
        direct::backward_weight(engine, op, x, dy, dw, dbias, accumulate == Accumulate::Add);
        return Ok(());
    }

    let plan = Plan::new(op);
    let pass =
        Pass { isa: engine.isa, op, plan, window: Window::from(op), x, dy, with_bias: dbias.is_some() };
    let kernel_len = w_desc.len() / k;
    let (block_len, n_chunks) = (plan.block * kernel_len, plan.n_chunks);

    // Per task: the gradient of a block of kernels from a chunk of rows. Tasks of one block follow each other.
    let n_tasks = plan.n_blocks * n_chunks;
    let weights = engine.weight_partials.take(n_tasks * block_len);
    let biases = grown(&mut engine.partials, n_tasks * plan.block);
    let tasks = weights.chunks_mut(block_len).zip(biases.chunks_mut(plan.block)).enumerate();
    engine.threads.run(tasks, |(i, (dw, dbias)), scratch| {
        pass.task(i / n_chunks, i % n_chunks, dw, dbias, scratch);
    });

    let (isa, add) = (engine.isa, accumulate == Accumulate::Add);
    let blocks = dw.f32_mut(w_desc.len()).chunks_mut(block_len).zip(weights.chunks(n_chunks * block_len));
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
            stats::merge_bias(chunks, plan.block, dbias, add);
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
    /// The cut of the forward pass.
    cut: Cut,
    /// Tiles per chunk.
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
        let cut = Cut::new(&forward::extents(op));
        let n_tiles = (op.p() * op.q() * op.n()).div_ceil(cut.tile_rows());
        let wanted = (BUDGET / op.w_desc().len()).clamp(2, CHUNKS).min(n_tiles);
        let chunk_tiles = n_tiles.div_ceil(wanted);
        Self { block, n_blocks, cut, chunk_tiles, n_chunks: n_tiles.div_ceil(chunk_tiles) }
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

struct Pass<'a, E> {
    isa: Isa,
    op: &'a Conv2d,
    plan: Plan,
    window: Window,
    x: Load<'a, E>,
    dy: GradLoad<'a, E>,
    with_bias: bool,
}

impl<E: Element> Pass<'_, E> {
    /// Sets `dw` and `dbias` to the sums over one chunk of rows, for one block of kernels.
    fn task(&self, block: usize, chunk: usize, dw: &mut [f32], dbias: &mut [f64], scratch: &mut Scratch) {
        let op = self.op;
        dw.fill(0.0);
        dbias.fill(0.0);
        let kernels = block * self.plan.block..((block + 1) * self.plan.block).min(op.k());
        let tile_rows = self.plan.cut.tile_rows();
        let first = chunk * self.plan.chunk_tiles * tile_rows;
        let end = (first + self.plan.chunk_tiles * tile_rows).min(op.p() * op.q() * op.n());
        for start in (first..end).step_by(tile_rows) {
            let rows = start..(start + tile_rows).min(end);
            match self.plan.cut {
                Cut::ByPixel { block, .. } => self.by_pixel(rows, &kernels, block, dw, dbias, scratch),
                Cut::Im2col { .. } => self.im2col(rows, &kernels, dw, dbias, scratch),
            }
        }
    }

    /// The gradient of some kernels in some rows, in `panel`.
    fn gradient<'p>(
        &self,
        rows: Range<usize>,
        kernels: &Range<usize>,
        dbias: &mut [f64],
        panel: &'p mut Memory,
    ) -> &'p [f32] {
        let panel = panel.take(rows.len() * kernels.len());
        self.dy.eval(self.isa, rows, kernels.clone(), panel, kernels.len());
        if self.with_bias {
            sums::columns(self.isa, panel, kernels.len(), &mut dbias[..kernels.len()]);
        }
        panel
    }

    /// Adds the products of a tile. Its input pixels are evaluated once, side by side.
    fn by_pixel(
        &self,
        rows: Range<usize>,
        kernels: &Range<usize>,
        block: usize,
        dw: &mut [f32],
        dbias: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let (n, c, n_taps) = (self.op.n(), self.op.c(), self.window.n_taps());
        let locate = |pixel, tap| self.window.input(pixel, tap);
        let Scratch { a, b, halo, .. } = scratch;
        let cut = segments(rows, n);
        let n_slots = halo.number(self.window.h * self.window.w, cut.clone(), n_taps, locate);
        let stride = n_slots * c;
        for start in (0..n).step_by(block) {
            let end = (start + block).min(n);
            if !cut.clone().any(|s| s.within(start..end).is_some()) {
                continue;
            }
            let x = b.take((end - start) * stride);
            for (slot, pixel) in halo.pixels().enumerate() {
                self.x.eval(self.isa, pixel * n + start..pixel * n + end, 0..c, &mut x[slot * c..], stride);
            }
            for s in cut.clone().filter_map(|s| s.within(start..end)) {
                let first = s.pixel * n;
                let dy = self.gradient(first + s.pictures.start..first + s.pictures.end, kernels, dbias, a);
                for run in halo.runs(s.pixel, n_taps, locate) {
                    let x = Mat::rows(&x[(s.pictures.start - start) * stride + run.slot * c..], stride);
                    let size = (kernels.len(), s.pictures.len(), run.taps.len() * c);
                    gemm(
                        size,
                        Mat::rows(dy, kernels.len()).t(),
                        x,
                        1.0,
                        &mut dw[run.taps.start * c..],
                        n_taps * c,
                    );
                }
            }
        }
    }

    /// Adds the products of a tile, from panels of its input rows under several taps.
    fn im2col(
        &self,
        rows: Range<usize>,
        kernels: &Range<usize>,
        dw: &mut [f32],
        dbias: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let (n, n_taps, groups) = (self.op.n(), self.window.n_taps(), self.op.groups());
        let depth = self.op.c() / groups;
        let kernels_per_group = kernels.len() / groups;
        let kernel_len = n_taps * depth;
        let step = taps_per_product(n_taps, depth);
        let locate = |pixel, tap| self.window.input(pixel, tap);
        let Scratch { a, b, c, .. } = scratch;
        let dy = self.gradient(rows.clone(), kernels, dbias, a);
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
                let panel = b.take(rows.len() * width);
                view.rows(cut.clone(), taps.clone(), panel, c);
                let first = group * kernels_per_group;
                let dy = Mat::rows(&dy[first..], kernels.len()).t();
                let dw = &mut dw[first * kernel_len + tap * depth..];
                gemm(
                    (kernels_per_group, rows.len(), width),
                    dy,
                    Mat::rows(panel, width),
                    1.0,
                    dw,
                    kernel_len,
                );
            }
        }
    }
}

/// Taps whose channels lie side by side in one product: enough to pay for packing the gradient.
fn taps_per_product(n_taps: usize, depth: usize) -> usize {
    const WIDTH: usize = 256;
    WIDTH.div_ceil(depth).min(n_taps)
}

/// Scratch per task: the gradient, and the input.
pub(crate) fn scratch(op: &Conv2d) -> ScratchLens {
    let plan = Plan::new(op);
    let depth = op.c() / op.groups();
    match plan.cut {
        Cut::ByPixel { block, n_slots, .. } => {
            let (a, b) = (block * plan.block, block * n_slots * depth);
            ScratchLens { a, b, halo: op.h() * op.w(), ..Default::default() }
        }
        Cut::Im2col { tile_rows } => {
            let panel = tile_rows * depth * taps_per_product(op.r() * op.s(), depth);
            let spare = if im2col::in_planes(depth) { panel } else { 0 };
            ScratchLens { a: tile_rows * plan.block, b: panel, c: spare, ..Default::default() }
        }
    }
}
