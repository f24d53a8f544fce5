//! Every dialect against its framework's own logits.

mod common;

use common::{case, cases, difference, file, logits};
use resnet_core::preprocessing::{ChannelOrder, Preprocessing};
use resnet_core::zoo::{Shortcut, Stem, Variant};
use resnet_import::container::Archive;
use resnet_import::{Error, Options, Source, import, import_archive};

/// What an imported network may differ by, relative to the largest logit.
const TOLERANCE: f64 = 1e-4;

#[test]
fn logits_are_those_of_the_framework() {
    let cases = cases();
    assert_eq!(cases.len(), 22);
    for case in cases {
        let imported = case.import();
        let found = difference(&logits(&imported, 1, &case.picture()), &case.logits);
        assert!(found < TOLERANCE, "{} ({}): {found:e}", case.name, case.framework);
    }
}

#[test]
fn structure_is_read_off_names_and_shapes() {
    let spec = |name: &str| case(name).import().spec;
    let resnext = spec("torchvision resnext");
    assert_eq!((resnext.groups, resnext.widths[0].middle, resnext.classes), (32, 128, 7));
    assert_eq!(spec("timm tiered stem").stem, Stem::Tiered);
    assert_eq!(spec("timm deep stem, projections").shortcut, Shortcut::Projection);
    assert_eq!(spec("timm v2 deep stem, pooled shortcuts").shortcut, Shortcut::Pooled);
    assert_eq!(spec("d2l, numbered").shortcut, Shortcut::BareProjection);
    assert_eq!(spec("keras applications v2").depths, [2, 3, 2]);
    assert_eq!(spec("hugging face, stride first").variant, Variant::V1);
}

#[test]
fn a_source_that_was_named_is_the_only_one_tried() {
    let torchvision = case("torchvision basic");
    let from = |source| torchvision.import_with(Options { source, ..Options::default() });
    assert!(from(Source::Torchvision).is_ok() && from(Source::Timm).is_ok());
    for source in [Source::Keras, Source::Paddle, Source::D2l, Source::HuggingFace] {
        assert!(matches!(from(source), Err(Error::Unrecognised(why)) if why.contains(&source.to_string())));
    }
}

#[test]
fn differences_are_reported_by_name() {
    let mut case = case("torchvision basic");
    let gone = case.tensors.iter().position(|t| t.0 == "layer2.1.bn1.running_mean").expect("a tensor");
    case.tensors.remove(gone);
    case.tensors.push(("layer2.1.se.fc1.weight".into(), vec![4, 4], 0.0, 1.0));
    case.tensors.iter_mut().find(|t| t.0 == "layer3.0.bn1.bias").expect("a tensor").1 = vec![3];
    let Err(Error::Mismatch { report }) = case.import_with(Options::default()) else { panic!("accepted") };
    assert_eq!(report.missing, ["layer2.1.bn1.running_mean"]);
    assert_eq!(report.unexpected, ["layer2.1.se.fc1.weight"]);
    assert_eq!(report.misshapen.len(), 1);
    let text = Error::Mismatch { report }.to_string();
    for part in ["1 missing: layer2.1.bn1.running_mean", "layer3.0.bn1.bias is [3], [256] wanted"] {
        assert!(text.contains(part), "{text}");
    }
    let lenient = case.import_with(Options { strict: false, ..Options::default() }).expect("lenient");
    assert!(!lenient.report.is_clean());
}

#[test]
fn a_new_head_and_other_channels_are_announced() {
    let case = case("torchvision basic");
    let options = Options { classes: Some(3), channels: Some(1), ..Options::default() };
    let imported = case.import_with(options).expect("imports");
    assert_eq!((imported.spec.classes, imported.spec.channels), (3, 1));
    assert_eq!(imported.values.last().map(Vec::len), Some(3));
    assert_eq!(imported.preprocessing.mean.len(), 1);
    let notes = imported.report.notes.join("\n");
    assert!(
        notes.contains("3 classes instead of the file's 7") && notes.contains("summed over colours"),
        "{notes}"
    );
    // A grey picture gives what it gave as a colour picture of equal channels.
    let grey: Vec<f32> = case.picture().iter().step_by(3).copied().collect();
    let colour: Vec<f32> = grey.iter().flat_map(|v| [*v; 3]).collect();
    let one_channel = case.import_with(Options { channels: Some(1), ..Options::default() }).expect("imports");
    assert!(difference(&logits(&one_channel, 1, &grey), &logits(&case.import(), 1, &colour)) < 1e-5);
}

