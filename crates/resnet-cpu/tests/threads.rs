//! The number of threads never shows in a result.
#![allow(clippy::unwrap_used)] // a failure is a failed test

mod common;

use common::{backend, kernels, numbers, read, seeded, with, zeros};
use resnet_core::op::{
    AvgPool, Combine, Conv2d, MaxPool, Metrics, Optimizer, PadValue, Padding, SoftmaxCrossEntropy,
    StepScalars, Targets,
};
use resnet_core::{
    Accumulate, Backend, DType, GradOut, GradSource, GradSums, HostData, Param, ParamKind, Source, TensorDesc,
};
use resnet_cpu::{Buffer, CpuBackend, Kernel};

/// Sums as bits, through the op that finishes them.
fn sums_bits(b: &mut CpuBackend, c: usize, m: usize, sums: &Buffer) -> Vec<f32> {
    let norm = resnet_core::op::BatchNorm::new(c, m, 1e-5, 0.1, true).unwrap();
    let table = TensorDesc::table(1, c);
    let (gamma, _) = seeded(b, table, 90);
    let (moments, _) = seeded(b, TensorDesc::moments(c), 91);
    let (mut dgamma, mut dbeta) = (zeros(b, table), zeros(b, table));
    let mut coeffs = zeros(b, TensorDesc::coeffs(c));
    b.norm_backward_finish(
        &norm,
        sums,
        &moments,
        &gamma,
        &mut dgamma,
        &mut dbeta,
        Accumulate::Set,
        &mut coeffs,
    )
    .unwrap();
    read(b, TensorDesc::coeffs(c), &coeffs)
}

