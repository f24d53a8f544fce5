//! What is written for other libraries, as far as it can be judged without them: `scripts/check_export.py` loads it there.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{case, difference, logits};
use resnet_core::zoo::{Shortcut, Stem, Variant};
use resnet_import::container::Archive;
use resnet_import::export::{Library, OnnxOptions, write_library, write_onnx};
use resnet_import::{Error, Imported, Options, import_archive};

fn library_file(imported: &Imported, library: Library) -> Result<Vec<u8>, Error> {
    write_library(vec![], &imported.spec, &imported.values, library, &imported.metadata())
}

#[test]
fn names_are_those_the_library_had() {
    for (name, library) in [
        ("torchvision basic", Library::Torchvision),
        ("torchvision resnext", Library::Torchvision),
        ("timm deep stem, pooled shortcuts", Library::Timm),
        ("timm v2 basic", Library::Timm),
        ("timm v2 bottleneck", Library::Timm),
        ("timm v2 deep stem, pooled shortcuts", Library::Timm),
    ] {
        let case = case(name);
        let imported = case.import();
        let mut file = Archive::from_bytes(library_file(&imported, library).expect(name)).expect(name);
        let wanted: BTreeMap<String, Vec<usize>> =
            case.tensors.iter().map(|t| (t.0.clone(), t.1.clone())).collect();
        let floats: Vec<usize> =
            (0..file.entries().len()).filter(|i| file.entries()[*i].element.is_float()).collect();
        let found =
            floats.iter().map(|i| (file.entries()[*i].name.clone(), file.entries()[*i].shape.clone()));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), wanted, "{name}");
        for i in floats {
            let (name, shape, lo, hi) =
                case.tensors.iter().find(|t| t.0 == file.entries()[i].name).expect("one of the case's");
            let values = common::formula(name, shape.iter().product(), *lo, *hi);
            assert_eq!(file.read(i).expect("reads"), values, "{name}");
        }
        // Every normalisation has PyTorch's counter.
        let counters = file.entries().iter().filter(|e| e.name.ends_with(".num_batches_tracked")).count();
        assert_eq!(counters, wanted.keys().filter(|n| n.ends_with("running_var")).count(), "{name}");
    }
}

/// Paddle's tutorial network has biases, Keras's another epsilon; neither has a place in PyTorch's.
#[test]
fn biases_and_epsilons_are_worked_into_the_norms() {
    let case = case("paddle tutorial basic");
    let mut imported = case.import();
    imported.spec.conventions.norm_eps = 1e-3;
    let wanted = logits(&imported, 1, &case.picture());
    let file = Archive::from_bytes(library_file(&imported, Library::Timm).expect("writes")).expect("opens");
    let again = import_archive(file, &Options::default()).expect("imports");
    assert!(!again.spec.conventions.conv_bias && again.spec.conventions.norm_eps == 1e-5);
    assert!(difference(&logits(&again, 1, &case.picture()), &wanted) < 1e-5);
}

#[test]
fn what_a_library_does_not_have_is_refused_by_name() {
    let refusal = |name: &str, library| match library_file(&case(name).import(), library) {
        Err(e @ Error::Inexpressible { .. }) => e.to_string(),
        other => panic!("{name}: {:?}", other.map(|f| f.len())),
    };
    assert!(refusal("keras applications", Library::Torchvision).contains("first 1×1"));
    assert!(refusal("keras applications v2", Library::Timm).contains("strides"));
    assert!(refusal("timm v2 basic", Library::Torchvision).contains("pre-activation"));
    assert!(refusal("d2l, named", Library::Timm).contains("shortcuts"));
    assert!(refusal("timm deep stem, projections", Library::Torchvision).contains("stem"));
    let base = case("torchvision basic").import().spec;
    let mut plain = base.clone().variant(Variant::Plain);
    assert!(Library::Timm.check(&plain).is_err());
    plain.variant = Variant::V1;
    assert!(Library::Torchvision.check(&plain).is_ok(), "basic blocks have their stride on a 3×3 in v1 too");
    plain.stem = Stem::Small;
    assert!(Library::Torchvision.check(&plain).is_err());
    let mut odd = case("timm v2 bottleneck").import().spec;
    odd.shortcut = Shortcut::Pooled;
    assert!(Library::Timm.check(&odd).is_err());
}

