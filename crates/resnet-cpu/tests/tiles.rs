//! Convolutions large enough to be cut into several tiles, chunks and blocks, against plain loops.
//! The conformance suite has the small and odd shapes.
#![allow(clippy::unwrap_used)] // a failure is a failed test

mod common;

use common::{backend, kernels, read, seeded, zeros};
use resnet_core::op::{BatchNorm, Conv2d, Op, Padding};
use resnet_core::{
    Accumulate, Arithmetic, Backend, DType, GradNorm, GradOut, GradSource, GradSums, Residual, Running,
    Source, TensorDesc,
};
use resnet_cpu::CpuBackend;

/// Pictures, extent, channels, kernels, window, stride, padding, groups.
type Case = (usize, usize, usize, usize, usize, usize, usize, usize);

const CASES: [Case; 10] = [
    (300, 3, 20, 40, 3, 1, 1, 1),  // pictures cut at a multiple of nothing
    (257, 2, 7, 9, 3, 2, 1, 1),    // a prime number of pictures over two tiles
    (40, 7, 1, 16, 7, 2, 3, 1),    // the stem: taps share a panel
    (1, 19, 33, 17, 3, 1, 1, 1),   // one picture: tiles of many pixels
    (6, 12, 8, 600, 1, 1, 0, 1),   // three blocks of kernels, plain product
    (5, 9, 24, 36, 3, 2, 1, 4),    // groups
    (33, 5, 12, 12, 3, 1, 1, 12),  // depthwise
    (130, 1, 64, 300, 1, 1, 0, 1), // fully connected
    (65, 3, 32, 32, 3, 1, 1, 1),   // enough pictures for Winograd's algorithm in two directions of three
    (20, 4, 70, 6, 3, 3, 2, 1),    // padding beyond the window's half: tiles without any tap
];

fn op((n, h, c, k, r, stride, padding, groups): Case, dtype: DType) -> Conv2d {
    Conv2d::new((n, h, h + 1, c), k, (r, r), stride, Padding::all(padding), groups, dtype).unwrap()
}

/// Runs a test on all kernels, over f32 and over bf16.
fn for_all(test: fn(&mut CpuBackend, DType)) {
    for kernel in kernels() {
        [DType::F32, DType::Bf16].into_iter().for_each(|dtype| test(&mut backend(2, kernel), dtype));
    }
}

