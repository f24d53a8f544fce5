//! Forward: output, bias and statistics.

use proptest::prelude::*;
use resnet_core::op::Conv2d;
use resnet_cuda::tensor::Device;
use resnet_cuda::tensor::forward::{Forward, Operands};
use resnet_cuda::tensor::tile::Tile;

use crate::cases::{
    DEVICE, check, conv, device, for_each_tap, gather_kernel, pointwise, source_form, wgmma_kernel,
};
use crate::lab::{Data, Lab, SourceForm, with_hopper_lab, with_lab};
use crate::near::{Dot, Near};

#[derive(Clone, Copy, Debug)]
struct Form {
    x: SourceForm,
    bias: bool,
    statistics: bool,
}

fn form() -> impl Strategy<Value = Form> {
    (source_form(), any::<bool>(), any::<bool>()).prop_map(|(x, bias, statistics)| Form {
        x,
        bias,
        statistics,
    })
}

#[test]
fn matches_f64_within_its_bound() {
    check((conv(), gather_kernel(), form(), any::<u64>()), |(op, (element, tile), form, seed)| {
        with_lab(element, |lab| case(lab, &op, tile, DEVICE, form, seed));
    });
}

#[test]
fn on_hopper_matches_f64_within_its_bound() {
    let strategy = (pointwise(), wgmma_kernel(), device(), form(), any::<u64>());
    check(strategy, |(op, (element, tile), device, form, seed)| {
        with_hopper_lab(element, |lab| case(lab, &op, tile, device, form, seed));
    });
}

fn case(lab: &mut Lab, op: &Conv2d, tile: Tile, device: Device, form: Form, seed: u64) {
    let mut data = Data(seed);
    let (x, values) = lab.source(&mut data, form.x, op.n() * op.h() * op.w(), op.c());
    let w = lab.floats(data.many(op.w_desc().len()));
    let bias = form.bias.then(|| lab.floats(data.many(op.k())));
    let plan = Forward::with_tile(*op, lab.element, tile, device).expect("is supported");
    let y = lab.out(op.y_desc().len());
    let partials = lab.alloc(plan.n_tiles() * 3 * op.k() * 4);
    let scratch = lab.alloc(plan.scratch_bytes());
    lab.run(&plan.steps(&Operands {
        x,
        w: w.address(),
        packed: 0,
        bias: bias.as_ref().map_or(0, |bias| bias.address()),
        y: y.address(),
        partials: if form.statistics { partials.address() } else { 0 },
        scratch: scratch.address(),
    }));

    let mut dots = vec![Dot::default(); op.y_desc().len()];
    for_each_tap(op, |x_pixel, y_pixel, tap| {
        for k in 0..op.k() {
            for c in 0..op.c() {
                let x = lab.operand(values[x_pixel * op.c() + c], form.x.evaluates());
                let w = Near::exact(w.values[(k * op.r() * op.s() + tap) * op.c() + c]);
                dots[y_pixel * op.k() + k].add(x, w);
            }
        }
    });
    let got = lab.read(&y, op.y_desc().len());
    for (i, dot) in dots.iter().enumerate() {
        let mut wanted = dot.total(0);
        if let Some(bias) = &bias {
            wanted = wanted.plus(Near::exact(bias.values[i % op.k()]));
        }
        let wanted = wanted.stored(lab.element);
        assert!(wanted.holds(got[i]), "element {i}: {} where {wanted:?} was wanted", got[i]);
    }
    if form.statistics {
        let partials = lab.read_floats(&partials, plan.n_tiles() * 3 * op.k());
        check_statistics(op.k(), &got, &partials);
    }
}

/// Statistics of the values that were written. Each tile's are exact but for f32 sums of at most 64 differences of one thread and 32
/// merges, each an addition of rounded terms: 128 roundings at most, relative to the range of the values.
fn check_statistics(k: usize, y: &[f64], partials: &[f64]) {
    const ROUNDINGS: f64 = 128.0 / (1u64 << 24) as f64;
    for channel in 0..k {
        let values: Vec<f64> = y.iter().skip(channel).step_by(k).copied().collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let m2: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let range = 2.0 * values.iter().fold(0.0, |most, v| f64::max(most, v.abs()));

        let tile = |t: usize, row: usize| partials[(t * 3 + row) * k + channel];
        let tiles = partials.len() / (3 * k);
        let count: f64 = (0..tiles).map(|t| tile(t, 0)).sum();
        assert_eq!(count, n);
        let got = (0..tiles).map(|t| tile(t, 0) * tile(t, 1)).sum::<f64>() / n;
        assert!((got - mean).abs() <= ROUNDINGS * range, "channel {channel}: mean {got}, wanted {mean}");
        let between = |t: usize| tile(t, 0) * (tile(t, 1) - got).powi(2);
        let got: f64 = (0..tiles).map(|t| tile(t, 2) + between(t)).sum();
        assert!(
            (got - m2).abs() <= ROUNDINGS * range * range * n,
            "channel {channel}: m2 {got}, wanted {m2}"
        );
    }
}
