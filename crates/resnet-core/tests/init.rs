//! How networks start: the distributions of the libraries whose dialect they speak.

use resnet_core::{Graph, ParamKind, init, zoo};

struct Started {
    graph: Graph,
    values: Vec<Vec<f32>>,
}

impl Started {
    fn new(name: &str) -> Self {
        let graph = zoo::arch(name).and_then(|s| s.build()).expect("builds");
        let values = init::initial_values(&graph, 11);
        Self { graph, values }
    }

    fn get(&self, name: &str) -> &[f32] {
        let i = self.graph.params().iter().position(|p| p.name == name).expect("a parameter");
        &self.values[i]
    }
}

/// Mean and variance within six standard errors of what they estimate.
fn check_moments(values: &[f32], variance: f64, excess_kurtosis: f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let found = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / (n - 1.0);
    assert!(mean.abs() <= 6.0 * (variance / n).sqrt(), "mean {mean} of variance {variance}");
    let standard_error = variance * ((2.0 + excess_kurtosis) / n).sqrt();
    assert!((found - variance).abs() <= 6.0 * standard_error, "variance {found}, wanted {variance}");
}

fn check_normal(values: &[f32], variance: f64) {
    check_moments(values, variance, 0.0);
    let sigma = variance.sqrt() as f32;
    let outside = values.iter().filter(|v| v.abs() > 2.0 * sigma).count() as f64 / values.len() as f64;
    let standard_error = (0.0455 * 0.9545 / values.len() as f64).sqrt();
    assert!((outside - 0.0455).abs() <= 6.0 * standard_error, "{outside} beyond two sigma");
}

fn check_uniform(values: &[f32], bound: f64) {
    check_moments(values, bound * bound / 3.0, -1.2);
    let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(f64::from(largest) <= bound * (1.0 + 1e-6), "{largest} outside {bound}");
}

#[test]
fn torchvision() {
    let net = Started::new("resnet18");
    check_normal(net.get("conv1.weight"), 2.0 / (64.0 * 49.0)); // fan-out
    check_normal(net.get("layer2.0.conv1.weight"), 2.0 / (128.0 * 9.0));
    check_uniform(net.get("fc.weight"), 1.0 / 512f64.sqrt());
    check_uniform(net.get("fc.bias"), 1.0 / 512f64.sqrt());
    for (i, spec) in net.graph.params().iter().enumerate() {
        let all = |wanted: f32| net.values[i].iter().all(|v| *v == wanted);
        match spec.kind {
            ParamKind::Gamma | ParamKind::RunningVar => assert!(all(1.0), "{}", spec.name),
            ParamKind::Beta | ParamKind::RunningMean => assert!(all(0.0), "{}", spec.name),
            _ => {}
        }
    }
}

#[test]
fn pytorch_defaults_in_d2l() {
    let net = Started::new("d2l18");
    check_uniform(net.get("layer1.0.conv1.weight"), 1.0 / 576f64.sqrt()); // fan-in 64·3·3
    check_uniform(net.get("layer4.1.conv1.bias"), 1.0 / 4608f64.sqrt());
    check_uniform(net.get("fc.weight"), 1.0 / 512f64.sqrt());
}

#[test]
fn keras_defaults() {
    let net = Started::new("keras18");
    check_uniform(net.get("conv1.weight"), (6.0f64 / (49.0 + 64.0 * 49.0)).sqrt());
    check_uniform(net.get("fc.weight"), (6.0f64 / (512.0 + 10.0)).sqrt());
    assert!(net.get("conv1.bias").iter().chain(net.get("fc.bias")).all(|v| *v == 0.0));
}

#[test]
fn paddle_defaults() {
    let net = Started::new("paddle18");
    check_normal(net.get("conv1.weight"), 2.0 / (3.0 * 49.0)); // fan-in
    check_uniform(net.get("fc.weight"), (6.0f64 / (512.0 + 10.0)).sqrt());
    assert!(net.get("layer1.0.downsample.0.bias").iter().all(|v| *v == 0.0));
}

#[test]
fn a_start_depends_on_the_seed_and_on_nothing_else() {
    let graph = zoo::arch("resnet20-cifar").and_then(|s| s.build()).expect("builds");
    let a = init::initial_values(&graph, 1);
    assert_eq!(a, init::initial_values(&graph, 1));
    let b = init::initial_values(&graph, 2);
    for ((a, b), spec) in a.iter().zip(&b).zip(graph.params()) {
        let is_drawn = spec.kind.is_weight() || spec.name == "fc.bias";
        assert_eq!(a != b, is_drawn, "{}", spec.name);
    }
    // Another picture size or class count leaves all the other parameters as they are.
    let wider = zoo::arch("resnet20-cifar").and_then(|s| s.classes(17).size(40, 40).build()).expect("builds");
    let c = init::initial_values(&wider, 1);
    let same = a.iter().zip(&c).zip(graph.params()).filter(|(_, p)| !p.name.starts_with("fc"));
    assert!(same.into_iter().all(|((a, c), _)| a == c));
}

#[test]
fn the_kernel_of_a_zero_padded_shortcut_copies_channels() {
    let net = Started::new("resnet20-cifar");
    let kernel = net.get("layer2.0.downsample.kernel"); // 32 × 16
    for (i, v) in kernel.iter().enumerate() {
        let (out, input) = (i / 16, i % 16);
        assert_eq!(*v, if out == input + 8 { 1.0 } else { 0.0 }, "from {input} to {out}");
    }
}
