//! A step that is recorded and replayed does what a step does that is run op by op.

mod common;

use resnet_conformance::strategy::networks::tiny;
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::zoo::{Block, Shortcut, Variant};
use resnet_core::{Backend, Executor, LowerOptions, Params, Pass, TrainingStep};
use resnet_cuda::CudaBackend;

const BATCH: usize = 4;
const RULE: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-3 };

/// What five training steps left: every loss, the weights at the end, and how often the host issued a step's ops.
#[derive(Debug, PartialEq)]
struct Trained {
    losses: Vec<f32>,
    weights: Vec<Vec<f32>>,
    issued: usize,
}

fn train(backend: &mut CudaBackend, recorded: bool, disturb: impl Fn(&mut CudaBackend, usize)) -> Trained {
    let spec = tiny(Variant::V1, Block::Bottleneck, Shortcut::Projection);
    let graph = spec.build().expect("is valid");
    let values = resnet_core::init::initial_values(&graph, 1);
    let mut params = Params::new(backend, &graph, &values, Some(&RULE)).expect("fits");
    let mut net = Executor::new(backend, &graph, LowerOptions::train(BATCH), 0.0).expect("fits");
    let mut training = TrainingStep::new(RULE).with_norm(backend).expect("fits");
    let key = backend.new_recording();
    let shape = graph.input_shape();
    let (mut losses, mut issued) = (Vec::new(), 0);
    for step in 0..5usize {
        let scalars = StepScalars { lr: 0.1 / (1 + step) as f32, max_norm: 1.0, ..StepScalars::default() };
        net.set_scalars(backend, &scalars).expect("copied");
        let pixels: Vec<u8> = (0..BATCH * shape.len()).map(|i| (i * (step + 3) % 251) as u8).collect();
        let labels: Vec<u32> = (0..BATCH).map(|i| ((i + step) % graph.classes()) as u32).collect();
        net.put_pixels(backend, &pixels).expect("copied");
        net.put_labels(backend, &labels, None).expect("copied");
        let mut run = |backend: &mut CudaBackend| {
            issued += 1;
            training.compute(backend, &mut net, &mut params, Pass::whole(BATCH), Executor::ingest)
        };
        if recorded { backend.recorded(key, run) } else { run(backend) }.expect("runs");
        losses.push(net.metrics(backend).expect("copied").loss());
        disturb(backend, step);
    }
    Trained { losses, weights: params.values(backend).expect("copied"), issued }
}

#[test]
fn replaying_changes_nothing() {
    let plain = train(&mut common::emulated(), false, |_, _| {});
    assert!(plain.losses.iter().all(|loss| loss.is_finite()), "{:?}", plain.losses);
    let recorded = train(&mut common::emulated(), true, |_, _| {});
    assert_eq!(plain.issued, 5);
    // Once to run, once to record; then three replays.
    assert_eq!(recorded, Trained { issued: 2, ..plain });
}

#[test]
fn memory_that_is_freed_between_steps_is_noticed() {
    let plain = train(&mut common::emulated(), false, |_, _| {});
    let recorded = train(&mut common::emulated(), true, |backend, step| {
        if step == 2 {
            drop(backend.alloc(64).expect("fits"));
        }
    });
    assert_eq!(recorded, Trained { issued: 4, ..plain });
}

#[test]
fn what_cannot_be_repeated_is_refused() {
    let backend = &mut common::emulated();
    let mut at_all = |step: fn(&mut CudaBackend) -> resnet_core::Result<()>| {
        let key = backend.new_recording();
        backend.recorded(key, |_| Ok(())).expect("nothing runs");
        let refused = backend.recorded(key, step).expect_err("cannot be recorded").to_string();
        assert!(refused.contains("while a step is recorded"), "{refused}");
    };
    at_all(|backend| backend.alloc(64).map(drop));
    at_all(|backend| backend.synchronize());
}
