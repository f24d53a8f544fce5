//! Every distinct convolution of a few networks, in its three directions, on the CPU: with plain sums and with Winograd's.
//!
//! Each is called as a training step calls it: normalisation and ReLU are read with the input, sums are taken with the output,
//! and the gradient is masked as it is written. The throughput counts the floating-point operations of the definition, so
//! `Gelem/s` is GFLOP/s, and Winograd's algorithm may show more than the machine's peak, which is printed first.
//! `cargo xtask bench --roofline` has the shares of the peak as a table.
//!
//! `cargo bench -p resnet-benches --bench conv2d -- 'forward/auto/resnet18 3x3s1 64-64'` runs a part.
#![allow(missing_docs)] // the macros of criterion make public functions
#![allow(clippy::unwrap_used)] // a bench that cannot run stops

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use resnet_benches::layer::{Direction, Layer};
use resnet_benches::{CASES, convolutions, label};
use resnet_core::DType;
use resnet_cpu::{CpuBackend, Kernel};

fn conv2d(criterion: &mut Criterion) {
    println!("peak: {}", CpuBackend::new(None).unwrap().peak());
    for case in CASES.iter().filter(|case| case.trains) {
        let graph = case.network().unwrap();
        for (op, _) in convolutions(&graph, case.batch, DType::F32).unwrap() {
            for kernel in [Kernel::Strict, Kernel::Auto] {
                let mut backend = CpuBackend::with_kernel(None, kernel).unwrap();
                let mut layer = Layer::new(&mut backend, &op).unwrap();
                for direction in Direction::ALL {
                    let mut group = criterion.benchmark_group(format!("{}/{kernel}", direction.name()));
                    group.throughput(Throughput::Elements(2 * op.macs()));
                    let id = BenchmarkId::from_parameter(format!("{} {}", case.arch, label(&op)));
                    group.bench_function(id, |bencher| {
                        bencher.iter(|| layer.run(&mut backend, direction).unwrap());
                    });
                    group.finish();
                }
            }
        }
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
