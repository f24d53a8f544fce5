//! The reference computes what PyTorch computes, op by op, in f64.
//!
//! `golden/ops.json` holds PyTorch's results and `golden/make_ops.py` makes it.
//! Both sides add the same f64 numbers in another order. The longest sum here has 98 terms of size 1, so they may differ by
//! `γ₉₈ · Σ|terms| ≤ 98 · 2⁻⁵³ · 98 = 1.1e-12` (Higham, section 4.2), and by a few roundings more where a division follows.

#![allow(clippy::unwrap_used, reason = "a malformed golden file is a failed test")]

use resnet_conformance::golden::formula;
use resnet_conformance::reference::Buffer;
use resnet_conformance::{Reference, golden};
use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, MaxPool, Metrics, Optimizer, PadValue, Padding, SoftmaxCrossEntropy,
    Targets,
};
use resnet_core::{
    Accumulate, Backend, DType, GradNorm, GradOut, GradSource, GradSums, Param, ParamKind, Running, Source,
    TensorDesc,
};
use serde_json::Value;

const TOLERANCE: f64 = 2e-12;

fn cases(kind: &str) -> Vec<Value> {
    let golden: Value = serde_json::from_str(golden::OPS).unwrap();
    golden[kind].as_array().unwrap().clone()
}

