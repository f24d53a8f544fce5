//! Folding changes how a network is written, not what it computes.

mod common;

use common::{Image, infer};
use resnet_core::graph::{Layer, fold};
use resnet_core::rng::{Purpose, Stream};
use resnet_core::zoo::{self, ResNetSpec, Stem, Variant, Width};
use resnet_core::{Graph, ParamKind, init};

/// A network small enough for plain loops, with every kind of layer its preset has.
fn tiny(name: &str, variant: Variant) -> ResNetSpec {
    let mut spec = zoo::arch(name).expect("known").variant(variant).channels(2).classes(3).size(17, 14);
    // Two stages, the second with a block that keeps the shape: the bound on the error grows with every layer.
    spec.depths = vec![1, 2];
    spec.widths.truncate(2);
    let scale = |n: usize| (n / 16).max(2);
    spec.widths = spec.widths.iter().map(|w| Width { middle: scale(w.middle), out: scale(w.out) }).collect();
    spec.groups = if spec.groups > 1 { 2 } else { 1 };
    spec.conventions.norm_eps = NORM_EPS;
    spec.stem_width = 4;
    if spec.stem == Stem::Small {
        spec.stem_width = 2;
        spec = spec.size(7, 9);
    }
    spec
}

/// Values of few bits, with variances that make every scale a power of two: then folding rounds nothing, and only the f64
/// arithmetic of the two inferences can differ.
fn dyadic_values(graph: &Graph, rng: &mut Stream) -> Vec<Vec<f32>> {
    let mut pick = |choices: &[f32]| choices[rng.below(choices.len())];
    let mut value = |kind: ParamKind| match kind {
        ParamKind::Gamma => pick(&[0.5, 1.0, -1.0, 2.0]),
        ParamKind::RunningVar => pick(&[0.0, 0.75, 3.75]), // with NORM_EPS: standard deviations 0.5, 1 and 2
        ParamKind::ConvWeight | ParamKind::LinearWeight => {
            pick(&[-0.5, -0.25, -0.125, 0.0, 0.125, 0.25, 0.5])
        }
        _ => pick(&[-1.0, -0.375, 0.0, 0.125, 0.75]),
    };
    let mut values = init::initial_values(graph, 0);
    for (v, spec) in values.iter_mut().zip(graph.params()).filter(|(_, p)| p.kind != ParamKind::Constant) {
        v.fill_with(|| value(spec.kind));
    }
    values
}

const NORM_EPS: f32 = 0.25;

fn n_norms(graph: &Graph) -> usize {
    graph.nodes().iter().filter(|n| matches!(n.layer, Layer::Norm(_))).count()
}

#[test]
fn a_folded_network_computes_the_same() {
    let names = [
        "resnet18",
        "resnet50",
        "resnext50_32x4d",
        "resnet50d",
        "d2l18",
        "keras18",
        "paddle18",
        "resnet20-cifar",
    ];
    for name in names {
        for variant in Variant::ALL {
            let spec = tiny(name, variant);
            let graph = spec.build().unwrap_or_else(|e| panic!("{e}"));
            let mut rng = Stream::new(5, Purpose::Synthetic, 0, 0);
            let values = dyadic_values(&graph, &mut rng);
            let picture = Image::exact(graph.input_shape(), || rng.below(17) as f64 - 8.0);
            let (folded, folded_values) = fold(&graph, &values).expect("folds");
            let (before, after) =
                (infer(&graph, &values, &picture), infer(&folded, &folded_values, &picture));
            for (a, b) in before.iter().zip(&after) {
                assert!((a.v - b.v).abs() <= a.err + b.err, "{name} {variant}: {a:?} became {b:?}");
                assert!(b.err <= 1e-3, "{name} {variant}: the bound of {b:?} says nothing");
            }
            assert!(n_norms(&folded) < n_norms(&graph));
            assert!(folded_values.iter().zip(folded.params()).all(|(v, p)| v.len() == p.len()));
        }
    }
}

#[test]
fn post_activation_loses_every_norm_and_pre_activation_those_behind_a_convolution() {
    let left = |name: &str| {
        let graph = zoo::arch(name).and_then(|s| s.build()).expect("builds");
        let (folded, _) = fold(&graph, &init::initial_values(&graph, 0)).expect("folds");
        assert_eq!(folded.nodes().len(), graph.nodes().len() - (n_norms(&graph) - n_norms(&folded)));
        assert_eq!(folded.macs(), graph.macs());
        n_norms(&folded)
    };
    assert_eq!(left("resnet18"), 0);
    assert_eq!(left("resnet50"), 0);
    assert_eq!(left("resnet18v2"), 8 + 1); // the first of each block, and the last of all
    assert_eq!(left("resnet20-cifar"), 0);
    // Behind a 3×3 stem without a pool the first norm reads a convolution, but so does the shortcut.
    assert_eq!(left("resnet20v2-cifar"), 9 + 1);
}

#[test]
fn a_folded_convolution_has_the_scaled_kernel_and_the_shifted_bias() {
    let graph = tiny("d2l18", Variant::V1_5).build().expect("builds");
    let mut values = init::initial_values(&graph, 1);
    let at = |name: &str| graph.params().iter().position(|p| p.name == name).expect("there");
    let set = [
        ("conv1.bias", 2.0),
        ("bn1.weight", 3.0),
        ("bn1.bias", 5.0),
        ("bn1.running_mean", 7.0),
        ("bn1.running_var", 4.0),
    ];
    for (name, value) in set {
        values[at(name)].fill(value);
    }
    let (folded, folded_values) = fold(&graph, &values).expect("folds");
    let new =
        |name: &str| &folded_values[folded.params().iter().position(|p| p.name == name).expect("there")];
    let scale = 3.0 / (4.0f64 + f64::from(NORM_EPS)).sqrt();
    let weights: Vec<f32> =
        values[at("conv1.weight")].iter().map(|w| (f64::from(*w) * scale) as f32).collect();
    assert_eq!(new("conv1.weight"), &weights);
    assert!(new("conv1.bias").iter().all(|b| *b == (scale * (2.0 - 7.0) + 5.0) as f32));
}

#[test]
fn wrong_values_are_refused_by_name() {
    let graph = tiny("resnet18", Variant::V1_5).build().expect("builds");
    let values = init::initial_values(&graph, 1);
    let message = |values: &[Vec<f32>]| fold(&graph, values).map(|_| ()).expect_err("refused").to_string();
    assert!(message(&values[1..]).contains("number of parameters"));
    let mut short = values.clone();
    short[0].pop();
    assert!(message(&short).contains("conv1.weight"));
    let mut negative = values;
    let i = graph.params().iter().position(|p| p.name == "bn1.running_var").expect("there");
    negative[i][2] = -1.0;
    assert!(message(&negative).contains("bn1: channel 2"), "{}", message(&negative));
}