#[test]
fn a_trunk_needs_a_number_of_classes() {
    let mut case = case("torchvision basic");
    case.tensors.retain(|t| !t.0.starts_with("fc."));
    assert!(
        matches!(case.import_with(Options::default()), Err(Error::Unrecognised(why)) if why.contains("classes"))
    );
    let imported = case.import_with(Options { classes: Some(5), ..Options::default() }).expect("imports");
    assert_eq!(imported.spec.classes, 5);
    assert!(imported.report.notes.iter().any(|note| note.contains("no classifier in the file")));
}

#[test]
fn a_prefix_can_be_given() {
    let mut case = case("torchvision basic");
    case.tensors.iter_mut().for_each(|t| t.0 = format!("cp.resnet.{}", t.0));
    case.tensors.push(("cp.arm.conv.weight".into(), vec![2, 2, 3, 3], 0.0, 1.0));
    let Err(error) = case.import_with(Options::default()) else { panic!("accepted") };
    assert!(error.to_string().contains("under `cp.resnet.`"), "{error}");
    let imported = case.import_with(Options { prefix: Some("cp.resnet".into()), ..Options::default() });
    let notes = imported.expect("imports").report.notes.join("\n");
    assert!(notes.contains("1 other tensors") && notes.contains("taken from `cp.resnet.`"), "{notes}");
}

#[test]
fn weights_by_order_need_their_numbers() {
    let mut case = case("keras tutorial");
    case.tensors
        .iter_mut()
        .for_each(|t| t.0 = t.0.split_once('/').map(|t| t.1.to_owned()).expect("a number"));
    let Err(error) = case.import_with(Options::default()) else { panic!("accepted") };
    assert!(error.to_string().contains("keras_to_safetensors.py"), "{error}");
}

#[test]
fn a_saved_file_brings_its_network_and_pre_processing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("net.safetensors");
    for name in ["keras applications", "timm v2 bottleneck"] {
        let case = case(name);
        let imported = case.import();
        imported.save(&path).expect("saves");
        let again = import(&path, &Options::default()).expect("imports");
        assert_eq!((again.spec, again.values), (imported.spec, imported.values));
        assert_eq!(again.preprocessing, imported.preprocessing);
    }
    let Preprocessing { channel_order, scale, .. } = case("keras applications").import().preprocessing;
    assert_eq!((channel_order, scale), (ChannelOrder::Bgr, 1.0));
}

/// `model.json` and shards, cut where no tensor ends.
#[test]
fn a_tensorflow_js_model_is_read_from_its_shards() {
    let case = case("keras applications");
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = vec![];
    let mut weights = vec![];
    for (name, shape, lo, hi) in &case.tensors {
        let plain = name.split_once('/').map(|(_, plain)| plain).expect("a number");
        bytes.extend(
            common::formula(name, shape.iter().product(), *lo, *hi).iter().flat_map(|v| v.to_le_bytes()),
        );
        weights.push(serde_json::json!({"name": plain, "shape": shape, "dtype": "float32"}));
    }
    let (first, second) = bytes.split_at(1_001);
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("writes");
    write("a.bin", first);
    write("b.bin", second);
    let model = |paths: &[&str], eps: f64| {
        let layer = serde_json::json!({"class_name": "BatchNormalization", "config": {"epsilon": eps}});
        serde_json::json!({
            "modelTopology": {"model_config": {"config": {"layers": [layer]}}},
            "weightsManifest": [{"paths": paths, "weights": weights}],
        })
        .to_string()
    };
    write("model.json", model(&["a.bin", "b.bin"], 1.001e-5).as_bytes());
    let options = Options { size: Some((48, 41)), ..Options::default() };
    let imported = import(folder.path(), &options).expect("imports");
    assert!(difference(&logits(&imported, 1, &case.picture()), &case.logits) < TOLERANCE);

    write("model.json", model(&["a.bin", "b.bin"], 1e-3).as_bytes());
    assert_eq!(import(folder.path(), &options).expect("imports").spec.conventions.norm_eps, 1e-3);
    for (paths, what) in [
        (["a.bin", "../b.bin"], "outside the model's folder"),
        (["a.bin", "/etc/passwd"], "outside the model's folder"),
        (["a.bin", "c.bin"], "cannot open shard"),
        (["a.bin", "a.bin"], "past the end of the file"),
    ] {
        write("model.json", model(&paths, 1e-3).as_bytes());
        let error = import(folder.path(), &options).expect_err("refused").to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn names_of_no_library_are_refused() {
    let tensors = [("a.weight".to_owned(), vec![2, 2], 0.0, 1.0)];
    let archive = Archive::from_bytes(file(&tensors)).expect("opens");
    let error = import_archive(archive, &Options::default()).expect_err("refused").to_string();
    assert!(error.contains("a.weight") && error.contains("no library"), "{error}");
}