/// Everything that a few ops write, on a backend with this many threads.
fn everything(threads: usize, kernel: Kernel, dtype: DType) -> Vec<Vec<u32>> {
    let b = &mut backend(threads, kernel);
    let mut out: Vec<Vec<f32>> = Vec::new();
    let op = Conv2d::new((70, 9, 9, 24), 40, (3, 3), 2, Padding::all(1), 1, dtype).unwrap();
    let (x, _) = seeded(b, op.x_desc(), 1);
    let (w, _) = seeded(b, op.w_desc(), 2);
    let (dy, _) = seeded(b, op.y_desc(), 3);

    let (mut y, mut sums) = (zeros(b, op.y_desc()), zeros(b, TensorDesc::sums(op.k())));
    b.conv2d(&op, Source::raw(&x), &w, None, &mut y, Some(&mut sums)).unwrap();
    out.push(read(b, op.y_desc(), &y));
    out.push(sums_bits(b, op.k(), op.n() * op.p() * op.q(), &sums));

    let (mut dx, mut sums) = (zeros(b, op.x_desc()), zeros(b, TensorDesc::sums(op.c())));
    let (moments, _) = seeded(b, TensorDesc::moments(op.c()), 4);
    let wanted = GradSums { y: &x, moments: &moments, sums: &mut sums };
    let target = GradOut { sums: [Some(wanted), None], ..GradOut::set(&mut dx) };
    b.conv2d_backward_data(&op, GradSource::raw(&dy), &w, target).unwrap();
    out.push(read(b, op.x_desc(), &dx));
    out.push(sums_bits(b, op.c(), op.n() * op.h() * op.w(), &sums));

    let (mut dw, mut dbias) = (zeros(b, op.w_desc()), zeros(b, op.bias_desc()));
    let (source, grad) = (Source::raw(&x), GradSource::raw(&dy));
    b.conv2d_backward_weight(&op, source, grad, &mut dw, Some(&mut dbias), Accumulate::Set).unwrap();
    out.push(read(b, op.w_desc(), &dw));
    out.push(read(b, op.bias_desc(), &dbias));

    let point = Conv2d::new((10, 9, 9, 64), 96, (1, 1), 1, Padding::default(), 1, dtype).unwrap();
    let (x1, _) = seeded(b, point.x_desc(), 10);
    let (w1, _) = seeded(b, point.w_desc(), 11);
    let (dy1, _) = seeded(b, point.y_desc(), 12);
    let (mut dx, mut dw) = (zeros(b, point.x_desc()), zeros(b, point.w_desc()));
    let (mut sums, source1) = (zeros(b, TensorDesc::sums(64)), Source::raw(&x1));
    let (moments, _) = seeded(b, TensorDesc::moments(64), 13);
    let wanted = GradSums { y: &x1, moments: &moments, sums: &mut sums };
    let target = GradOut { mask: Some(source1), sums: [Some(wanted), None], ..GradOut::set(&mut dx) };
    let grad1 = GradSource::raw(&dy1);
    b.conv2d_backward(&point, source1, grad1, &w1, target, &mut dw, None, Accumulate::Set).unwrap();
    out.push(read(b, point.x_desc(), &dx));
    out.push(read(b, point.w_desc(), &dw));
    out.push(sums_bits(b, 64, point.n() * 81, &sums));

    let combine = Combine::new(70, 9, 9, 24, dtype).unwrap();
    let (mut z, mut sums) = (zeros(b, op.x_desc()), zeros(b, TensorDesc::sums(24)));
    b.combine(&combine, Source { relu: true, ..source }, &mut z, Some(&mut sums)).unwrap();
    out.push(read(b, op.x_desc(), &z));
    out.push(sums_bits(b, 24, combine.rows(), &sums));

    let pool = MaxPool::new((70, 9, 9, 24), (3, 3), 2, Padding::all(1), PadValue::NegInf, dtype).unwrap();
    let (mut y, mut index) = (zeros(b, pool.y_desc()), zeros(b, pool.index_desc()));
    let mut sums = zeros(b, TensorDesc::sums(24));
    b.max_pool(&pool, source, &mut y, Some(&mut index), Some(&mut sums)).unwrap();
    out.push(read(b, pool.y_desc(), &y));
    let dx_pool = &mut zeros(b, pool.x_desc());
    let (dy, _) = seeded(b, pool.y_desc(), 5);
    b.max_pool_backward(&pool, GradSource::raw(&dy), &index, GradOut::set(dx_pool)).unwrap();
    out.push(read(b, pool.x_desc(), dx_pool));

    let pool = AvgPool::global((70, 9, 9, 24), dtype).unwrap();
    let mut y = zeros(b, pool.y_desc());
    b.avg_pool(&pool, source, &mut y).unwrap();
    out.push(read(b, pool.y_desc(), &y));

    let loss = SoftmaxCrossEntropy::new(70, 24, 0.1, dtype).unwrap();
    let labels: Vec<u32> = (0..70).map(|i| i * 7 % 24).collect();
    let mut a = zeros(b, loss.labels_desc());
    b.upload(&loss.labels_desc(), HostData::U32(&labels), &mut a).unwrap();
    let scalars = StepScalars { lr: 0.1, ..StepScalars::default() }.to_array();
    let scalars = with(b, StepScalars::desc(), &scalars);
    let (mut dlogits, mut metrics) = (zeros(b, loss.logits_desc()), zeros(b, Metrics::desc()));
    let targets = Targets { a: &a, b: None, n_valid: 69 };
    b.softmax_cross_entropy(&loss, &y, targets, &scalars, Some(&mut dlogits), &mut metrics, Accumulate::Set)
        .unwrap();
    out.push(read(b, loss.logits_desc(), &dlogits));
    out.push(read(b, Metrics::desc(), &metrics));

    let desc = TensorDesc::weight(100, 3, 3, 150);
    let value = with(b, desc, &numbers(desc.len(), 6));
    let grad = Some(with(b, desc, &numbers(desc.len(), 7)));
    let states = [Some(zeros(b, desc)), None];
    let mut params =
        [Param { desc, kind: ParamKind::ConvWeight, value, grad, states, decay: true, lr_scale: 1.0 }];
    let mut norm = zeros(b, TensorDesc::table(1, 1));
    b.grad_norm(&params, &mut norm).unwrap();
    let rule = Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 };
    b.update(&rule, &scalars, Some(&norm), &mut params).unwrap();
    out.push(read(b, TensorDesc::table(1, 1), &norm));
    out.push(read(b, desc, &params[0].value));

    out.into_iter().map(|v| v.into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (kernel, dtype) in kernels().flat_map(|kernel| [(kernel, DType::F32), (kernel, DType::Bf16)]) {
        let one = everything(1, kernel, dtype);
        for threads in [2, 3, 7] {
            for (i, (a, b)) in one.iter().zip(everything(threads, kernel, dtype)).enumerate() {
                assert!(*a == b, "{kernel}, {dtype:?}: result {i} differs between 1 and {threads} threads");
            }
        }
    }
}
