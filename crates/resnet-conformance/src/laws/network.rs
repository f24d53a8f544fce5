//! Whole networks: what fusion may change (nothing), and three training steps from picture to weights.

use proptest::prelude::*;
use resnet_core::op::Optimizer;
use resnet_core::zoo::{Block, ResNetSpec, Shortcut, Variant};
use resnet_core::{Backend, DType, Freeze, FrozenNorms};

use super::{cases, hold_cases, text};
use crate::bound::U;
use crate::noisy::{Computation, Spread};
use crate::strategy::networks::{self, tiny};
use crate::strategy::seed;
use crate::training::{Training, compare_freezing, compare_fusion};

/// Rewriting changes nothing: a ResNet computes the same values, gradients and running statistics fully fused and not fused at all.
///
/// A law of the core, not of a backend: it is checked in f64 on the reference, up to what rounding in f64 explains.
pub fn fusing_a_resnet_changes_nothing() {
    hold_cases(
        "fusing a ResNet changes nothing",
        cases() / 8,
        (networks::resnet(), freeze(), seed()),
        |(spec, freeze, seed)| {
            let Ok(graph) = spec.build() else { return Ok(()) };
            compare_fusion(&graph, *freeze, *seed)
        },
    );
}

/// As [`fusing_a_resnet_changes_nothing`], on graphs that grew at random.
pub fn fusing_any_graph_changes_nothing() {
    hold_cases(
        "fusing a graph changes nothing",
        cases(),
        (networks::grown(), freeze(), seed()),
        |(grown, freeze, seed)| compare_fusion(&grown.build().map_err(text)?, *freeze, *seed),
    );
}

/// Freezing the first layers changes no gradient of the others, and no running statistic where those go on following.
pub fn freezing_changes_no_other_gradient() {
    let given = (networks::grown(), 1..16usize, seed());
    hold_cases("freezing changes no other gradient", cases(), given, |(grown, layers, seed)| {
        compare_freezing(&grown.build().map_err(text)?, *layers, *seed)
    });
}

/// Nothing frozen, some first layers, all normalisations, or both.
fn freeze() -> impl Strategy<Value = Freeze> {
    let norms =
        prop_oneof![Just(FrozenNorms::OfFrozenLayers), Just(FrozenNorms::None), Just(FrozenNorms::All)];
    (prop_oneof![2 => Just(0), 3 => 1..24usize], norms).prop_map(|(layers, norms)| Freeze { layers, norms })
}

/// Three training steps and an inference on a backend and on the reference, from the same weights and pictures.
pub fn trains<B: Backend>(make: impl Fn() -> B, dtype: DType, spec: ResNetSpec) {
    train(make, dtype, spec, SGD, 0.1);
}

/// As [`trains`], by a rule.
fn train<B: Backend>(make: impl Fn() -> B, dtype: DType, spec: ResNetSpec, rule: Optimizer, lr: f32) {
    fine_tune(make, dtype, spec, None, rule, lr);
}

/// As [`train`], with what stands before a layer frozen, or all normalisations.
fn fine_tune<B: Backend>(
    make: impl Fn() -> B,
    dtype: DType,
    spec: ResNetSpec,
    frozen: Option<(&str, FrozenNorms)>,
    rule: Optimizer,
    lr: f32,
) {
    let result = || -> Result<(), String> {
        let graph = spec.build().map_err(text)?;
        let freeze = frozen.map(|(until, norms)| Freeze::until(&graph, until, norms)).transpose();
        let freeze = freeze.map_err(text)?.unwrap_or_default();
        let training = Training { graph, rule, lr, seed: 20_151_210, freeze, dtype };
        let got = training.run(&mut make()).map_err(text)?;
        Spread::of(&training).map_err(text)?.explain(&got, U, U)
    };
    if let Err(error) = result() {
        panic!("three steps of {}: {error}", spec.arch);
    }
}

const SGD: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-2 };
const NESTEROV: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-2 };
const ADAM: Optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 };
const ADAMW: Optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 };

/// v1 with basic blocks and projections, by SGD with momentum.
pub fn v1_basic_trains<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    train(make, dtype, tiny(Variant::V1, Block::Basic, Shortcut::Projection), SGD, 0.1);
}

/// v1 with grouped bottlenecks, by Adam.
pub fn v1_bottleneck_trains<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    train(make, dtype, tiny(Variant::V1, Block::Bottleneck, Shortcut::Projection), ADAM, 1e-2);
}

/// v1.5 with pooled shortcuts, by AdamW.
pub fn v1_5_pooled_trains<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    train(make, dtype, tiny(Variant::V1_5, Block::Bottleneck, Shortcut::Pooled), ADAMW, 1e-2);
}

/// v2, by SGD with Nesterov's momentum.
pub fn v2_trains<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    train(make, dtype, tiny(Variant::V2, Block::Basic, Shortcut::Projection), NESTEROV, 0.1);
}

/// A network without shortcuts, by SGD.
pub fn plain_trains<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    train(make, dtype, tiny(Variant::Plain, Block::Basic, Shortcut::Projection), SGD, 0.1);
}

/// v1 with shortcuts that have no parameters (option A), by SGD.
pub fn zero_padded_shortcut_trains<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    train(make, dtype, tiny(Variant::V1, Block::Basic, Shortcut::ZeroPad), SGD, 0.1);
}

/// v1.5 with the stem and the first stage frozen, their normalisations too, by SGD.
pub fn frozen_layers_train<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let spec = tiny(Variant::V1_5, Block::Basic, Shortcut::Projection);
    fine_tune(make, dtype, spec, Some(("layer2", FrozenNorms::OfFrozenLayers)), SGD, 0.1);
}

/// v2 with the stem frozen and all normalisations, by AdamW: gradients pass through running statistics.
pub fn frozen_norms_train<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let spec = tiny(Variant::V2, Block::Bottleneck, Shortcut::Projection);
    fine_tune(make, dtype, spec, Some(("layer1", FrozenNorms::All)), ADAMW, 1e-2);
}
