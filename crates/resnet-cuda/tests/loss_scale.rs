//! Training in half precision: a step that overflows is as if it had not been.

mod common;

use resnet_conformance::strategy::networks::tiny;
use resnet_core::op::{LossScale, LossScaleState, Optimizer, StepScalars};
use resnet_core::zoo::{Block, Shortcut, Variant};
use resnet_core::{DType, Executor, LowerOptions, ParamId, Params, Part, TrainingStep};

const BATCH: usize = 4;
const RULE: Optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
/// Gradients times this overflow; one step later they are scaled by 2¹⁰.
const TOO_MUCH: f32 = (1u128 << 100) as f32;
const SCALING: LossScale = LossScale { growth: 2.0, backoff: 1.0 / (1u128 << 90) as f32, interval: 2000 };

/// Weights and both moments of every parameter that moves, after so many steps from this loss scale, and where that ended.
fn train(first: LossScaleState, steps: u64) -> (Vec<Vec<f32>>, LossScaleState) {
    let backend = &mut common::emulated();
    let graph = tiny(Variant::V1, Block::Basic, Shortcut::Projection).build().expect("is valid");
    let values = resnet_core::init::initial_values(&graph, 3);
    let mut params = Params::new(backend, &graph, &values, Some(&RULE)).expect("fits");
    let options = LowerOptions { dtype: DType::F16, ..LowerOptions::train(BATCH) };
    let mut net = Executor::new(backend, &graph, options, 0.0).expect("fits");
    let mut training = TrainingStep::new(RULE).with_loss_scale(backend, SCALING).expect("fits");
    training.set_loss_scale(backend, first).expect("copied");
    let pixels: Vec<u8> = (0..BATCH * graph.input_shape().len()).map(|i| (i * 11 % 251) as u8).collect();
    let labels: Vec<u32> = (0..BATCH).map(|i| (i % graph.classes()) as u32).collect();
    for t in 1..=steps {
        let scalars = StepScalars { lr: 0.01, ..StepScalars::of_step(&RULE, t) };
        net.set_scalars(backend, &scalars).expect("copied");
        training.run(backend, &mut net, &mut params, &pixels, &labels).expect("runs");
    }
    let ids = (0..params.list.len()).filter(|&i| params.list[i].grad.is_some()).map(ParamId);
    let parts = [Part::Value, Part::State(0), Part::State(1)];
    let all = ids.flat_map(|id| parts.map(|part| params.read(backend, id, part).expect("copied"))).collect();
    (all, training.loss_scale(backend).expect("copied").expect("there is one"))
}

/// As with PyTorch's `GradScaler`, whose optimizer never hears of such a step: Adam corrects for as many steps as it has taken.
#[test]
fn adam_does_not_count_a_step_that_overflowed() {
    let (overflowed, after) = train(LossScaleState { scale: TOO_MUCH, ..LossScaleState::default() }, 3);
    assert_eq!((after.skipped_steps, after.scale), (1.0, 1024.0));
    let (plain, _) = train(LossScaleState { scale: 1024.0, ..LossScaleState::default() }, 2);
    assert!(plain.iter().flatten().all(|value| value.is_finite()));
    assert!(overflowed == plain);
    // The step that overflowed moved nothing, and left the moments at zero.
    let (untouched, _) = train(LossScaleState { scale: TOO_MUCH, ..LossScaleState::default() }, 1);
    assert!(untouched.chunks_exact(3).all(|of| of[1..].iter().flatten().all(|&moment| moment == 0.0)));
}
