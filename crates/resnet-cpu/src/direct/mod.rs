//! Convolution with micro-kernels of our own: sums stay in registers over all taps, operands in cache, padding is skipped.
//!
//! Read in this order:
//! - [`geometry`]: which input pixels an output pixel reads.
//! - [`groups`]: which inputs a panel of outputs sums over.
//! - [`panels`]: weights as the micro-kernel wants them. [`kept`]: those that stay so.
//! - [`blocks`]: how an output is cut into cells that tasks write.
//! - [`gather`]: forward and backward-data. [`weight`]: backward-weight, shared out by [`cut`].
//! - [`point`]: windows of one pixel, where memory decides.
//! - [`single`]: forward with one picture. [`finished`]: 1×1 kernels of inference.
//! - [`direction`]: what forward and backward-data have in common, also with [tiles](crate::winograd).
//! - [`amx`]: the same three directions by tiles of AMX.
//! - this file: the three ops, from checked buffers to finished results.
//!
//! The micro-kernel itself is [`product`](crate::kernels::product).

mod amx;
#[allow(unsafe_code)]
pub(crate) mod blocks;
pub(crate) mod cut;
mod direction;
mod finished;
pub(crate) mod gather;
pub(crate) mod geometry;
mod groups;
mod kept;
pub(crate) mod panels;
mod point;
mod single;
pub(crate) mod weight;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use half::bf16;
use resnet_core::op::{Conv2d, Op};
use resnet_core::{Arithmetic, DType};

use crate::buffer::Buffer;
use crate::element::{Element, through_cell, work_len};
use crate::engine::Engine;
use crate::epilogue::{BLOCK, Forward, GradTarget, partial_len};
use crate::kernels::amx::{Amx, Products};
use crate::kernels::{Isa, sums};
use crate::load::{GradLoad, Load};
use crate::memory::Memory;
use crate::stats;
use crate::threads::{Scratch, ScratchLens, Threads, grown};
use crate::winograd::{self, Tiling};

use blocks::{Cell, for_cells};
use cut::Cut;
use direction::{Direction, Means};
use finished::Finished;
use geometry::Geometry;
use groups::Groups;
use kept::Kept;
use single::Single;
use weight::WeightPass;

/// Plans that outlive an op.
pub(crate) struct Direct {
    enabled: bool,
    winograd: bool,
    /// Whether products of bf16 are computed in pairs, or widened.
    pairs: bool,
    tiles: Tiles,
    plans: HashMap<Conv2d, Arc<Plan>>,
    /// What is also computed backwards, so that its weights change from call to call.
    trained: HashSet<Conv2d>,
    kept: Kept,
}

/// Tiles of AMX, by the type of the elements.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tiles {
    pub(crate) f32: Option<Amx>,
    pub(crate) bf16: Option<Amx>,
}

/// How one convolution is cut in each direction.
struct Plan {
    forward: Direction,
    /// Other ways forward, where there are one picture and no batch sums.
    single: Option<Single>,
    single_tiles: Option<winograd::single::Single>,
    /// Whether finished results go the way of their own.
    finished: bool,
    backward: Direction,
    weight: Cut,
    /// Whether its plain sums multiply pairs of bf16.
    weight_pairs: bool,
    weight_amx: Option<(Amx, Cut)>,
    weight_tiles: Option<(Tiling, Cut)>,
    /// Both gradients at once, of a window of one pixel.
    point: Option<point::Cut>,
}

