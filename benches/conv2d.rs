//! Every distinct convolution of ResNet-18 on 96-pixel pictures, in its three directions, on the CPU.
//!
//! Each is called as a training step calls it: normalisation and ReLU are read with the input, sums are taken with the output,
//! and the gradient is masked as it is written. The throughput counts floating-point operations, so `Gelem/s` is GFLOP/s.
//!
//! `cargo bench -p resnet-benches --bench conv2d -- 'forward/3x3s1 64-64'` runs a part.
#![allow(missing_docs)] // the macros of criterion make public functions
#![allow(clippy::unwrap_used)] // a bench that cannot run stops

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use resnet_benches::{convolutions, empty, label, network, random};
use resnet_core::op::{Conv2d, Op};
use resnet_core::{Accumulate, Backend, GradNorm, GradOut, GradSource, GradSums, Source, TensorDesc};
use resnet_cpu::CpuBackend;

const ARCH: &str = "resnet18";
const SIZE: usize = 96;
const BATCH: usize = 64;

/// The tensors around one convolution in a network with normalisation before and after it.
struct Tensors<Buf> {
    x: Buf,
    x_affine: Buf,
    x_moments: Buf,
    x_sums: Buf,
    dx: Buf,
    w: Buf,
    dw: Buf,
    y: Buf,
    y_coeffs: Buf,
    y_sums: Buf,
    dy: Buf,
}

impl<Buf> Tensors<Buf> {
    fn new<B: Backend<Buffer = Buf>>(backend: &mut B, op: &Conv2d) -> resnet_core::Result<Self> {
        backend.prepare(&[Op::Conv2d(*op), Op::Conv2dBackwardData(*op), Op::Conv2dBackwardWeight(*op)])?;
        Ok(Tensors {
            x: random(backend, &op.x_desc(), 1.0)?,
            x_affine: random(backend, &TensorDesc::affine(op.c()), 1.0)?,
            x_moments: random(backend, &TensorDesc::moments(op.c()), 1.0)?,
            x_sums: empty(backend, &TensorDesc::sums(op.c()))?,
            dx: empty(backend, &op.x_desc())?,
            w: random(backend, &op.w_desc(), 0.05)?,
            dw: empty(backend, &op.w_desc())?,
            y: random(backend, &op.y_desc(), 1.0)?,
            y_coeffs: random(backend, &TensorDesc::coeffs(op.k()), 1.0)?,
            y_sums: empty(backend, &TensorDesc::sums(op.k()))?,
            dy: random(backend, &op.y_desc(), 1.0)?,
        })
    }

    fn forward<B: Backend<Buffer = Buf>>(&mut self, backend: &mut B, op: &Conv2d) -> resnet_core::Result<()> {
        let x = Source { affine: Some(&self.x_affine), relu: true, ..Source::raw(&self.x) };
        backend.conv2d(op, x, &self.w, None, &mut self.y, Some(&mut self.y_sums))
    }

    fn backward_data<B: Backend<Buffer = Buf>>(
        &mut self,
        backend: &mut B,
        op: &Conv2d,
    ) -> resnet_core::Result<()> {
        let dy = GradSource { dz: &self.dy, norm: Some(GradNorm { coeffs: &self.y_coeffs, y: &self.y }) };
        let mask = Source { affine: Some(&self.x_affine), relu: true, ..Source::raw(&self.x) };
        let sums = GradSums { y: &self.x, moments: &self.x_moments, sums: &mut self.x_sums };
        let dx = GradOut { mask: Some(mask), sums: [Some(sums), None], ..GradOut::set(&mut self.dx) };
        backend.conv2d_backward_data(op, dy, &self.w, dx)
    }

    fn backward_weight<B: Backend<Buffer = Buf>>(
        &mut self,
        backend: &mut B,
        op: &Conv2d,
    ) -> resnet_core::Result<()> {
        let x = Source { affine: Some(&self.x_affine), relu: true, ..Source::raw(&self.x) };
        let dy = GradSource { dz: &self.dy, norm: Some(GradNorm { coeffs: &self.y_coeffs, y: &self.y }) };
        backend.conv2d_backward_weight(op, x, dy, &mut self.dw, None, Accumulate::Set)
    }
}

fn conv2d(criterion: &mut Criterion) {
    let graph = network(ARCH, SIZE).unwrap();
    let mut backend = CpuBackend::new(None).unwrap();
    for (op, _) in convolutions(&graph, BATCH).unwrap() {
        let mut tensors = Tensors::new(&mut backend, &op).unwrap();
        let mut direction =
            |name: &str, call: fn(&mut Tensors<_>, &mut CpuBackend, &Conv2d) -> resnet_core::Result<()>| {
                let mut group = criterion.benchmark_group(name);
                group.throughput(Throughput::Elements(2 * op.macs()));
                group.bench_function(BenchmarkId::from_parameter(label(&op)), |bencher| {
                    bencher.iter(|| call(&mut tensors, &mut backend, &op).unwrap());
                });
                group.finish();
            };
        direction("forward", Tensors::forward);
        direction("backward_data", Tensors::backward_data);
        direction("backward_weight", Tensors::backward_weight);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = conv2d
}
criterion_main!(benches);