/// Calls `f(y index, x index, w index)` for every product of a convolution.
fn products(op: &Conv2d, mut f: impl FnMut(usize, usize, usize)) {
    let (cg, kg) = (op.c() / op.groups(), op.k() / op.groups());
    let pad = op.padding();
    for n in 0..op.n() {
        for p in 0..op.p() {
            for q in 0..op.q() {
                for r in 0..op.r() {
                    for s in 0..op.s() {
                        let (i, j) = (p * op.stride() + r, q * op.stride() + s);
                        if i < pad.top || j < pad.left || i - pad.top >= op.h() || j - pad.left >= op.w() {
                            continue;
                        }
                        let x = ((n * op.h() + i - pad.top) * op.w() + j - pad.left) * op.c();
                        let y = ((n * op.p() + p) * op.q() + q) * op.k();
                        for k in 0..op.k() {
                            for c in 0..cg {
                                let w = ((k * op.r() + r) * op.s() + s) * cg + c;
                                f(y + k, x + k / kg * cg + c, w);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every element within a few roundings of the sum of the magnitudes of its terms.
fn close(b: &CpuBackend, what: &str, op: &Conv2d, got: &[f32], want: &[(f64, f64)]) {
    // bf16 rounds both factors of a product and, at most, the result, by 2⁻⁸ each.
    let narrow = if op.dtype() == DType::Bf16 { 3.0 / 256.0 + 4.0 / 65_536.0 } else { 0.0 };
    // Three products of two pieces leave out up to 3 · 2⁻¹⁶ of a term.
    let ops = [Op::Conv2d(*op), Op::Conv2dBackwardData(*op), Op::Conv2dBackwardWeight(*op)];
    let three = ops.iter().any(|op| b.arithmetic(op) == Arithmetic::Pieces { products: 3 });
    let unit = if three { 5e-5 } else { 4e-6 };
    for (i, (&g, &(w, magnitude))) in got.iter().zip(want).enumerate() {
        let bound = (unit + narrow) * magnitude + 1e-12;
        assert!(
            (f64::from(g) - w).abs() <= bound,
            "{what} of {op:?}, element {i}: {g} for {w}, bound {bound}"
        );
    }
}

fn add((sum, magnitude): &mut (f64, f64), term: f64) {
    *sum += term;
    *magnitude += term.abs();
}

#[test]
fn forward_with_every_part_of_a_source_and_sums() {
    for_all(forward);
}

fn forward(b: &mut CpuBackend, dtype: DType) {
    for case in CASES {
        let op = op(case, dtype);
        let (raw, raw_v) = seeded(b, op.x_desc(), 1);
        let (res, res_v) = seeded(b, op.x_desc(), 2);
        let (t, t_v) = seeded(b, TensorDesc::affine(op.c()), 3);
        let (tr, tr_v) = seeded(b, TensorDesc::affine(op.c()), 4);
        let (w, w_v) = seeded(b, op.w_desc(), 5);
        let (bias, bias_v) = seeded(b, op.bias_desc(), 6);
        let mut y = zeros(b, op.y_desc());
        let mut sums = zeros(b, TensorDesc::sums(op.k()));
        let residual = Some(Residual { raw: &res, affine: Some(&tr) });
        let x = Source { raw: &raw, affine: Some(&t), residual, relu: true };
        b.conv2d(&op, x, &w, Some(&bias), &mut y, Some(&mut sums)).unwrap();

        let c = op.c();
        let value: Vec<f32> = (0..raw_v.len())
            .map(|i| {
                let ch = i % c;
                (t_v[ch] * raw_v[i] + t_v[c + ch] + (tr_v[ch] * res_v[i] + tr_v[c + ch])).max(0.0)
            })
            .collect();
        let mut want: Vec<(f64, f64)> =
            (0..op.y_desc().len()).map(|i| (f64::from(bias_v[i % op.k()]), 1.0)).collect();
        products(&op, |y, x, w| add(&mut want[y], f64::from(value[x]) * f64::from(w_v[w])));
        let got = read(b, op.y_desc(), &y);
        close(b, "y", &op, &got, &want);

        // The sums, through the only op that reads them.
        let k = op.k();
        let m = got.len() / k;
        let norm = BatchNorm::new(k, m, 1e-5, 1.0, false).unwrap();
        let (gamma, _) = seeded(b, TensorDesc::table(1, k), 7);
        let (mut mean, mut var) = (zeros(b, TensorDesc::table(1, k)), zeros(b, TensorDesc::table(1, k)));
        let (mut affine, mut moments) = (zeros(b, TensorDesc::affine(k)), zeros(b, TensorDesc::moments(k)));
        let running = Running { mean: &mut mean, var: &mut var };
        b.norm_finish(&norm, &sums, &gamma, &gamma, running, &mut affine, &mut moments).unwrap();
        let (mean, var) = (read(b, TensorDesc::table(1, k), &mean), read(b, TensorDesc::table(1, k), &var));
        for ch in 0..k {
            let column = || got.iter().skip(ch).step_by(k).map(|&v| f64::from(v));
            let mu = column().sum::<f64>() / m as f64;
            let sigma2 = column().map(|v| (v - mu) * (v - mu)).sum::<f64>() / m as f64;
            assert!((f64::from(mean[ch]) - mu).abs() <= 1e-7 * (mu.abs() + sigma2.sqrt()), "mean of {op:?}");
            assert!((f64::from(var[ch]) - sigma2).abs() <= 1e-6 * sigma2, "variance of {op:?}");
        }
    }
}

/// One picture and no sums, as in inference: tasks share out channels, with plain sums and by tiles.
const ONE_PICTURE: [Case; 6] = [
    (1, 14, 64, 96, 3, 1, 1, 1),  // by tiles, the last ones of which are not whole
    (1, 17, 128, 64, 3, 1, 0, 1), // by tiles, without padding
    (1, 6, 128, 64, 3, 1, 1, 1),  // too few tiles
    (1, 9, 72, 256, 3, 2, 1, 1),  // windows apart, a task of one panel
    (1, 5, 260, 512, 1, 1, 0, 1), // read as it lies, two panels, a sum in two pieces
    (1, 7, 1100, 64, 1, 2, 0, 1), // pixels between windows
];

#[test]
fn forward_of_one_picture_without_sums() {
    for kernel in kernels() {
        for (case, dtype) in
            ONE_PICTURE.into_iter().flat_map(|case| [(case, DType::F32), (case, DType::Bf16)])
        {
            for relu in [false, true] {
                let run = |threads| one_picture(&mut backend(threads, kernel), &op(case, dtype), relu);
                let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                assert_eq!(bits(run(1)), bits(run(3)), "{kernel}, {case:?}");
            }
        }
    }
}

/// Checks and returns the output, of an input that lies in memory as it is, or of one that is computed.
fn one_picture(b: &mut CpuBackend, op: &Conv2d, relu: bool) -> Vec<f32> {
    let (raw, raw_v) = seeded(b, op.x_desc(), 1);
    let (w, w_v) = seeded(b, op.w_desc(), 2);
    let (bias, bias_v) = seeded(b, op.bias_desc(), 3);
    let mut y = zeros(b, op.y_desc());
    let x = Source { relu, ..Source::raw(&raw) };
    b.conv2d(op, x, &w, relu.then_some(&bias), &mut y, None).unwrap();
    let value = |i: usize| f64::from(if relu { raw_v[i].max(0.0) } else { raw_v[i] });
    let first = |i: usize| if relu { (f64::from(bias_v[i % op.k()]), 1.0) } else { (0.0, 0.0) };
    let mut want: Vec<(f64, f64)> = (0..op.y_desc().len()).map(first).collect();
    products(op, |y, x, w| add(&mut want[y], value(x) * f64::from(w_v[w])));
    let got = read(b, op.y_desc(), &y);
    close(b, "y", op, &got, &want);
    got
}

#[test]
fn backward_data_with_every_part_of_an_output() {
    for_all(backward_data);
}

fn backward_data(b: &mut CpuBackend, dtype: DType) {
    for case in CASES {
        let op = op(case, dtype);
        let (k, c) = (op.k(), op.c());
        let (dz, dz_v) = seeded(b, op.y_desc(), 1);
        let (y, y_v) = seeded(b, op.y_desc(), 2);
        let (coeffs, coeffs_v) = seeded(b, TensorDesc::coeffs(k), 3);
        let (w, w_v) = seeded(b, op.w_desc(), 4);
        let (mut dx, dx_v) = seeded(b, op.x_desc(), 5);
        let (other, other_v) = seeded(b, op.x_desc(), 6);
        let (raw, raw_v) = seeded(b, op.x_desc(), 7);
        let (affine, affine_v) = seeded(b, TensorDesc::affine(c), 8);
        let (moments, moments_v) = seeded(b, TensorDesc::moments(c), 9);
        let (gamma, gamma_v) = seeded(b, TensorDesc::table(1, c), 10);
        let mut sums = zeros(b, TensorDesc::sums(c));
        let dy = GradSource { dz: &dz, norm: Some(GradNorm { coeffs: &coeffs, y: &y }) };
        let out = GradOut {
            dx: &mut dx,
            accumulate: Accumulate::Add,
            add: Some(&other),
            mask: Some(Source { raw: &raw, affine: Some(&affine), residual: None, relu: false }),
            sums: [None, Some(GradSums { y: &raw, moments: &moments, sums: &mut sums })],
        };
        b.conv2d_backward_data(&op, dy, &w, out).unwrap();

        let dy_v: Vec<f32> = (0..dz_v.len())
            .map(|i| coeffs_v[i % k] * dz_v[i] + coeffs_v[k + i % k] * y_v[i] + coeffs_v[2 * k + i % k])
            .collect();
        let mut want: Vec<(f64, f64)> =
            dx_v.iter().zip(&other_v).map(|(&d, &o)| (f64::from(d) + f64::from(o), 2.0)).collect();
        products(&op, |y, x, w| add(&mut want[x], f64::from(dy_v[y]) * f64::from(w_v[w])));
        for (i, want) in want.iter_mut().enumerate() {
            if affine_v[i % c] * raw_v[i] + affine_v[c + i % c] <= 0.0 {
                *want = (0.0, 0.0);
            }
        }
        let got = read(b, op.x_desc(), &dx);
        close(b, "dx", &op, &got, &want);

        // The sums, through the only op that reads them.
        let norm = BatchNorm::new(c, got.len() / c, 1e-5, 0.1, true).unwrap();
        let table = TensorDesc::table(1, c);
        let (mut dgamma, mut dbeta) = (zeros(b, table), zeros(b, table));
        let mut out = zeros(b, TensorDesc::coeffs(c));
        b.norm_backward_finish(
            &norm,
            &sums,
            &moments,
            &gamma,
            &mut dgamma,
            &mut dbeta,
            Accumulate::Set,
            &mut out,
        )
        .unwrap();
        assert_eq!(gamma_v.len(), c);
        let (dgamma, dbeta) = (read(b, table, &dgamma), read(b, table, &dbeta));
        for ch in 0..c {
            let (mut db, mut dg) = ((0.0, 0.0), (0.0, 0.0));
            for i in (ch..got.len()).step_by(c) {
                let centered = f64::from(raw_v[i]) - f64::from(moments_v[ch]);
                add(&mut db, f64::from(got[i]));
                add(&mut dg, f64::from(got[i]) * centered * f64::from(moments_v[c + ch]));
            }
            assert!((f64::from(dbeta[ch]) - db.0).abs() <= 2e-7 * db.1, "dbeta of {op:?}");
            assert!((f64::from(dgamma[ch]) - dg.0).abs() <= 2e-7 * dg.1, "dgamma of {op:?}");
        }
    }
}

#[test]
fn backward_weight_adds_and_takes_the_bias_along() {
    for_all(backward_weight);
}

fn backward_weight(b: &mut CpuBackend, dtype: DType) {
    for case in CASES {
        let op = op(case, dtype);
        let k = op.k();
        let (raw, raw_v) = seeded(b, op.x_desc(), 1);
        let (dz, dz_v) = seeded(b, op.y_desc(), 2);
        let (mut dw, dw_v) = seeded(b, op.w_desc(), 3);
        let (mut dbias, dbias_v) = seeded(b, op.bias_desc(), 4);
        let x = Source { raw: &raw, affine: None, residual: None, relu: true };
        let dy = GradSource::raw(&dz);
        b.conv2d_backward_weight(&op, x, dy, &mut dw, Some(&mut dbias), Accumulate::Add).unwrap();

        let mut want: Vec<(f64, f64)> = dw_v.iter().map(|&v| (f64::from(v), 1.0)).collect();
        products(&op, |y, x, w| add(&mut want[w], f64::from(dz_v[y]) * f64::from(raw_v[x].max(0.0))));
        let got = read(b, op.w_desc(), &dw);
        close(b, "dw", &op, &got, &want);
        let mut want: Vec<(f64, f64)> = dbias_v.iter().map(|&v| (f64::from(v), 1.0)).collect();
        dz_v.iter().enumerate().for_each(|(i, &v)| add(&mut want[i % k], f64::from(v)));
        let got = read(b, op.bias_desc(), &dbias);
        close(b, "dbias", &op, &got, &want);

        // Set forgets what was there, whatever it was.
        let nan = vec![f32::NAN; op.w_desc().len()];
        let mut dw = common::with(b, op.w_desc(), &nan);
        b.conv2d_backward_weight(&op, x, dy, &mut dw, None, Accumulate::Set).unwrap();
        let mut want = vec![(0.0, 0.0); op.w_desc().len()];
        products(&op, |y, x, w| add(&mut want[w], f64::from(dz_v[y]) * f64::from(raw_v[x].max(0.0))));
        let got = read(b, op.w_desc(), &dw);
        close(b, "dw", &op, &got, &want);
    }
}