impl Plan {
    fn new(op: &Conv2d, means: Means) -> Self {
        let (forward, backward) = (Direction::forward(op, means), Direction::backward(op, means));
        let (geometry, groups) = (&forward.geometry, Groups::forward(op));
        let weight_pairs = means.pairs && !gather::is_shallow(&groups, (op.r(), op.s()));
        let amx = means.amx.filter(|a| amx::serves_weight(*a, &groups, geometry, op.n(), op.k()));
        let tiling = means.winograd.then(|| winograd::weight_tiling(op, geometry, means.pairs)).flatten();
        let amx = amx.and_then(|amx| amx.beside(tiling.is_some()));
        let tiling = tiling.filter(|_| amx.is_none());
        Plan {
            weight: match weight_pairs {
                true => weight::cut::<bf16>(op, geometry),
                false => weight::cut::<f32>(op, geometry),
            },
            weight_pairs,
            weight_amx: amx.map(|a| (a, amx::weight::cut(a, op, geometry))),
            weight_tiles: tiling.map(|t| (t, winograd::weight::cut(op, geometry, t))),
            finished: forward.sums_taps() && finished::serves(op),
            // Tiles of AMX compute each gradient by itself.
            point: point::Cut::backward(op).filter(|_| amx.is_none() && !backward.is_by_amx()),
            single: Single::plan(op).filter(|_| forward.sums_all_taps()),
            single_tiles: forward.tiling().and_then(|t| winograd::single::Single::plan(op, t)),
            forward,
            backward,
        }
    }
}

/// Memory that one op needs in any direction.
pub(crate) struct Need {
    /// Per thread.
    pub(crate) scratch: ScratchLens,
    pub(crate) partials: usize,
    pub(crate) weights: usize,
    pub(crate) panels: usize,
    pub(crate) weight_partials: usize,
}

impl Direct {
    /// Whether these kernels compute at all, whether they may use fast algorithms, and whether they multiply bf16 in pairs.
    pub(crate) fn new(enabled: bool, winograd: bool, pairs: bool, tiles: Tiles) -> Self {
        Self {
            enabled,
            winograd,
            pairs,
            tiles,
            plans: HashMap::new(),
            trained: HashSet::new(),
            kept: Kept::default(),
        }
    }

    /// Whether these kernels compute at all, or `matrixmultiply`.
    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether fast algorithms are used.
    pub(crate) fn winograd(&self) -> bool {
        self.winograd
    }

    /// Uses fast algorithms from here on.
    pub(crate) fn use_winograd(&mut self) {
        self.winograd = self.enabled;
        self.plans.clear();
    }

    /// The tiles of AMX that are used, those of f32 if there are such.
    pub(crate) fn tiles(&self) -> Option<Amx> {
        self.tiles.f32.or(self.tiles.bf16)
    }

    fn tiles_of(&self, op: &Conv2d) -> Option<Amx> {
        if op.dtype() == DType::Bf16 { self.tiles.bf16 } else { self.tiles.f32 }
    }

    /// Whether these kernels compute an op: all convolutions but those with very large windows and groups of odd sizes.
    pub(crate) fn handles(&self, op: &Conv2d) -> bool {
        self.enabled && Groups::fit(op) && op.r() * op.s() <= gather::MAX_TAPS
    }

    /// How an op's products are summed.
    pub(crate) fn arithmetic(&self, op: &Op) -> Arithmetic {
        let (Op::Conv2d(conv) | Op::Conv2dBackwardData(conv) | Op::Conv2dBackwardWeight(conv)) = op else {
            return Arithmetic::Sums;
        };
        if !self.handles(conv) {
            return Arithmetic::Sums;
        }
        let (n, c, k) = (conv.n(), conv.c(), conv.k());
        let (forward, backward) = (Geometry::forward(conv), Geometry::backward(conv));
        let (reads, writes) = (Groups::forward(conv), Groups::backward(conv));
        let served = |amx: &Amx| match op {
            Op::Conv2dBackwardData(_) => amx::serves(*amx, &writes, &backward, n, c),
            Op::Conv2dBackwardWeight(_) => amx::serves_weight(*amx, &reads, &forward, n, k),
            _ => amx::serves(*amx, &reads, &forward, n, k),
        };
        let pairs = self.in_pairs(conv);
        let tiling = match op {
            _ if !self.winograd => None,
            Op::Conv2dBackwardData(_) => winograd::tiling(conv, &backward, true, pairs),
            Op::Conv2dBackwardWeight(_) => winograd::weight_tiling(conv, &forward, pairs),
            _ => winograd::tiling(conv, &forward, false, pairs),
        };
        let amx = self.tiles_of(conv).filter(served);
        match (amx.and_then(|amx| amx.beside(tiling.is_some())), tiling) {
            (Some(amx), _) if amx.products() == Products::One => Arithmetic::Sums,
            (Some(amx), _) => Arithmetic::Pieces { products: amx.products().count() },
            (None, Some(tiling)) => Arithmetic::Winograd { tile: tiling.m() },
            (None, None) => Arithmetic::Sums,
        }
    }

