//! Convolution with micro-kernels of our own: sums stay in registers over all taps, operands in cache, padding is skipped.
//!
//! Read in this order:
//! - [`geometry`]: which input pixels an output pixel reads.
//! - [`panels`]: weights as the micro-kernel wants them.
//! - [`blocks`]: how an output is cut into cells that tasks write.
//! - [`gather`]: forward and backward-data. [`weight`]: backward-weight.
//! - this file: the three ops, from checked buffers to finished results.
//!
//! The micro-kernel itself is [`product`](crate::kernels::product).

#[allow(unsafe_code)]
pub(crate) mod blocks;
pub(crate) mod gather;
pub(crate) mod geometry;
pub(crate) mod panels;
pub(crate) mod weight;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use resnet_core::op::Conv2d;

use crate::engine::Engine;
use crate::epilogue::{BLOCK, Forward, GradTarget, partial_len};
use crate::kernels::sums;
use crate::load::{GradLoad, Load};
use crate::stats;
use crate::threads::{ScratchLens, grown};

use blocks::{Cell, for_cells};
use gather::Gather;
use geometry::Geometry;
use weight::WeightPass;

/// Plans that outlive an op.
pub(crate) struct Direct {
    enabled: bool,
    plans: HashMap<Conv2d, Arc<Plan>>,
}

/// How one convolution is cut in each direction.
struct Plan {
    forward: Geometry,
    backward: Geometry,
    /// Stretches of the kernels that are not on padding everywhere.
    forward_used: Vec<Range<usize>>,
    backward_used: Vec<Range<usize>>,
    forward_cut: gather::Cut,
    backward_cut: gather::Cut,
    weight_cut: weight::Cut,
}

/// Memory that one op needs in any direction.
pub(crate) struct Need {
    /// Per thread.
    pub(crate) scratch: ScratchLens,
    pub(crate) partials: usize,
    pub(crate) weights: usize,
    pub(crate) weight_partials: usize,
}

impl Direct {
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, plans: HashMap::new() }
    }

    /// Whether these kernels compute at all, or `matrixmultiply`.
    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether these kernels compute an op: all convolutions but grouped ones, those with very large windows and those of
    /// pictures, whose few channels leave a tap too little to sum over (im2col is 1.5 to 3 times as fast there).
    pub(crate) fn handles(&self, op: &Conv2d) -> bool {
        const MIN_CHANNELS: usize = 5;
        let deep = op.c() >= MIN_CHANNELS || op.r() * op.s() == 1;
        self.enabled && deep && op.groups() == 1 && op.r() * op.s() <= gather::MAX_TAPS
    }

    fn plan(&mut self, op: &Conv2d) -> Arc<Plan> {
        let plan = self.plans.entry(*op).or_insert_with(|| {
            let (forward, backward) = (Geometry::forward(op), Geometry::backward(op));
            Arc::new(Plan {
                forward_cut: gather::Cut::new(&forward, op.n(), op.c()),
                backward_cut: gather::Cut::new(&backward, op.n(), op.k()),
                weight_cut: weight::Cut::new(op, &forward),
                forward_used: forward.used(op.c()),
                backward_used: backward.used(op.k()),
                forward,
                backward,
            })
        });
        Arc::clone(plan)
    }

    /// Plans an op, and says what memory it needs.
    pub(crate) fn prepare(&mut self, op: &Conv2d) -> Need {
        let plan = self.plan(op);
        let taps = op.r() * op.s();
        let (forward, backward, weight) = (&plan.forward_cut, &plan.backward_cut, &plan.weight_cut);
        Need {
            scratch: ScratchLens {
                a: forward.scratch.max(backward.scratch).max(weight.input),
                b: weight.gradient.max(BLOCK).max(op.c()),
                ..ScratchLens::default()
            },
            partials: (forward.grid.len() * 3 * op.k())
                .max(backward.grid.len() * partial_len(op.c()))
                .max(weight.n_chunks * op.k()),
            weights: panels::len(op.k(), taps, op.c()).max(panels::len(op.c(), taps, op.k())),
            weight_partials: weight.n_chunks * panels::len(op.k(), taps, op.c()),
        }
    }
}

