//! Whole steps on the CPU: training and inference of ResNet-18 on grey pictures. The throughput is pictures per second.
//!
//! For one network or size of your choice `resnet bench` is the tool; this bench watches for changes in the usual ones.
#![allow(missing_docs)] // the macros of criterion make public functions
#![allow(clippy::unwrap_used)] // a bench that cannot run stops

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use resnet_benches::network;
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{Backend, Executor, LowerOptions, Params, Result, TrainingStep, init};
use resnet_cpu::CpuBackend;

const ARCH: &str = "resnet18";
/// Size in pixels and batch.
const CASES: [(usize, usize); 2] = [(28, 256), (96, 64)];

/// A network with its parameters and one batch of pictures.
struct Net<B: Backend> {
    executor: Executor<B>,
    params: Params<B>,
    training: TrainingStep<B>,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl<B: Backend> Net<B> {
    fn new(backend: &mut B, size: usize, options: LowerOptions, train: bool) -> Result<Self> {
        let graph = network(ARCH, size)?;
        let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
        let values = init::initial_values(&graph, 0);
        let params = Params::new(backend, &graph, &values, train.then_some(&rule))?;
        let mut executor = Executor::new(backend, &graph, options, 0.0)?;
        executor.set_scalars(backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
        let batch = executor.batch();
        let pixels = (0..batch * size * size).map(|i| (i * i % 251) as u8).collect();
        let labels = (0..batch as u32).map(|i| i % 10).collect();
        Ok(Net { executor, params, training: TrainingStep::new(rule), pixels, labels })
    }

    fn train(&mut self, backend: &mut B) -> Result<()> {
        let Net { executor, params, training, pixels, labels } = self;
        training.run(backend, executor, params, pixels, labels)?;
        backend.synchronize()
    }

    fn infer(&mut self, backend: &mut B) -> Result<Vec<f32>> {
        self.executor.load_pixels(backend, &self.pixels)?;
        self.executor.forward(backend, &mut self.params)?;
        self.executor.logits(backend)
    }
}

fn steps(criterion: &mut Criterion) {
    let mut backend = CpuBackend::new(None).unwrap();
    for (size, batch) in CASES {
        let label = BenchmarkId::new(ARCH, format!("{size}x{size} batch {batch}"));
        let mut group = criterion.benchmark_group("train");
        group.throughput(Throughput::Elements(batch as u64));
        let mut net = Net::new(&mut backend, size, LowerOptions::train(batch), true).unwrap();
        group.bench_function(label.clone(), |bencher| bencher.iter(|| net.train(&mut backend).unwrap()));
        group.finish();

        let mut group = criterion.benchmark_group("infer");
        group.throughput(Throughput::Elements(batch as u64));
        let mut net = Net::new(&mut backend, size, LowerOptions::infer(batch), false).unwrap();
        group.bench_function(label, |bencher| bencher.iter(|| net.infer(&mut backend).unwrap()));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(5));
    targets = steps
}
criterion_main!(benches);