    /// Whether products of an op may be of pairs of bf16.
    fn in_pairs(&self, op: &Conv2d) -> bool {
        self.pairs && op.dtype() == DType::Bf16
    }

    /// What an op may be computed by.
    fn means(&self, op: &Conv2d) -> Means {
        Means { winograd: self.winograd, pairs: self.in_pairs(op), amx: self.tiles_of(op) }
    }

    fn plan(&mut self, op: &Conv2d) -> Arc<Plan> {
        let means = self.means(op);
        Arc::clone(self.plans.entry(*op).or_insert_with(|| Arc::new(Plan::new(op, means))))
    }

    /// Whether both gradients of an op are computed at once.
    pub(crate) fn joins_backward(&self, op: &Conv2d) -> bool {
        let joins = |plan: &Plan| plan.point.is_some();
        let planned =
            || self.plans.get(op).map_or_else(|| joins(&Plan::new(op, self.means(op))), |plan| joins(plan));
        self.handles(op) && planned()
    }

    /// Says that an op is computed backwards too.
    pub(crate) fn train(&mut self, op: &Conv2d) {
        self.trained.insert(*op);
    }

    /// Bytes of weights that stay arranged.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// Plans an op, and says what memory it needs.
    pub(crate) fn prepare(&mut self, op: &Conv2d) -> Need {
        let plan = self.plan(op);
        let (forward, backward) = (&plan.forward, &plan.backward);
        let mut need = Need {
            scratch: ScratchLens {
                b: BLOCK.max(op.c()),
                work: work_len(op.dtype(), forward.cell_len().max(backward.cell_len())),
                ..ScratchLens::default()
            },
            partials: (forward.grid().len() * 3 * op.k()).max(backward.grid().len() * partial_len(op.c())),
            weights: forward.weights_len().max(backward.weights_len()),
            panels: forward.panels_len().max(backward.panels_len()),
            weight_partials: 0,
        };
        if let Some(single) = &plan.single {
            need.scratch.a = single.output_len(op);
            need.weight_partials = single.input_len(op);
            need.partials = need.partials.max(op.k());
        }
        if let Some(single) = &plan.single_tiles {
            need.scratch.grow(&single.scratch(op));
            need.weight_partials = single.input_len();
            need.partials = need.partials.max(op.k());
        }
        if plan.finished {
            need.scratch.grow(&finished::scratch(op));
            need.partials = need.partials.max(finished::grid(op).len());
        }
        need.scratch.grow(&forward.scratch());
        need.scratch.grow(&backward.scratch());
        let panels = forward.panels_len();
        if let Some(cut) = &plan.point {
            need.scratch.grow(&cut.scratch(op));
            need.partials = need.partials.max(cut.n_chunks() * partial_len(op.c()));
            need.weight_partials = need.weight_partials.max(cut.n_chunks() * panels);
        }
        let n_chunks = match &plan.weight_tiles {
            Some((tiling, cut)) => {
                need.scratch.grow(&cut.scratch);
                need.weight_partials =
                    need.weight_partials.max(cut.n_chunks * winograd::weight::sums_len(op, *tiling));
                cut.n_chunks
            }
            None => {
                let cut = plan.weight_amx.as_ref().map_or(&plan.weight, |(_, cut)| cut);
                need.scratch.grow(&cut.scratch);
                need.weight_partials = need.weight_partials.max(cut.n_chunks * panels);
                cut.n_chunks
            }
        };
        need.partials = need.partials.max(n_chunks * op.k());
        need
    }
}

