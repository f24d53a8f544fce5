//! `resnet import` and `resnet export`.

use std::path::Path;

use resnet_core::weights::{describe, write_graph};
use resnet_core::{init, zoo};

use super::resnet;

/// A file with torchvision's names, which says nothing about its network.
fn weights(path: &Path, arch: &str, described: bool) {
    let spec = zoo::arch(arch).expect("known").classes(4);
    let graph = spec.build().expect("builds");
    let values = init::initial_values(&graph, 1);
    let metadata = if described { describe(&spec) } else { Default::default() };
    let out =
        write_graph(vec![], &graph, &metadata, |id| Ok(values[id.0].as_slice().into())).expect("writes");
    std::fs::write(path, out).expect("writes");
}

#[test]
fn a_network_comes_in_and_goes_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).into_os_string().into_string().expect("UTF-8");
    weights(at("tv.safetensors").as_ref(), "resnet18", false);
    let args =
        ["import", &at("tv.safetensors"), "-o", &at("ours.safetensors"), "--classes", "7", "--channels", "1"];
    let answer = resnet(args);
    assert!(
        answer.stderr.contains("7 classes instead of the file's 4: fc starts fresh"),
        "{}",
        answer.stderr
    );
    answer.done();

    for (to, file) in [("onnx", "x.onnx"), ("torchvision", "x.safetensors"), ("timm", "y.safetensors")] {
        resnet(["export", &at("ours.safetensors"), "--to", to, "-o", &at(file)]).done();
        assert!(std::fs::metadata(at(file)).is_ok_and(|m| m.len() > 1_000_000), "{to}");
    }
    let fold = ["export", &at("ours.safetensors"), "--to", "timm", "--fold", "-o", &at("z")];
    resnet(fold).refused(2, &["--fold is for --to onnx"]);
}

#[test]
fn forward_reads_other_libraries_on_the_fly() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).into_os_string().into_string().expect("UTF-8");
    weights(at("tv.safetensors").as_ref(), "resnet18", false);
    let bytes: Vec<u8> = (0..2 * 3 * 9 * 8).flat_map(|i| (i as f32 * 0.1).sin().to_le_bytes()).collect();
    let header = r#"{"input":{"dtype":"F32","shape":[2,3,9,8],"data_offsets":[0,1728]}}"#;
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes].concat();
    std::fs::write(at("x"), file).expect("writes");
    let run = |output: &str, more: &[&str]| {
        let (weights, input, output) = (at("tv.safetensors"), at("x"), at(output));
        let args = ["forward", "--weights", &weights, "--input", &input, "--output", &output];
        resnet(args.iter().chain(more)).done();
        std::fs::read(output).expect("logits")
    };
    let (named, recognised) = (run("y", &["--arch", "resnet18"]), run("z", &["--from", "auto"]));
    assert_eq!(named, recognised);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).into_os_string().into_string().expect("UTF-8");
    std::fs::write(at("text.pth"), "hello").expect("writes");
    resnet(["import", &at("text.pth"), "-o", &at("o")]).refused(1, &["text.pth", "not a weights file"]);
    weights(at("tv.safetensors").as_ref(), "resnet18", false);
    let wrong = ["import", &at("tv.safetensors"), "--arch", "resnet34", "-o", &at("o")];
    resnet(wrong).refused(1, &["missing", "layer1.2.conv1.weight"]);
    resnet(["import", &at("tv.safetensors"), "--from", "keras", "-o", &at("o")])
        .refused(1, &["names of keras"]);
    weights(at("small.safetensors").as_ref(), "resnet20-cifar", true);
    let small = ["export", &at("small.safetensors"), "--to", "torchvision", "-o", &at("o")];
    resnet(small).refused(1, &["cannot be written as torchvision", "stem"]);
    assert!(!Path::new(&at("o")).exists());
}
