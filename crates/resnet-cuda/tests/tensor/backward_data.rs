//! Towards the input: gradient, addition, mask and sums.

use proptest::prelude::*;
use resnet_core::op::Conv2d;
use resnet_cuda::tensor::Device;
use resnet_cuda::tensor::args::{GradOutArgs, GradSumsArgs};
use resnet_cuda::tensor::backward_data::{BackwardData, Operands};
use resnet_cuda::tensor::tile::Tile;

use crate::cases::{
    DEVICE, check, conv, device, for_each_tap, gather_kernel, pointwise, source_form, wgmma_kernel,
};
use crate::lab::{Data, Lab, SourceForm, with_hopper_lab, with_lab};
use crate::near::{Dot, Near};

#[derive(Clone, Copy, Debug)]
struct Form {
    norm: bool,
    accumulate: bool,
    add: bool,
    mask: Option<SourceForm>,
    sums: usize,
}

fn form() -> impl Strategy<Value = Form> {
    (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of(source_form()), 0..=2usize)
        .prop_map(|(norm, accumulate, add, mask, sums)| Form { norm, accumulate, add, mask, sums })
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
    let (pixels, c) = (op.n() * op.h() * op.w(), op.c());
    let (dy, values) = lab.gradient(&mut data, form.norm, op.n() * op.p() * op.q(), op.k());
    let w = lab.floats(data.many(op.w_desc().len()));
    let plan = BackwardData::with_tile(*op, lab.element, tile, device).expect("is supported");

    let old = form.accumulate.then(|| lab.activation(data.many(pixels * c)));
    let dx = old.as_ref().map_or_else(|| lab.out(pixels * c), |old| old.memory.clone());
    let add = form.add.then(|| lab.activation(data.many(pixels * c)));
    let mask = form.mask.map(|mask| lab.source(&mut data, mask, pixels, c));
    let sums: Vec<_> = (0..form.sums)
        .map(|_| {
            let (y, moments) = (lab.activation(data.many(pixels * c)), lab.floats(data.many(2 * c)));
            (y, moments, lab.alloc(plan.n_tiles() * 2 * c * 4))
        })
        .collect();
    let mut out = GradOutArgs::set(dx.address());
    out.accumulate = u32::from(form.accumulate);
    out.add = add.as_ref().map_or(0, |add| add.address());
    if let Some((mask, _)) = &mask {
        out.mask = *mask;
    }
    for (to, (y, moments, partials)) in out.sums.iter_mut().zip(&sums) {
        *to = GradSumsArgs { y: y.address(), moments: moments.address(), partials: partials.address() };
    }
    let scratch = lab.alloc(plan.scratch_bytes());
    lab.run(&plan.steps(&Operands { dy, w: w.address(), packed: 0, dx: out, scratch: scratch.address() }));

    let mut dots = vec![Dot::default(); pixels * c];
    for_each_tap(op, |x_pixel, y_pixel, tap| {
        for k in 0..op.k() {
            let dy = lab.operand(values[y_pixel * op.k() + k], form.norm);
            for i in 0..c {
                let w = Near::exact(w.values[(k * op.r() * op.s() + tap) * c + i]);
                dots[x_pixel * c + i].add(dy, w);
            }
        }
    });
    let got = lab.read(&dx, pixels * c);
    for (i, dot) in dots.iter().enumerate() {
        let mut wanted = dot.total(0);
        for other in [&old, &add].into_iter().flatten() {
            wanted = wanted.plus(Near::exact(other.values[i]));
        }
        let wanted = wanted.stored(lab.element);
        // The gate of a mask is open or closed, or either where its value is too close to zero to tell.
        let gate = mask.as_ref().map_or(Near::exact(1.0), |(_, values)| values[i]);
        let open = gate.value + gate.error > 0.0 && wanted.holds(got[i]);
        let closed = gate.value - gate.error <= 0.0 && got[i] == 0.0;
        assert!(open || closed, "element {i}: {} where {wanted:?} was wanted, gate {gate:?}", got[i]);
    }
    for (y, moments, partials) in &sums {
        let partials = lab.read_floats(partials, plan.n_tiles() * 2 * c);
        check_sums(c, &got, &y.values, &moments.values[..c], &partials);
    }
}

/// Sums of the gradients that were written. An f32 sum of at most 128 rows of a tile, products fused and differences rounded once.
fn check_sums(c: usize, dx: &[f64], y: &[f64], mean: &[f64], partials: &[f64]) {
    const ROUNDINGS: f64 = 130.0 / (1u64 << 24) as f64;
    for channel in 0..c {
        let of_channel = || (channel..dx.len()).step_by(c);
        for row in 0..2 {
            let term = |i: usize| if row == 0 { dx[i] } else { dx[i] * (y[i] - mean[channel]) };
            let wanted: f64 = of_channel().map(term).sum();
            let magnitude: f64 = of_channel().map(|i| term(i).abs()).sum();
            let got: f64 = (0..partials.len() / (2 * c)).map(|t| partials[(t * 2 + row) * c + channel]).sum();
            assert!(
                (got - wanted).abs() <= ROUNDINGS * magnitude,
                "channel {channel}, sum {row}: {got} where {wanted} was wanted"
            );
        }
    }
}
