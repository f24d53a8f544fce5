//! Pre-processing and class names that stand beside a weights file, or follow from whose it is.

mod common;

use common::{case, file};
use resnet_core::preprocessing::{Interpolation, Preprocessing, Resize};
use resnet_import::{Imported, Options, Source, import};

/// What timm writes beside the weights it uploads.
const TIMM: &str = r#"{"architecture": "resnet12", "num_classes": 7, "num_features": 512,
    "label_names": ["a", "b", "c", "d", "e", "f", "g"],
    "pretrained_cfg": {"tag": "a1_in1k", "input_size": [3, 64, 48], "test_input_size": [3, 288, 288], "interpolation": "bicubic",
    "crop_pct": 0.9, "crop_mode": "center", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 7}}"#;

/// A folder with a network of 7 classes under torchvision's names, and these files beside it.
fn imported(name: &str, beside: &[(&str, &str)], options: Options) -> Imported {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, file(&case("torchvision basic").tensors)).expect("writes");
    for (name, text) in beside {
        std::fs::write(folder.path().join(name), text).expect("writes");
    }
    import(&path, &options).unwrap_or_else(|e| panic!("{e}"))
}

fn plain(beside: &[(&str, &str)]) -> Imported {
    imported("model.safetensors", beside, Options::default())
}

fn notes(imported: &Imported) -> String {
    imported.report.notes.join("\n")
}

#[test]
fn a_description_by_timm_is_used() {
    let found = plain(&[("config.json", TIMM)]);
    let wanted = Preprocessing {
        resize: Resize::ShortSide(71), // ⌊64 / 0.9⌋
        interpolation: Interpolation::Bicubic,
        ..Preprocessing::exact(64, 48, vec![0.1, 0.2, 0.3], vec![0.4, 0.5, 0.6])
    };
    assert_eq!(found.preprocessing, wanted);
    assert_eq!((found.spec.height, found.spec.width), (64, 48));
    assert_eq!(found.class_names(), ["a", "b", "c", "d", "e", "f", "g"]);
    assert!(notes(&found).contains("pre-processing and class names from config.json"), "{}", notes(&found));

    let own_size = Options { size: Some((90, 90)), channels: Some(1), ..Options::default() };
    let found = imported("model.safetensors", &[("config.json", TIMM)], own_size);
    assert_eq!((found.preprocessing.resize, found.preprocessing.crop), (Resize::ShortSide(100), (90, 90)));
    assert_eq!(found.preprocessing.mean, [0.2]);

    let squeezed = plain(&[("config.json", &TIMM.replace("center", "squash"))]);
    assert_eq!(squeezed.preprocessing.resize, Resize::Exact(64, 48));
}

#[test]
fn a_description_of_transformers_is_used() {
    let labels: Vec<String> = (0..7).map(|i| format!(r#""{i}": "kind {i}""#)).collect();
    let config = format!(r#"{{"model_type": "resnet", "id2label": {{{}}}}}"#, labels.join(","));
    let processor = r#"{"crop_pct": 0.875, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25],
        "resample": 3, "size": {"shortest_edge": 112}, "image_processor_type": "ConvNextImageProcessor"}"#;
    let found = plain(&[("config.json", &config), ("preprocessor_config.json", processor)]);
    assert_eq!((found.preprocessing.resize, found.preprocessing.crop), (Resize::ShortSide(128), (112, 112)));
    assert_eq!(
        (found.preprocessing.std[0], found.preprocessing.interpolation),
        (0.25, Interpolation::Bicubic)
    );
    assert_eq!(found.class_names()[6], "kind 6");
    let unnamed = config.replace("kind ", "LABEL_");
    let found = plain(&[("config.json", &unnamed), ("preprocessor_config.json", processor)]);
    assert_eq!(found.classes, None, "names that transformers makes up are none");
}

#[test]
fn what_does_not_belong_to_the_file_is_left_alone_and_named() {
    let usual = plain(&[]);
    for (text, note) in [
        (TIMM.replace(r#""num_classes": 7"#, r#""num_classes": 1000"#), "is for 1000 classes, not 7"),
        (TIMM.replace("bicubic", "random"), "no usable crop_pct"),
        ("{\"crop_pct\": ".into(), "config.json beside the file is left alone: EOF"),
        (r#"{"name": "somebody's own settings"}"#.into(), ""),
        ("[1, 2]".into(), ""),
    ] {
        let found = plain(&[("config.json", &text)]);
        assert_eq!(found.preprocessing, usual.preprocessing, "{text}");
        assert!(notes(&found).contains(note) && note.is_empty() == found.report.notes.is_empty(), "{text}");
    }
    // What the file says itself goes first.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.safetensors");
    usual.save(&path).expect("saves");
    std::fs::write(folder.path().join("config.json"), TIMM).expect("writes");
    let again = import(&path, &Options::default()).expect("imports");
    assert_eq!(again.preprocessing, usual.preprocessing);
    assert!(again.report.described && again.report.notes.is_empty(), "{:?}", again.report);
}

#[test]
fn whose_the_weights_are_says_how_pictures_are_cut() {
    let resize = |name: &str, source| {
        let options = Options { source, checksum: false, size: Some((224, 224)), ..Options::default() };
        let found = imported(name, &[], options).preprocessing;
        (found.resize, found.interpolation)
    };
    let short = |side, interpolation| (Resize::ShortSide(side), interpolation);
    assert_eq!(resize("x.pth", Source::Auto), short(256, Interpolation::Bilinear));
    assert_eq!(resize("x.pth", Source::Timm), short(235, Interpolation::Bicubic));
    assert_eq!(resize("resnet50-0676ba61.pth", Source::Auto), short(256, Interpolation::Bilinear));
    assert_eq!(resize("resnet50-11ad3fa6.pth", Source::Auto), short(232, Interpolation::Bilinear));
}
