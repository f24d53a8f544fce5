//! The GPU's side of the backend, from the driver's calls on, with a driver that computes what the emulator computes.
//! What is tested here: the order and the arguments of every call, memory, errors, and captured graphs.
#![cfg(target_os = "linux")]

mod common;
mod fake;

use std::sync::{Arc, OnceLock};

use resnet_conformance::laws;
use resnet_core::op::{Combine, Optimizer, StepScalars};
use resnet_core::zoo::{Block, Shortcut, Variant};
use resnet_core::{
    Backend, DType, Error, Executor, HostData, HostDataMut, LowerOptions, Params, Pass, Source, TensorDesc,
    TrainingStep,
};
use resnet_cuda::machine::device::Gpu;
use resnet_cuda::{CudaBackend, Search, probe};
use resnet_train::data::{Dataset, InMemory};
use resnet_train::evaluate::{Evaluation, evaluate};
use resnet_train::feed::Feed;
use resnet_train::recipe::Recipe;
use tempfile::TempDir;

/// A folder with the driver, the compiler and the kernels. One for the process, because a driver is loaded once.
fn search() -> &'static Search {
    static MADE: OnceLock<(TempDir, Search)> = OnceLock::new();
    let (_, search) = MADE.get_or_init(|| {
        common::require_emulator();
        let dir = tempfile::tempdir().expect("temporary folder");
        fake::device(dir.path(), &[]);
        let search = Search { folders: vec![dir.path().to_owned()], system: false };
        (dir, search)
    });
    search
}

/// A backend on the fake device, without a cache: what the fake compiler makes is of no use to anybody else.
fn backend() -> CudaBackend {
    let device = probe(search(), 0).expect("all is there");
    let gpu = Gpu::open(search(), device, None).expect("opens");
    CudaBackend::on(Box::new(gpu)).expect("kernels load")
}

// One driver captures one stream at a time, so everything that could meet a capture is one test.
#[test]
fn the_device_computes_what_the_emulator_computes() {
    let backend = || backend();
    let described = backend().describe();
    assert!(described.contains("Fake GPU (compute capability 9.0"), "{described}");
    laws::network::v1_bottleneck_trains(backend, DType::F32);
    laws::memory::short_buffers_are_refused(backend, DType::F32);
    laws::memory::nothing_behind_a_tensor_is_written(backend, DType::F32);

    let emulated = train(&mut common::emulated(), false);
    assert_eq!(emulated, train(&mut backend(), false));
    assert_eq!(emulated, train(&mut backend(), true));

    an_evaluation_is_one_launch_a_batch();
    large_copies_keep_their_order(&mut backend());
    uploads_overlap_with_steps_and_overwrite_nothing_early();
    memory_runs_out(&mut backend());
    what_cannot_be_captured_is_an_error(&mut backend());
}

/// Four steps of training, as a graph from the second on if `recorded`: losses and weights.
fn train(backend: &mut CudaBackend, recorded: bool) -> (Vec<f32>, Vec<Vec<f32>>) {
    const BATCH: usize = 3;
    let rule = Optimizer::AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.01 };
    let spec = resnet_conformance::strategy::networks::tiny(Variant::V1, Block::Basic, Shortcut::Projection);
    let graph = spec.build().expect("is valid");
    let values = resnet_core::init::initial_values(&graph, 7);
    let mut params = Params::new(backend, &graph, &values, Some(&rule)).expect("fits");
    let mut net = Executor::new(backend, &graph, LowerOptions::train(BATCH), 0.1).expect("fits");
    let mut training = TrainingStep::new(rule);
    let key = backend.new_recording();
    let mut losses = Vec::new();
    for step in 1..=4u64 {
        let scalars = StepScalars { lr: 0.01, ..StepScalars::of_step(&rule, step) };
        net.set_scalars(backend, &scalars).expect("copied");
        let count = BATCH * graph.input_shape().len();
        let pixels: Vec<u8> = (0..count).map(|i| (i * (step as usize + 5) % 253) as u8).collect();
        net.put_pixels(backend, &pixels).expect("copied");
        net.put_labels(backend, &[0, 1, step as u32 % 5], None).expect("copied");
        let mut run = |backend: &mut CudaBackend| {
            training.compute(backend, &mut net, &mut params, Pass::whole(BATCH), Executor::ingest)
        };
        if recorded { backend.recorded(key, run) } else { run(backend) }.expect("runs");
        losses.push(net.metrics(backend).expect("copied").loss());
    }
    (losses, params.values(backend).expect("copied"))
}