/// `y` and its batch sums.
pub(crate) fn forward<E: Element>(
    engine: &mut Engine,
    op: &Conv2d,
    x: Load<'_, E>,
    w: &Buffer,
    epilogue: &Forward<'_, E>,
    y: &mut [E],
    sums: Option<&mut [f64]>,
) {
    let plan = engine.direct.plan(op);
    let Engine { isa, threads, direct, partials, weights, panels, weight_partials, .. } = engine;
    let (k, isa, forward) = (op.k(), *isa, &plan.forward);
    let len = forward.weights_len();
    let mut arrange =
        |out: &mut [f32]| forward.arrange(threads, isa, op, w.f32(op.w_desc().len()), panels, out);
    let weights = if direct.trained.contains(op) {
        let weights = weights.take(len);
        arrange(weights);
        weights
    } else {
        direct.kept.get(op, w, len, arrange)
    };
    let finished = plan.finished && epilogue.finish.is_some();
    let by_rows = finished && finished::prefers_rows(op);
    if let Some(single) = plan.single.as_ref().filter(|_| sums.is_none() && !by_rows) {
        let input = weight_partials.take(single.input_len(op));
        let partials = grown(partials, k);
        return single.forward((threads, op), &x, weights, input, epilogue, partials, y);
    }
    if let Some(single) = plan.single_tiles.as_ref().filter(|_| sums.is_none()) {
        let values = weight_partials.take(single.input_len());
        let (partials, of) = (grown(partials, k), (&*threads, op, &forward.geometry));
        return single.forward(of, &x, weights, values, epilogue, partials, y);
    }
    if finished {
        let grid = finished::grid(op);
        let partials = grown(partials, grid.len());
        for_cells(threads, grid, k, y, partials, 1, |cell, _, scratch| match forward.multiplies_pairs() {
            true => {
                Finished::<_, bf16, _> { op, rows: x, panels: bytemuck::cast_slice(weights), end: epilogue }
                    .cell(cell, scratch)
            }
            false => Finished { op, rows: x, panels: weights, end: epilogue }.cell(cell, scratch),
        });
        return;
    }
    let grid = forward.grid();
    let partials = grown(partials, grid.len() * 3 * k);
    for_cells(threads, grid, k, y, partials, 3 * k, |cell, partial, scratch| {
        let pictures = cell.pictures.clone();
        let rows = |pixel: usize| pixel * op.n() + pictures.start..pixel * op.n() + pictures.end;
        let end = cell.pixels.end;
        let compute = |cell: &mut Cell<'_, f32>, scratch: &mut Scratch| {
            forward.cell(isa, x, weights, false, cell, scratch);
            rows(cell.pixels.start).for_each(|row| epilogue.prefetch(row, 0..k));
        };
        let finish = |pixel: usize, values: &mut [f32], _: &mut Scratch| {
            if pixel + 1 < end {
                rows(pixel + 1).for_each(|row| epilogue.prefetch(row, 0..k));
            }
            epilogue.finish(values, k, rows(pixel).start, 0..k);
        };
        through_cell(isa, cell, false, scratch, compute, finish, |_, _| {});
        if epilogue.sums {
            moments(isa, cell, k, partial);
        }
    });
    if let Some(sums) = sums {
        stats::merge_moments_of(&engine.partials, 3 * k, (0..grid.len()).map(|i| grid.rows(i)), sums);
    }
}