/// `y` and its batch sums.
pub(crate) fn forward(
    engine: &mut Engine,
    op: &Conv2d,
    x: Load<'_>,
    w: &[f32],
    epilogue: &Forward<'_>,
    y: &mut [f32],
    sums: Option<&mut [f64]>,
) {
    let plan = engine.direct.plan(op);
    let (k, isa) = (op.k(), engine.isa);
    let panels = engine.weights.take(panels::len(k, op.r() * op.s(), op.c()));
    panels::forward(&engine.threads, op, &plan.forward_used, w, panels);
    let gather = Gather {
        isa,
        n: op.n(),
        depth: op.c(),
        width: k,
        geometry: &plan.forward,
        rows: x,
        panels,
        add: false,
    };
    let grid = plan.forward_cut.grid;
    let partials = grown(&mut engine.partials, grid.len() * 3 * k);
    for_cells(&engine.threads, grid, k, y, partials, 3 * k, |cell, partial, scratch| {
        gather.cell(cell, &mut scratch.a);
        for pixel in cell.pixels.clone() {
            epilogue.add_bias(cell.at(pixel));
        }
        if epilogue.sums {
            moments(isa, cell, k, partial);
        }
    });
    if let Some(sums) = sums {
        stats::merge_moments_of(&engine.partials, 3 * k, (0..grid.len()).map(|i| grid.rows(i)), sums);
    }
}

/// Mean and squared deviations of the rows of a cell, to the first `2 · c` of `partial`.
fn moments(isa: crate::kernels::Isa, cell: &mut Cell<'_>, c: usize, partial: &mut [f64]) {
    let rows = (cell.pixels.len() * cell.pictures.len()) as f64;
    let (pivot, rest) = partial.split_at_mut(c);
    let (sum, squares) = rest.split_at_mut(c);
    for (pivot, v) in pivot.iter_mut().zip(cell.at(cell.pixels.start)) {
        *pivot = f64::from(*v);
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
pub(crate) fn backward_data(
    engine: &mut Engine,
    op: &Conv2d,
    dy: GradLoad<'_>,
    w: &[f32],
    target: GradTarget<'_>,
) {
    let plan = engine.direct.plan(op);
    let c = op.c();
    let panels = engine.weights.take(panels::len(c, op.r() * op.s(), op.k()));
    panels::backward(&engine.threads, op, &plan.backward_used, w, panels);
    let GradTarget { dx, add, epilogue, sums } = target;
    let gather = Gather {
        isa: engine.isa,
        n: op.n(),
        depth: op.k(),
        width: c,
        geometry: &plan.backward,
        rows: dy,
        panels,
        add,
    };
    let grid = plan.backward_cut.grid;
    let len = partial_len(c);
    let partials = grown(&mut engine.partials, grid.len() * len);
    for_cells(&engine.threads, grid, c, dx, partials, len, |cell, partial, scratch| {
        gather.cell(cell, &mut scratch.a);
        for pixel in cell.pixels.clone() {
            let first_row = pixel * op.n() + cell.pictures.start;
            epilogue.finish(cell.at(pixel), first_row, partial, &mut scratch.b);
        }
    });
    sums.merge(c, &engine.partials[..grid.len() * len]);
}

/// `dw` and `dbias`.
pub(crate) fn backward_weight(
    engine: &mut Engine,
    op: &Conv2d,
    x: Load<'_>,
    dy: GradLoad<'_>,
    dw: &mut [f32],
    dbias: Option<&mut [f32]>,
    add: bool,
) {
    let plan = engine.direct.plan(op);
    let (k, cut) = (op.k(), plan.weight_cut);
    let pass = WeightPass {
        isa: engine.isa,
        op,
        geometry: &plan.forward,
        used: &plan.forward_used,
        cut,
        x,
        dy,
        with_bias: dbias.is_some(),
    };
    let len = panels::len(k, op.r() * op.s(), op.c());
    let weights = engine.weight_partials.take(cut.n_chunks * len);
    let biases = grown(&mut engine.partials, cut.n_chunks * k);
    let chunks = weights.par_chunks_exact_mut(len).zip(biases.par_chunks_exact_mut(k)).enumerate();
    engine.threads.run(chunks, |(i, (dw, dbias)), scratch| pass.chunk(i, dw, dbias, scratch));
    panels::reduce(&engine.threads, op, &plan.forward_used, weights, dw, add);
    if let Some(dbias) = dbias {
        stats::merge_bias(biases, k, dbias, add);
    }
}