/// Batches of an evaluation from the second on are graphs, in the next evaluation from the first on; what is counted stays as it is op by op.
fn an_evaluation_is_one_launch_a_batch() {
    const BATCHES: usize = 4;
    let driver = fake::Driver::open(&search().folders[0].join("libcuda.so.1"));
    let mut recipe = Recipe::default();
    recipe.model.arch = "resnet8-cifar".into();
    (recipe.train.batch, recipe.run.eval_batch) = (3, Some(3));
    let part = |n: usize| {
        let pixels = (0..n * 64).map(|i| (i * 37 % 251) as u8).collect();
        let labels = (0..n).map(|i| (i % 2) as u8).collect();
        Arc::new(InMemory::new("squares", (8, 8, 1), pixels, labels, 2).expect("is valid"))
    };
    let classes = vec!["even".to_owned(), "odd".to_owned()];
    let data = Dataset::new("made up", "made up", classes, part(3), part(3 * BATCHES - 1)).expect("is valid");
    let graph = recipe.spec(&data).expect("is valid").build().expect("is valid");
    let values = resnet_core::init::initial_values(&graph, 3);
    let set_up = |backend: &mut CudaBackend| {
        let loader = recipe.test_loader(&data, &recipe.preprocessing(&data).expect("is valid"));
        let params = Params::new(backend, &graph, &values, None).expect("fits");
        let net = Executor::new(backend, &graph, LowerOptions::infer(3), 0.0).expect("fits");
        let feed = Feed::on_device(backend, &net, loader.expect("is valid")).expect("fits");
        assert!(feed.is_on_device());
        (params, net, feed)
    };

    let emulated = &mut common::emulated();
    let (mut params, mut net, feed) = set_up(emulated);
    let mut wanted = Evaluation::new(2);
    for batch in feed.epoch(0, 0).expect("begins") {
        let batch = batch.expect("is read");
        feed.put(emulated, &mut net, &batch).expect("copied");
        feed.ingest(emulated, &mut net).expect("runs");
        net.forward(emulated, &mut params).expect("runs");
        wanted.add(&net.logits(emulated).expect("copied"), &batch.labels[..batch.n_valid]);
    }
    assert_eq!(wanted.count(), 3 * BATCHES as u64 - 1);

    let backend = &mut backend();
    let (mut params, mut net, feed) = set_up(backend);
    let key = backend.new_recording();
    let mut launches = vec![];
    for _ in 0..2 {
        driver.hurry(0);
        let counted = evaluate(backend, &mut net, &mut params, &feed, key, |_, _| {
            let log = driver.log();
            launches.push((log.matches(" launch\n").count(), log.matches(" graph\n").count()));
            driver.hurry(0);
            true
        });
        assert_eq!(counted.expect("runs").as_ref(), Some(&wanted));
    }
    assert!(launches[0].0 > 10 && launches[0].1 == 0, "{launches:?}");
    assert!(launches.len() == 2 * BATCHES && launches[1..].iter().all(|&n| n == (0, 1)), "{launches:?}");
}

/// Large enough for pinned memory, each from a buffer that is used again at once.
fn large_copies_keep_their_order(backend: &mut CudaBackend) {
    let desc = TensorDesc::table(1, 40_000);
    let mut host = vec![0.0; desc.len()];
    let mut buffers: Vec<_> = (0..7).map(|_| backend.alloc(160_000).expect("fits")).collect();
    for (i, buffer) in buffers.iter_mut().enumerate() {
        host.fill(i as f32);
        backend.upload(&desc, HostData::F32(&host), buffer).expect("copied");
    }
    for (i, buffer) in buffers.iter().enumerate() {
        backend.download(&desc, buffer, HostDataMut::F32(&mut host)).expect("copied");
        assert!(host.iter().all(|&v| v == i as f32), "buffer {i}: {}", host[0]);
    }
}