/// The fields of a protocol buffer: number, and whole number or bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u32, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        unreachable!("a varint ends")
    }
    let mut found = vec![];
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let (value, length) = match tag & 7 {
            0 => (varint(&mut bytes), 0),
            5 => (0, 4),
            2 => (0, varint(&mut bytes) as usize),
            other => panic!("wire type {other}"),
        };
        let (inner, rest) = bytes.split_at(length);
        found.push(((tag >> 3) as u32, value, inner));
        bytes = rest;
    }
    found
}

struct Onnx {
    /// Operator types and how many there are of each.
    operators: BTreeMap<String, usize>,
    initializers: BTreeMap<String, usize>,
}

/// Reads a model back, checking that every operator reads what was made before it, and that no name is made twice.
fn onnx(imported: &Imported, fold_norms: bool) -> Onnx {
    let graph = imported.spec.build().expect("builds");
    let mut file = vec![];
    let options = OnnxOptions { fold_norms, metadata: imported.metadata() };
    write_onnx(&mut file, &graph, &imported.values, &options).expect("writes");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let model = fields(&file);
    let opset = model.iter().find(|f| f.0 == 8).map(|f| fields(f.2)).expect("an opset");
    assert!(opset.iter().any(|f| (f.0, f.1) == (2, 17)));
    assert_eq!(model.iter().filter(|f| f.0 == 14).count(), options.metadata.len());
    let body = fields(model.iter().find(|f| f.0 == 7).expect("a graph").2);

    let mut initializers = BTreeMap::new();
    for (_, _, tensor) in body.iter().filter(|f| f.0 == 5) {
        let tensor = fields(tensor);
        let n: u64 = tensor.iter().filter(|f| f.0 == 1).map(|f| f.1).product();
        let name = text(tensor.iter().find(|f| f.0 == 8).expect("a name").2);
        if let Some(raw) = tensor.iter().find(|f| f.0 == 9) {
            assert_eq!(raw.2.len() as u64, 4 * n, "{name}");
        }
        assert_eq!(initializers.insert(name, n as usize), None);
    }
    let mut known: BTreeSet<String> = initializers.keys().cloned().collect();
    known.insert("input".into());
    let mut operators = BTreeMap::new();
    for (_, _, node) in body.iter().filter(|f| f.0 == 1) {
        let node = fields(node);
        for input in node.iter().filter(|f| f.0 == 1) {
            assert!(known.contains(&text(input.2)), "{} is read before it is made", text(input.2));
        }
        let output = text(node.iter().find(|f| f.0 == 2).expect("an output").2);
        assert!(known.insert(output.clone()), "{output} is made twice");
        *operators.entry(text(node.iter().find(|f| f.0 == 4).expect("a type").2)).or_default() += 1;
    }
    assert!(known.contains("logits"));
    Onnx { operators, initializers }
}

#[test]
fn onnx_has_an_operator_per_layer_and_folds_norms() {
    for name in
        ["torchvision bottleneck, wrapped", "keras applications v2", "keras tutorial", "timm tiered stem"]
    {
        let imported = case(name).import();
        let graph = imported.spec.build().expect("builds");
        let count = |kind: &str| graph.nodes().iter().filter(|n| n.layer.kind() == kind).count();
        let whole = onnx(&imported, false);
        assert_eq!(whole.operators["Conv"], count("Conv2d"), "{name}");
        assert_eq!(whole.operators["BatchNormalization"], count("BatchNorm2d"), "{name}");
        assert_eq!(whole.operators["Relu"], count("ReLU"), "{name}");
        for param in graph.params() {
            assert_eq!(whole.initializers.get(&param.name), Some(&param.len()), "{name}: {}", param.name);
        }
        let folded = onnx(&imported, true);
        let left = folded.operators.get("BatchNormalization").copied().unwrap_or_default();
        // In v2 a block's first normalisation reads a sum or a pool, and stays.
        let stay = if imported.spec.variant == Variant::V2 {
            1 + imported.spec.depths.iter().sum::<usize>()
        } else {
            0
        };
        assert_eq!(left, stay, "{name}");
        assert_eq!(whole.operators.contains_key("Pad"), imported.spec.conventions.stem_pool_zeros, "{name}");
    }
}

#[test]
fn values_of_another_network_are_refused() {
    let imported = case("d2l, named").import();
    let graph = imported.spec.build().expect("builds");
    let short = &imported.values[1..];
    assert!(write_onnx(vec![], &graph, short, &OnnxOptions::default()).is_err());
    let mut wrong = imported.values.clone();
    wrong[3].pop();
    let error = write_onnx(vec![], &graph, &wrong, &OnnxOptions::default()).expect_err("refused").to_string();
    assert!(error.contains(&graph.params()[3].name), "{error}");
}
