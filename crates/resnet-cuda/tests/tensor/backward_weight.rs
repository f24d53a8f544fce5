//! Gradient of the weights: prologues on both operands, shares, accumulation.

use proptest::prelude::*;
use resnet_core::op::Conv2d;
use resnet_cuda::tensor::Device;
use resnet_cuda::tensor::backward_weight::{BackwardWeight, Operands};
use resnet_cuda::tensor::tile::Tile;

use crate::cases::{check, conv, for_each_tap, pointwise, source_form, weight_kernel, wgmma_kernel};
use crate::lab::{Data, Lab, SourceForm, with_hopper_lab, with_lab};
use crate::near::{Dot, Near};

#[derive(Clone, Copy, Debug)]
struct Form {
    x: SourceForm,
    norm: bool,
    accumulate: bool,
    multiprocessors: usize,
}

fn form() -> impl Strategy<Value = Form> {
    (source_form(), any::<bool>(), any::<bool>(), prop::sample::select(vec![1usize, 4, 132]))
        .prop_map(|(x, norm, accumulate, multiprocessors)| Form { x, norm, accumulate, multiprocessors })
}

#[test]
fn matches_f64_within_its_bound() {
    check((conv(), weight_kernel(), form(), any::<u64>()), |(op, (element, tile), form, seed)| {
        with_lab(element, |lab| case(lab, &op, tile, form, seed));
    });
}

#[test]
fn on_hopper_matches_f64_within_its_bound() {
    check((pointwise(), wgmma_kernel(), form(), any::<u64>()), |(op, (element, tile), form, seed)| {
        with_hopper_lab(element, |lab| case(lab, &op, tile, form, seed));
    });
}

fn case(lab: &mut Lab, op: &Conv2d, tile: Tile, form: Form, seed: u64) {
    let mut data = Data(seed);
    let (x, x_values) = lab.source(&mut data, form.x, op.n() * op.h() * op.w(), op.c());
    let (dy, dy_values) = lab.gradient(&mut data, form.norm, op.n() * op.p() * op.q(), op.k());
    let device = Device { multiprocessors: form.multiprocessors };
    let plan = BackwardWeight::with_tile(*op, lab.element, tile, device).expect("is supported");
    let n = op.w_desc().len();
    let old = form.accumulate.then(|| lab.floats(data.many(n)));
    let dw = old.as_ref().map_or_else(|| lab.alloc(4 * n), |old| old.memory.clone());
    let scratch = lab.alloc(plan.scratch_bytes());
    let operands =
        Operands { x, dy, dw: dw.address(), accumulate: form.accumulate, scratch: scratch.address() };
    lab.run(&plan.steps(&operands));

    let mut dots = vec![Dot::default(); n];
    for_each_tap(op, |x_pixel, y_pixel, tap| {
        for k in 0..op.k() {
            let dy = lab.operand(dy_values[y_pixel * op.k() + k], form.norm);
            for c in 0..op.c() {
                let x = lab.operand(x_values[x_pixel * op.c() + c], form.x.evaluates());
                dots[(k * op.r() * op.s() + tap) * op.c() + c].add(dy, x);
            }
        }
    });
    let got = lab.read_floats(&dw, n);
    for (i, dot) in dots.iter().enumerate() {
        let mut wanted = dot.total(plan.n_shares());
        if let Some(old) = &old {
            wanted = wanted.plus(Near::exact(old.values[i]));
        }
        assert!(wanted.holds(got[i]), "element {i}: {} where {wanted:?} was wanted", got[i]);
    }
}
