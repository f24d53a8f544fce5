//! What the backend refuses, and how it says so.
#![allow(clippy::unwrap_used)] // a failure is a failed test

mod common;

use common::{backend, kernels, zeros};
use resnet_core::op::{Conv2d, Op, Padding};
use resnet_core::{Backend, DType, Error, Source, TensorDesc};
use resnet_cpu::{CpuBackend, Kernel};

#[test]
fn f16_is_refused_by_name() {
    for kernel in kernels() {
        let b = &mut backend(1, kernel);
        assert!(b.supports(DType::F32) && b.supports(DType::Bf16) && !b.supports(DType::F16));
        let op = Conv2d::new((2, 4, 4, 8), 8, (3, 3), 1, Padding::all(1), 1, DType::F16).unwrap();
        let large = TensorDesc::activation(DType::F32, 2, 4, 4, 8);
        let (x, w, mut y) = (zeros(b, large), zeros(b, op.w_desc()), zeros(b, large));
        let ran = b.conv2d(&op, Source::raw(&x), &w, None, &mut y, None);
        let prepared = b.prepare(&[Op::Conv2d(op)]).map(|_| ());
        for result in [ran, prepared] {
            assert!(
                matches!(&result, Err(Error::Unsupported { backend: "cpu", what }) if what.contains("f16"))
            );
        }
    }
}

#[test]
fn threads_and_kernels_must_exist() {
    assert!(matches!(CpuBackend::new(Some(0)), Err(Error::Invalid { .. })));
    let unknown = "sse9".parse::<Kernel>().unwrap_err().to_string();
    assert!(unknown.contains("sse9") && unknown.contains("im2col"), "{unknown}");
}

#[test]
fn what_does_not_fit_is_out_of_memory() {
    let b = &mut backend(1, Kernel::Auto);
    let all = usize::MAX / 2;
    assert!(
        matches!(b.alloc(all), Err(Error::OutOfMemory { requested_bytes, .. }) if requested_bytes == all)
    );
}

#[test]
fn prepare_is_enough_and_counts_what_it_took() {
    for (kernel, dtype) in kernels().flat_map(|kernel| [(kernel, DType::F32), (kernel, DType::Bf16)]) {
        let b = &mut backend(2, kernel);
        let op = Conv2d::new((64, 8, 8, 32), 48, (3, 3), 1, Padding::all(1), 1, dtype).unwrap();
        let bytes =
            b.prepare(&[Op::Conv2d(op), Op::Conv2dBackwardData(op), Op::Conv2dBackwardWeight(op)]).unwrap();
        assert!(bytes > 0);
        let (x, w, dz) = (zeros(b, op.x_desc()), zeros(b, op.w_desc()), zeros(b, op.y_desc()));
        let (mut y, mut dx, mut dw) = (zeros(b, op.y_desc()), zeros(b, op.x_desc()), zeros(b, op.w_desc()));
        let (mut sums, mut dbias) = (zeros(b, TensorDesc::sums(48)), zeros(b, op.bias_desc()));
        let dy = resnet_core::GradSource::raw(&dz);
        b.conv2d(&op, Source::raw(&x), &w, None, &mut y, Some(&mut sums)).unwrap();
        b.conv2d_backward_data(&op, dy, &w, resnet_core::GradOut::set(&mut dx)).unwrap();
        let set = resnet_core::Accumulate::Set;
        b.conv2d_backward_weight(&op, Source::raw(&x), dy, &mut dw, Some(&mut dbias), set).unwrap();
        assert_eq!(
            b.prepare(&[]).unwrap(),
            bytes,
            "{kernel}, {dtype:?}: an op needed more scratch than was prepared"
        );
    }
}
