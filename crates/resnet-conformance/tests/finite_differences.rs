//! Every backward op of the reference is the derivative of its forward op.
//!
//! For a random linear functional `L = ⟨y, dy⟩` of the output, the backward op claims `dL/dx`.
//! Along a random direction `v` the central difference `(L(x + hv) − L(x − hv)) / 2h` must agree with `⟨dL/dx, v⟩`.
//!
//! The tolerance is derived. Convolutions, pools and sums are linear in each argument, so their difference quotient is exact but for
//! the rounding of `L`, `ε·Σ|terms| / h`; normalisation, softmax and gradient norms add `h²/6` times a third derivative.
//! With `h = 2⁻¹⁷` both are below 1e-9 for the sizes here (`ε·100/h ≈ 3e-9·Σ` relative, `h² = 6e-11`), so 1e-7 of the size of the terms
//! leaves room for third derivatives up to a thousand and still sees any missing factor.
//! Inputs of ReLUs and pools are at least `1/8` from a kink, far more than `h`.

use resnet_conformance::Reference;
use resnet_conformance::data::Data;
use resnet_conformance::reference::Buffer;
use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, MaxPool, PadValue, Padding, SoftmaxCrossEntropy, Targets,
};
use resnet_core::{
    Accumulate, Backend, DType, GradNorm, GradOut, GradSource, GradSums, Residual, Running, Source,
};

const H: f64 = 1.0 / 131_072.0;
const TOLERANCE: f64 = 1e-7;

fn buffer(values: &[f64]) -> Buffer {
    Buffer::from_values(values.to_vec())
}

fn nan(n: usize) -> Buffer {
    Buffer::from_values(vec![f64::NAN; n])
}