/// Batches in turn into one buffer, each read by a step. The driver does the work of every stream as late as it may, or that of one
/// as early as it may; either way each step must see its batch. With early copies, the next batch arrives while no step has run.
fn uploads_overlap_with_steps_and_overwrite_nothing_early() {
    const BATCHES: usize = 7;
    let driver = fake::Driver::open(&search().folders[0].join("libcuda.so.1"));
    let backend = &mut backend();
    let op = Combine::new(1, 1, 1, 25_000, DType::F32).expect("is valid");
    let (desc, bytes) = (op.desc(), 100_000);
    let mut host = vec![0.0; desc.len()];
    let mut x = backend.alloc(bytes).expect("fits");
    let mut seen: Vec<_> = (0..BATCHES).map(|_| backend.alloc(bytes).expect("fits")).collect();

    driver.hurry(0);
    backend.upload(&desc, HostData::F32(&host), &mut x).expect("copied");
    backend.synchronize().expect("waits");
    let log = driver.log();
    let streams: Vec<usize> =
        log.lines().filter_map(|line| line.strip_suffix(" copy 100000")?.parse().ok()).collect();
    let [copies, steps] = streams[..] else { panic!("two copies on two streams were wanted:\n{log}") };
    assert_ne!(copies, steps);

    for hurried in [0, copies, steps] {
        driver.hurry(hurried);
        for (i, z) in seen.iter_mut().enumerate() {
            host.fill((100 * hurried + i) as f32);
            backend.upload(&desc, HostData::F32(&host), &mut x).expect("copied");
            host.fill(f32::NAN); // the caller's memory is its own again
            backend.combine(&op, Source::raw(&x), z, None).expect("runs");
            let log = driver.log();
            if hurried == copies && i == 1 {
                assert_eq!(log.matches(&format!("{copies} copy 100000")).count(), 2, "{log}");
                assert!(!log.contains("launch"), "a step ran before the next batch was on its way:\n{log}");
            }
        }
        for (i, z) in seen.iter().enumerate() {
            backend.download(&desc, z, HostDataMut::F32(&mut host)).expect("copied");
            let wanted = (100 * hurried + i) as f32;
            assert!(host.iter().all(|&v| v == wanted), "stream {hurried} early, batch {i}: {}", host[0]);
        }
    }
    driver.hurry(0);
}

fn memory_runs_out(backend: &mut CudaBackend) {
    let asked = 2 << 30;
    match backend.alloc(asked) {
        Err(Error::OutOfMemory { requested_bytes, free_bytes, .. }) => {
            assert_eq!(requested_bytes, asked);
            assert!(0 < free_bytes && free_bytes <= 1 << 30, "{free_bytes}");
        }
        other => panic!("{other:?}"),
    }
}

fn what_cannot_be_captured_is_an_error(backend: &mut CudaBackend) {
    let op = Combine::new(1, 1, 1, 4, DType::F32).expect("is valid");
    let desc = op.desc();
    let bytes = backend.buffer_bytes(&desc);
    let (mut x, mut z) = (backend.alloc(bytes).expect("fits"), backend.alloc(bytes).expect("fits"));
    backend.upload(&desc, HostData::F32(&[1.0, 2.0, 3.0, 4.0]), &mut x).expect("copied");
    let key = backend.new_recording();
    backend.recorded(key, |backend| backend.combine(&op, Source::raw(&x), &mut z, None)).expect("runs");
    let refused =
        backend.recorded(key, |backend| backend.alloc(64).map(drop)).expect_err("cannot be captured");
    assert!(refused.to_string().contains("asking for memory: DriverError"), "{refused}");
    // The device is as before.
    let table = TensorDesc::table(1, 4);
    let mut out = [0.0; 4];
    backend.download(&table, &z, HostDataMut::F32(&mut out)).expect("copied");
    assert_eq!(out, [1.0, 2.0, 3.0, 4.0]);
}