/// Mean and squared deviations of the rows of a cell, to the first `2 · c` of `partial`.
fn moments<E: Element>(isa: Isa, cell: &mut Cell<'_, E>, c: usize, partial: &mut [f64]) {
    let rows = (cell.pixels.len() * cell.pictures.len()) as f64;
    let (pivot, rest) = partial.split_at_mut(c);
    let (sum, squares) = rest.split_at_mut(c);
    for (pivot, v) in pivot.iter_mut().zip(cell.at(cell.pixels.start)) {
        *pivot = f64::from(v.widen());
    }
    for pixel in cell.pixels.clone() {
        sums::add_deviations(isa, cell.at(pixel), pivot, sum, squares);
    }
    for i in 0..c {
        let d = sum[i] / rows;
        let spread = squares[i] - sum[i] * d;
        pivot[i] += d;
        // Rounding may leave it a hair below zero; a NaN stays a NaN.
        sum[i] = if spread < 0.0 { 0.0 } else { spread };
    }
}

/// `dx`, masked and summed.
pub(crate) fn backward_data<E: Element>(
    engine: &mut Engine,
    op: &Conv2d,
    dy: GradLoad<'_, E>,
    w: &[f32],
    target: GradTarget<'_, E>,
) {
    let plan = engine.direct.plan(op);
    let (c, isa, backward) = (op.c(), engine.isa, &plan.backward);
    let weights = engine.weights.take(backward.weights_len());
    backward.arrange(&engine.threads, isa, op, w, &mut engine.panels, weights);
    let GradTarget { dx, add, epilogue, sums } = target;
    let grid = backward.grid();
    let len = partial_len(c);
    let partials = grown(&mut engine.partials, grid.len() * len);
    for_cells(&engine.threads, grid, c, dx, partials, len, |cell, partial, scratch| {
        let pictures = cell.pictures.clone();
        let rows = |pixel: usize| pixel * op.n() + pictures.start..pixel * op.n() + pictures.end;
        let end = cell.pixels.end;
        let compute = |cell: &mut Cell<'_, f32>, scratch: &mut Scratch| {
            backward.cell(isa, dy, weights, add, cell, scratch);
            epilogue.prefetch(rows(cell.pixels.start));
        };
        let finish = |pixel: usize, values: &mut [f32], scratch: &mut Scratch| {
            if pixel + 1 < end {
                epilogue.prefetch(rows(pixel + 1));
            }
            epilogue.finish(values, rows(pixel).start, scratch);
        };
        let stored = |pixel, values: &[E]| epilogue.take_sums(values, rows(pixel).start, partial);
        through_cell(isa, cell, add, scratch, compute, finish, stored);
    });
    sums.merge(c, &engine.partials[..grid.len() * len]);
}