fn random(data: &mut Data, n: usize) -> Vec<f64> {
    data.range(n, -1.0, 1.0).into_iter().map(f64::from).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Checks a claimed gradient of `loss` at `x` along several directions.
fn check(what: &str, x: &[f64], claimed: &[f64], loss: impl Fn(&[f64]) -> f64) {
    let data = &mut Data::new(7);
    for round in 0..5 {
        // One direction touches everything, the others one element each.
        let v: Vec<f64> = match round {
            0 => random(data, x.len()),
            _ => {
                let at = data.below(x.len());
                (0..x.len()).map(|i| f64::from(u8::from(i == at))).collect()
            }
        };
        let at = |h: f64| loss(&x.iter().zip(&v).map(|(x, v)| x + h * v).collect::<Vec<_>>());
        let (ahead, behind) = (at(H), at(-H));
        let found = (ahead - behind) / (2.0 * H);
        let wanted = dot(claimed, &v);
        let size: f64 = claimed.iter().zip(&v).map(|(c, v)| (c * v).abs()).sum::<f64>() + ahead.abs();
        let error = (found - wanted).abs();
        assert!(
            error <= TOLERANCE * (size + 1.0),
            "{what}, direction {round}: difference quotient {found}, gradient {wanted}, off by {error:e}"
        );
    }
}

#[test]
fn conv2d() {
    let conv = |x, k, window, stride, padding, groups| {
        Conv2d::new(x, k, window, stride, padding, groups, DType::F32)
    };
    let odd = Padding { top: 2, left: 0, bottom: 1, right: 1 };
    let convolutions = [
        conv((2, 4, 5, 3), 4, (3, 3), 1, Padding::all(1), 1).unwrap(),
        conv((1, 7, 6, 4), 6, (3, 2), 2, odd, 2).unwrap(),
        conv((1, 2, 2, 3), 3, (5, 5), 1, Padding::all(2), 3).unwrap(),
        conv((2, 5, 5, 2), 3, (1, 1), 3, Padding::default(), 1).unwrap(),
    ];
    for op in convolutions {
        let data = &mut Data::new(1);
        let (x, w) = (random(data, op.x_desc().len()), random(data, op.w_desc().len()));
        let (bias, dy) = (random(data, op.k()), random(data, op.y_desc().len()));
        let loss = |x: &[f64], w: &[f64], bias: &[f64]| {
            let mut y = nan(dy.len());
            let (x, w, bias) = (buffer(x), buffer(w), buffer(bias));
            Reference::new().conv2d(&op, Source::raw(&x), &w, Some(&bias), &mut y, None).unwrap();
            dot(y.values(), &dy)
        };
        let (bx, bw, bdy) = (buffer(&x), buffer(&w), buffer(&dy));
        let (mut dx, mut dw, mut dbias) = (nan(x.len()), nan(w.len()), nan(bias.len()));
        let backend = &mut Reference::new();
        backend.conv2d_backward_data(&op, GradSource::raw(&bdy), &bw, GradOut::set(&mut dx)).unwrap();
        let (xs, dys) = (Source::raw(&bx), GradSource::raw(&bdy));
        backend.conv2d_backward_weight(&op, xs, dys, &mut dw, Some(&mut dbias), Accumulate::Set).unwrap();
        check("conv2d, x", &x, dx.values(), |x| loss(x, &w, &bias));
        check("conv2d, w", &w, dw.values(), |w| loss(&x, w, &bias));
        check("conv2d, bias", &bias, dbias.values(), |bias| loss(&x, &w, bias));
    }
}

#[test]
fn max_pool() {
    for pad_value in [PadValue::NegInf, PadValue::Zero] {
        let data = &mut Data::new(2);
        let op = MaxPool::new((2, 5, 4, 3), (3, 3), 2, Padding::all(1), pad_value, DType::F32).unwrap();
        // Eighths, and none of them zero, which ties with the padding.
        let distinct = data.distinct(op.x_desc().len());
        let x: Vec<f64> = distinct.into_iter().map(|v| f64::from(v) + 1.0 / 16.0).collect();
        let dy = random(data, op.y_desc().len());
        let forward = |x: &[f64]| {
            let (mut y, mut index) = (nan(dy.len()), nan(dy.len()));
            Reference::new().max_pool(&op, Source::raw(&buffer(x)), &mut y, Some(&mut index), None).unwrap();
            (y, index)
        };
        let mut dx = nan(x.len());
        let (_, index) = forward(&x);
        let bdy = buffer(&dy);
        Reference::new()
            .max_pool_backward(&op, GradSource::raw(&bdy), &index, GradOut::set(&mut dx))
            .unwrap();
        check("max_pool", &x, dx.values(), |x| dot(forward(x).0.values(), &dy));
    }
}

#[test]
fn avg_pool() {
    let padded = AvgPool::new((2, 5, 4, 3), (3, 3), 2, Padding::all(1), DType::F32).unwrap();
    let global = AvgPool::global((2, 5, 4, 3), DType::F32).unwrap();
    for op in [padded, global] {
        let data = &mut Data::new(3);
        let (x, dy) = (random(data, op.x_desc().len()), random(data, op.y_desc().len()));
        let mut dx = nan(x.len());
        let bdy = buffer(&dy);
        Reference::new().avg_pool_backward(&op, GradSource::raw(&bdy), GradOut::set(&mut dx)).unwrap();
        check("avg_pool", &x, dx.values(), |x| {
            let mut y = nan(dy.len());
            Reference::new().avg_pool(&op, Source::raw(&buffer(x)), &mut y).unwrap();
            dot(y.values(), &dy)
        });
    }
}

/// A block's end: `relu(norm(x) + norm(r))` with batch statistics, differentiated to both raw tensors, both scales and both shifts.
/// It exercises the mask, two sums in one gradient output, and the coefficients A, B and C.
#[test]
fn two_norms_added_under_a_relu() {
    let (n, h, w, c) = (2, 3, 4, 3);
    let (len, m) = (n * h * w * c, n * h * w);
    let op = Combine::new(n, h, w, c, DType::F32).unwrap();
    let norm = BatchNorm::new(c, m, 1e-3, 0.1, true).unwrap();
    let data = &mut Data::new(4);
    let (x, r, dz) = (random(data, len), random(data, len), random(data, len));
    let mut table = |lo, hi| data.range(c, lo, hi).into_iter().map(f64::from).collect::<Vec<_>>();
    let (gamma_x, beta_x) = (table(0.5, 1.5), table(-0.5, 0.5));
    let (gamma_r, beta_r) = (table(0.5, 1.5), table(-0.5, 0.5));

    // Affine and moments of one normalisation.
    let finish = |x: &[f64], gamma: &[f64], beta: &[f64]| {
        let backend = &mut Reference::new();
        let (mut z, mut sums, mut affine, mut moments) = (nan(len), nan(2 * c), nan(2 * c), nan(2 * c));
        let (mut mean, mut var) = (buffer(&vec![0.0; c]), buffer(&vec![1.0; c]));
        backend.combine(&op, Source::raw(&buffer(x)), &mut z, Some(&mut sums)).unwrap();
        let running = Running { mean: &mut mean, var: &mut var };
        let (gamma, beta) = (buffer(gamma), buffer(beta));
        backend.norm_finish(&norm, &sums, &gamma, &beta, running, &mut affine, &mut moments).unwrap();
        (affine, moments)
    };
    let value = |x: &[f64], r: &[f64], tables: [&[f64]; 4], relu: bool| {
        let (affine_x, _) = finish(x, tables[0], tables[1]);
        let (affine_r, _) = finish(r, tables[2], tables[3]);
        let (x, r) = (buffer(x), buffer(r));
        let residual = Some(Residual { raw: &r, affine: Some(&affine_r) });
        let source = Source { raw: &x, affine: Some(&affine_x), residual, relu };
        let mut z = nan(len);
        Reference::new().combine(&op, source, &mut z, None).unwrap();
        z.values().to_vec()
    };
    let tables: [&[f64]; 4] = [&gamma_x, &beta_x, &gamma_r, &beta_r];
    // Where the sum is near the kink no gradient is sent, so that the difference quotient is smooth.
    let clear: Vec<bool> = value(&x, &r, tables, false).iter().map(|z| z.abs() > 1.0 / 64.0).collect();
    let dz: Vec<f64> = dz.iter().zip(&clear).map(|(dz, clear)| if *clear { *dz } else { 0.0 }).collect();
    let loss = |x: &[f64], r: &[f64], tables: [&[f64]; 4]| dot(&value(x, r, tables, true), &dz);

    let backend = &mut Reference::new();
    let (affine_x, moments_x) = finish(&x, &gamma_x, &beta_x);
    let (affine_r, moments_r) = finish(&r, &gamma_r, &beta_r);
    let (bx, br, bdz) = (buffer(&x), buffer(&r), buffer(&dz));
    let (mut g, mut sums_x, mut sums_r) = (nan(len), nan(2 * c), nan(2 * c));
    let residual = Some(Residual { raw: &br, affine: Some(&affine_r) });
    let out = GradOut {
        mask: Some(Source { raw: &bx, affine: Some(&affine_x), residual, relu: false }),
        sums: [
            Some(GradSums { y: &bx, moments: &moments_x, sums: &mut sums_x }),
            Some(GradSums { y: &br, moments: &moments_r, sums: &mut sums_r }),
        ],
        ..GradOut::set(&mut g)
    };
    backend.combine_backward(&op, GradSource::raw(&bdz), out).unwrap();
    let mut to_raw = |y: &Buffer, sums: &Buffer, moments: &Buffer, gamma: &[f64]| {
        let (mut dgamma, mut dbeta, mut coeffs, mut dx) = (nan(c), nan(c), nan(3 * c), nan(len));
        let (dg, db, set, gamma) = (&mut dgamma, &mut dbeta, Accumulate::Set, buffer(gamma));
        backend.norm_backward_finish(&norm, sums, moments, &gamma, dg, db, set, &mut coeffs).unwrap();
        let through = GradSource { dz: &g, norm: Some(GradNorm { coeffs: &coeffs, y }) };
        backend.combine_backward(&op, through, GradOut::set(&mut dx)).unwrap();
        [dgamma, dbeta, dx].map(|b| b.values().to_vec())
    };
    let [dgamma_x, dbeta_x, dx] = to_raw(&bx, &sums_x, &moments_x, &gamma_x);
    let [dgamma_r, dbeta_r, dr] = to_raw(&br, &sums_r, &moments_r, &gamma_r);
    check("norm, x", &x, &dx, |x| loss(x, &r, tables));
    check("norm, residual", &r, &dr, |r| loss(&x, r, tables));
    check("norm, gamma", &gamma_x, &dgamma_x, |t| loss(&x, &r, [t, tables[1], tables[2], tables[3]]));
    check("norm, beta", &beta_x, &dbeta_x, |t| loss(&x, &r, [tables[0], t, tables[2], tables[3]]));
    check("residual norm, gamma", &gamma_r, &dgamma_r, |t| {
        loss(&x, &r, [tables[0], tables[1], t, tables[3]])
    });
    check("residual norm, beta", &beta_r, &dbeta_r, |t| loss(&x, &r, [tables[0], tables[1], tables[2], t]));
}

#[test]
fn softmax_cross_entropy() {
    let (n, n_valid, classes, grad_scale) = (4, 3, 5, 0.5);
    let op = SoftmaxCrossEntropy::new(n, classes, 0.1, DType::F32).unwrap();
    let data = &mut Data::new(5);
    let logits = random(data, n * classes);
    let (a, b) = (buffer(&[0.0, 3.0, 4.0, 1.0]), buffer(&[1.0, 3.0, 2.0, 1.0]));
    let scalars = buffer(&[0.0, 1.0, 1.0, 0.25, grad_scale, f64::INFINITY, 0.0, 0.0]);
    let run = |logits: &[f64]| {
        let (mut d, mut metrics) = (nan(n * classes), nan(4));
        let targets = Targets { a: &a, b: Some(&b), n_valid };
        let (logits, set) = (buffer(logits), Accumulate::Set);
        Reference::new()
            .softmax_cross_entropy(&op, &logits, targets, &scalars, Some(&mut d), &mut metrics, set)
            .unwrap();
        (metrics.values()[0], d.values().to_vec())
    };
    let (_, d) = run(&logits);
    check("softmax cross-entropy", &logits, &d, |x| run(x).0 * grad_scale / n_valid as f64);
}