fn int(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn ints<const N: usize>(value: &Value) -> [usize; N] {
    let list: Vec<usize> = value.as_array().unwrap().iter().map(int).collect();
    list.try_into().unwrap()
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(float).collect()
}

/// The script's `tensor`: between −1 and 1, in f32.
fn tensor(name: &str, n: usize) -> Vec<f64> {
    formula(name, n).into_iter().map(|u| f64::from((2.0 * u - 1.0) as f32)).collect()
}

fn named(case: &Value, part: &str, n: usize) -> Buffer {
    Buffer::from_values(tensor(&format!("{}.{part}", case["name"].as_str().unwrap()), n))
}

/// A buffer whose content must not matter.
fn nan(n: usize) -> Buffer {
    Buffer::from_values(vec![f64::NAN; n])
}

fn shape(case: &Value) -> (usize, usize, usize, usize) {
    let [n, h, w, c] = ints(&case["x"]);
    (n, h, w, c)
}

fn padding(case: &Value) -> Padding {
    let [top, left, bottom, right] = ints(&case["padding"]);
    Padding { top, left, bottom, right }
}

fn check(case: &Value, part: &str, got: &[f64]) {
    let wanted = if case[part].is_array() { floats(&case[part]) } else { vec![float(&case[part])] };
    assert_eq!(got.len(), wanted.len(), "{} {part}", case["name"]);
    for (i, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        let error = (got - wanted).abs();
        assert!(
            error <= TOLERANCE,
            "{} {part}[{i}]: got {got}, PyTorch {wanted}, off by {error:e}",
            case["name"]
        );
    }
}

#[test]
fn conv2d() {
    for case in &cases("conv2d") {
        let [r, s] = ints(&case["window"]);
        let (k, stride, groups) = (int(&case["k"]), int(&case["stride"]), int(&case["groups"]));
        let op = Conv2d::new(shape(case), k, (r, s), stride, padding(case), groups, DType::F32).unwrap();
        let backend = &mut Reference::new();
        let x = named(case, "x", op.x_desc().len());
        let w = named(case, "w", op.w_desc().len());
        let bias = named(case, "bias", k);
        let dy = named(case, "dy", op.y_desc().len());
        let (mut y, mut dx) = (nan(op.y_desc().len()), nan(op.x_desc().len()));
        let (mut dw, mut dbias) = (nan(op.w_desc().len()), nan(k));
        backend.conv2d(&op, Source::raw(&x), &w, Some(&bias), &mut y, None).unwrap();
        backend.conv2d_backward_data(&op, GradSource::raw(&dy), &w, GradOut::set(&mut dx)).unwrap();
        let (x, dy) = (Source::raw(&x), GradSource::raw(&dy));
        backend.conv2d_backward_weight(&op, x, dy, &mut dw, Some(&mut dbias), Accumulate::Set).unwrap();
        check(case, "y", y.values());
        check(case, "dx", dx.values());
        check(case, "dw", dw.values());
        check(case, "dbias", dbias.values());
    }
}

#[test]
fn batch_norm() {
    for case in &cases("batch_norm") {
        let (n, h, w, c) = shape(case);
        let backend = &mut Reference::new();
        let pass = Combine::new(n, h, w, c, DType::F32).unwrap();
        let (eps, momentum) = (float(&case["eps"]) as f32, float(&case["momentum"]) as f32);
        let op = BatchNorm::new(c, n * h * w, eps, momentum, case["unbiased"].as_bool().unwrap()).unwrap();
        let len = n * h * w * c;
        let (x, dy) = (named(case, "x", len), named(case, "dy", len));
        let (gamma, beta) = (named(case, "gamma", c), named(case, "beta", c));
        let mut mean = named(case, "mean", c);
        let mut var =
            Buffer::from_values(named(case, "var", c).values().iter().map(|v| 1.0 + v / 2.0).collect());
        let (mut affine, mut moments, mut sums) = (nan(2 * c), nan(2 * c), nan(2 * c));
        let mut y = nan(len);

        backend.norm_frozen(&op, &mean, &var, &gamma, &beta, &mut affine).unwrap();
        fn normalised<'a>(x: &'a Buffer, affine: &'a Buffer) -> Source<'a, Buffer> {
            Source { affine: Some(affine), ..Source::raw(x) }
        }
        backend.combine(&pass, normalised(&x, &affine), &mut y, None).unwrap();
        check(case, "frozen", y.values());

        backend.combine(&pass, Source::raw(&x), &mut y, Some(&mut sums)).unwrap();
        let running = Running { mean: &mut mean, var: &mut var };
        backend.norm_finish(&op, &sums, &gamma, &beta, running, &mut affine, &mut moments).unwrap();
        backend.combine(&pass, normalised(&x, &affine), &mut y, None).unwrap();
        check(case, "y", y.values());
        check(case, "running_mean", mean.values());
        check(case, "running_var", var.values());

        let (mut g, mut dx) = (nan(len), nan(len));
        let (mut dgamma, mut dbeta, mut coeffs) = (nan(c), nan(c), nan(3 * c));
        let wanted = GradSums { y: &x, moments: &moments, sums: &mut sums };
        let out = GradOut { sums: [Some(wanted), None], ..GradOut::set(&mut g) };
        backend.combine_backward(&pass, GradSource::raw(&dy), out).unwrap();
        let (dg, db, set) = (&mut dgamma, &mut dbeta, Accumulate::Set);
        backend.norm_backward_finish(&op, &sums, &moments, &gamma, dg, db, set, &mut coeffs).unwrap();
        let through = GradSource { dz: &g, norm: Some(GradNorm { coeffs: &coeffs, y: &x }) };
        backend.combine_backward(&pass, through, GradOut::set(&mut dx)).unwrap();
        check(case, "dgamma", dgamma.values());
        check(case, "dbeta", dbeta.values());
        check(case, "dx", dx.values());
    }
}

#[test]
fn max_pool() {
    for case in &cases("max_pool") {
        let [r, s] = ints(&case["window"]);
        let pad_value = if case["zero"].as_bool().unwrap() { PadValue::Zero } else { PadValue::NegInf };
        let stride = int(&case["stride"]);
        let op = MaxPool::new(shape(case), (r, s), stride, padding(case), pad_value, DType::F32).unwrap();
        let backend = &mut Reference::new();
        let (mut x, dy) = (named(case, "x", op.x_desc().len()), named(case, "dy", op.y_desc().len()));
        if let Some(levels) = case["levels"].as_f64() {
            x = Buffer::from_values(x.values().iter().map(|x| (x * levels).round() / levels).collect());
        }
        let (mut y, mut index, mut dx) =
            (nan(op.y_desc().len()), nan(op.index_desc().len()), nan(op.x_desc().len()));
        backend.max_pool(&op, Source::raw(&x), &mut y, Some(&mut index), None).unwrap();
        backend.max_pool_backward(&op, GradSource::raw(&dy), &index, GradOut::set(&mut dx)).unwrap();
        check(case, "y", y.values());
        check(case, "dx", dx.values());
    }
}

#[test]
fn avg_pool() {
    for case in &cases("avg_pool") {
        let [r, s] = ints(&case["window"]);
        let op = AvgPool::new(shape(case), (r, s), int(&case["stride"]), padding(case), DType::F32).unwrap();
        let backend = &mut Reference::new();
        let (x, dy) = (named(case, "x", op.x_desc().len()), named(case, "dy", op.y_desc().len()));
        let (mut y, mut dx) = (nan(op.y_desc().len()), nan(op.x_desc().len()));
        backend.avg_pool(&op, Source::raw(&x), &mut y).unwrap();
        backend.avg_pool_backward(&op, GradSource::raw(&dy), GradOut::set(&mut dx)).unwrap();
        check(case, "y", y.values());
        check(case, "dx", dx.values());
    }
}

#[test]
fn cross_entropy() {
    for case in &cases("cross_entropy") {
        let (n, n_valid, classes) = (int(&case["n"]), int(&case["n_valid"]), int(&case["classes"]));
        let smoothing = float(&case["smoothing"]) as f32;
        let op = SoftmaxCrossEntropy::new(n, classes, smoothing, DType::F32).unwrap();
        let name = case["name"].as_str().unwrap();
        let logits = tensor(&format!("{name}.logits"), n * classes).iter().map(|x| 4.0 * x).collect();
        let labels = |which: &str| {
            let u = formula(&format!("{name}.{which}"), n);
            Buffer::from_values(u.into_iter().map(|u| (u * classes as f64).floor()).collect())
        };
        let (a, b) = (labels("a"), labels("b"));
        let lambda = float(&case["lam"]);
        let scalars = vec![0.0, 1.0, 1.0, lambda, float(&case["grad_scale"]), f64::INFINITY, 0.0, 0.0];
        let (mut dlogits, mut metrics) = (nan(n * classes), nan(Metrics::desc().len()));
        // With the whole weight on the first label there need not be a second.
        let targets = Targets { a: &a, b: (lambda != 1.0).then_some(&b), n_valid };
        let (logits, scalars) = (Buffer::from_values(logits), Buffer::from_values(scalars));
        let (d, set) = (Some(&mut dlogits), Accumulate::Set);
        Reference::new()
            .softmax_cross_entropy(&op, &logits, targets, &scalars, d, &mut metrics, set)
            .unwrap();
        check(case, "loss_sum", &metrics.values()[..1]);
        check(case, "hits", &metrics.values()[1..2]);
        assert_eq!(metrics.values()[2..], [n_valid as f64, 0.0]);
        check(case, "dlogits", dlogits.values());
    }
}

#[test]
fn five_optimizer_steps() {
    for case in &cases("optimizers") {
        let rule: Optimizer = serde_json::from_value(case["rule"].clone()).unwrap();
        let (lr, clip, n) = (float(&case["lr"]), case["clip"].as_f64(), 5);
        let zeros = || Some(Buffer::from_values(vec![0.0; n]));
        let (desc, kind) = (TensorDesc::table(1, n), ParamKind::Bias);
        let mut params = Vec::new();
        for (i, group) in case["groups"].as_array().unwrap().iter().enumerate() {
            let value = named(case, &format!("p{i}"), n);
            let (lr_scale, decay) = (float(&group[0]) as f32, group[1].as_bool().unwrap());
            let states = [zeros(), zeros()];
            params.push(Param { desc, kind, value, grad: zeros(), states, decay, lr_scale });
        }
        let backend = &mut Reference::new();
        for t in 1..=5 {
            for (i, param) in params.iter_mut().enumerate() {
                param.grad = Some(named(case, &format!("g{i}.{t}"), n));
            }
            let mut norm = nan(1);
            backend.grad_norm(&params, &mut norm).unwrap();
            let found = norm.values()[0] - float(&case["norms"][t - 1]);
            assert!(found.abs() <= TOLERANCE, "{} norm {t}", case["name"]);
            // The bias corrections in f64, as PyTorch has them.
            let (c1, c2) = match rule {
                Optimizer::Sgd { .. } => (1.0, 1.0),
                Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
                    (1.0 - f64::from(beta1).powi(t as i32), 1.0 - f64::from(beta2).powi(t as i32))
                }
            };
            let max_norm = clip.unwrap_or(f64::INFINITY);
            let scalars = Buffer::from_values(vec![lr, c1, c2, 1.0, 1.0, max_norm, 1.0, 0.0]);
            backend.update(&rule, &scalars, clip.is_some().then_some(&norm), &mut params).unwrap();
            let values = params.iter().flat_map(|p| p.value.values());
            for (i, (got, wanted)) in values.zip(floats(&case["values"][t - 1])).enumerate() {
                let error = (got - wanted).abs();
                assert!(error <= TOLERANCE, "{} step {t} [{i}]: got {got}, PyTorch {wanted}", case["name"]);
            }
        }
    }
}