/// `dw` and `dbias`.
pub(crate) fn backward_weight<E: Element>(
    engine: &mut Engine,
    op: &Conv2d,
    x: Load<'_, E>,
    dy: GradLoad<'_, E>,
    dw: &mut [f32],
    dbias: Option<&mut [f32]>,
    add: bool,
) {
    let plan = engine.direct.plan(op);
    let Engine { isa, threads, partials, panels, weight_partials, .. } = engine;
    let (isa, k, geometry, with_bias) = (*isa, op.k(), &plan.forward.geometry, dbias.is_some());
    let panels_len = plan.forward.panels_len();
    let (used, groups) = (&plan.forward.used[..], Groups::forward(op));
    let biases = if let Some((tiling, cut)) = plan.weight_tiles {
        let pass = winograd::weight::WeightPass { isa, op, geometry, tiling, cut, x, dy, with_bias };
        let len = winograd::weight::sums_len(op, tiling);
        let of = (cut.n_chunks, len, k);
        let (sums, biases) = by_chunks(threads, of, weight_partials, partials, |i, sums, dbias, scratch| {
            pass.chunk(i, sums, dbias, scratch);
        });
        let panels = panels.take(panels_len);
        winograd::weight::finish(threads, isa, tiling, op.c(), sums, len, panels);
        let all = 0..op.r() * op.s() * op.c();
        panels::reduce(threads, op, std::slice::from_ref(&all), panels, dw, add);
        biases
    } else {
        let cut = plan.weight_amx.map_or(plan.weight, |(_, cut)| cut);
        let amx = plan.weight_amx.map(|(amx, _)| amx::weight::WeightPass {
            isa,
            amx,
            op,
            geometry,
            cut,
            x,
            dy,
            with_bias,
        });
        let pass = WeightPass { isa, op, geometry, groups, used, cut, x, dy, with_bias };
        let of = (cut.n_chunks, panels_len, k);
        let (sums, biases) =
            by_chunks(threads, of, weight_partials, partials, |i, dw, dbias, scratch| {
                match (&amx, plan.weight_pairs) {
                    (Some(pass), _) => pass.chunk(i, dw, dbias, scratch),
                    (None, true) => pass.chunk::<bf16>(i, dw, dbias, scratch),
                    (None, false) => pass.chunk::<f32>(i, dw, dbias, scratch),
                }
            });
        match op.groups() {
            1 => panels::reduce(threads, op, used, sums, dw, add),
            _ => panels::reduce_grouped(threads, &groups, op, sums, dw, add),
        }
        biases
    };
    if let Some(dbias) = dbias {
        stats::merge_bias(biases, k, dbias, add);
    }
}

/// `dx`, masked by the sign of `x` and summed, and `dw`, of an op that [joins them](Direct::joins_backward).
pub(crate) fn backward(
    engine: &mut Engine,
    op: &Conv2d,
    (x, dy): (Load<'_, f32>, GradLoad<'_, f32>),
    w: &[f32],
    target: GradTarget<'_, f32>,
    (dw, add): (&mut [f32], bool),
) {
    let plan = engine.direct.plan(op);
    let Engine { isa, threads, partials, weights, panels, weight_partials, .. } = engine;
    let Some(cut) = plan.point else { return };
    let (isa, c, len, sums_len) = (*isa, op.c(), partial_len(op.c()), plan.forward.panels_len());
    let weights = weights.take(plan.backward.weights_len());
    plan.backward.arrange(threads, isa, op, w, panels, weights);
    let n_chunks = cut.n_chunks();
    let (partials, products) = (grown(partials, n_chunks * len), weight_partials.take(n_chunks * sums_len));
    let GradTarget { dx, add: add_dx, epilogue, sums } = target;
    let pass = point::backward::Pass { isa, op, cut, x, dy, weights, add: add_dx, epilogue };
    let chunks = dx.chunks_mut(cut.chunk_rows() * c).zip(products.chunks_exact_mut(sums_len));
    threads.run(
        chunks.zip(partials.chunks_exact_mut(len)).enumerate(),
        |(i, ((dx, dw), partial)), scratch| {
            partial.fill(0.0);
            pass.chunk(i, dx, dw, partial, scratch);
        },
    );
    sums.merge(c, partials);
    panels::reduce(threads, op, &plan.forward.used, products, dw, add);
}

/// Runs a pass over chunks of the batch. Each has `len` sums and `k` sums for the bias to itself; all of them come back, chunk
/// after chunk.
fn by_chunks<'p>(
    threads: &Threads,
    (n_chunks, len, k): (usize, usize, usize),
    weights: &'p mut Memory,
    biases: &'p mut Vec<f64>,
    pass: impl Fn(usize, &mut [f32], &mut [f64], &mut Scratch) + Sync,
) -> (&'p mut [f32], &'p mut [f64]) {
    let (sums, biases) = (weights.take(n_chunks * len), grown(biases, n_chunks * k));
    let chunks = sums.chunks_exact_mut(len).zip(biases.chunks_exact_mut(k)).enumerate();
    threads.run(chunks, |(i, (sums, dbias)), scratch| pass(i, sums, dbias, scratch));
    (sums, biases)
}
