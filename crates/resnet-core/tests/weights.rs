//! Weights files: what is written can be read by others and the other way round; what does not fit is named; hostile
//! files are refused.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Cursor;

use resnet_core::weights::{self, Dtype, Entry, Header, Metadata, Reader, Strictness, Writer};
use resnet_core::{Graph, init, zoo};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

fn small() -> (zoo::ResNetSpec, Graph) {
    let spec = zoo::arch("resnet20-cifar").expect("known");
    let graph = spec.build().expect("builds");
    (spec, graph)
}

fn file_of(graph: &Graph, values: &[Vec<f32>], metadata: &Metadata) -> Vec<u8> {
    weights::write_graph(vec![], graph, metadata, |id| Ok(Cow::Borrowed(&values[id.0][..]))).expect("writes")
}

fn open(bytes: &[u8]) -> resnet_core::Result<Reader<Cursor<&[u8]>>> {
    Reader::new(Cursor::new(bytes))
}

/// A file from a header and as many zero bytes as it should be followed by.
fn raw_file(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn the_reference_implementation_reads_what_we_write() {
    let (spec, graph) = small();
    let values = init::initial_values(&graph, 7);
    let bytes = file_of(&graph, &values, &weights::describe(&spec));
    let theirs = SafeTensors::deserialize(&bytes).expect("valid");
    for (spec, value) in graph.params().iter().zip(&values).filter(|(p, _)| p.kind.is_saved()) {
        let tensor = theirs.tensor(&spec.name).expect("written");
        assert_eq!(tensor.shape(), spec.shape);
        let data: Vec<u8> = value.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(tensor.data(), data, "{}", spec.name);
    }
    let counter = theirs.tensor("layer2.1.bn2.num_batches_tracked").expect("written");
    assert_eq!(
        (counter.dtype(), counter.shape(), counter.data()),
        (safetensors::Dtype::I64, &[][..], &[0u8; 8][..])
    );
    // Nothing else: option A shortcuts have no weights.
    let n_norms = graph.params().iter().filter(|p| p.name.ends_with("running_var")).count();
    assert_eq!(theirs.len(), graph.params().iter().filter(|p| p.kind.is_saved()).count() + n_norms);
    assert_eq!(bytes, file_of(&graph, &values, &weights::describe(&spec)), "the bytes must be reproducible");
}

#[test]
fn a_file_carries_its_network() {
    let (spec, graph) = small();
    let mut metadata = weights::describe(&spec);
    metadata.insert("mean".into(), "0.485 \"quoted\" ü".into());
    let bytes = file_of(&graph, &init::initial_values(&graph, 0), &metadata);
    let reader = open(&bytes).expect("reads");
    assert_eq!(reader.header().metadata, metadata);
    assert_eq!(weights::described_spec(reader.header()).expect("valid"), Some(spec));

    let nonsense = Header::parse(br#"{"__metadata__":{"spec":"{}"}}"#, 0).expect("valid");
    assert!(weights::described_spec(&nonsense).is_err());
    assert_eq!(weights::described_spec(&Header::parse(b"{}", 0).expect("valid")).ok(), Some(None));
}

#[test]
fn every_floating_type_is_read_as_f32() {
    // 1, −2, the largest half, the smallest half, −0, +∞; bfloat16 where the value has one.
    let f16: Vec<u8> =
        [0x3C00u16, 0xC000, 0x7BFF, 0x0001, 0x8000, 0x7C00].iter().flat_map(|v| v.to_le_bytes()).collect();
    let bf16: Vec<u8> =
        [0x3F80u16, 0xC000, 0x7F7F, 0x0001, 0x8000, 0x7F80].iter().flat_map(|v| v.to_le_bytes()).collect();
    let f64: Vec<u8> =
        [1.0f64, -2.0, 1e300, 0.1, -0.0, f64::INFINITY].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = |dtype, data| TensorView::new(dtype, vec![2, 3], data).expect("valid");
    let bytes = safetensors::serialize(
        [
            ("half", view(safetensors::Dtype::F16, &f16)),
            ("brain", view(safetensors::Dtype::BF16, &bf16)),
            ("double", view(safetensors::Dtype::F64, &f64)),
            ("whole", TensorView::new(safetensors::Dtype::I64, vec![], &[0; 8]).expect("valid")),
        ],
        Some(HashMap::from([("key".to_owned(), "value".to_owned())])),
    )
    .expect("serialises");
    let mut reader = open(&bytes).expect("reads");
    assert_eq!(reader.header().metadata["key"], "value");
    let mut read = |name: &str| {
        let array = reader.read(name).expect("readable");
        assert_eq!(array.shape(), [2, 3]);
        array.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let bits = |values: [f32; 6]| values.map(f32::to_bits).to_vec();
    assert_eq!(read("half"), bits([1.0, -2.0, 65504.0, 5.960_464_5e-8, -0.0, f32::INFINITY]));
    assert_eq!(read("brain"), [0x3F80u32, 0xC000, 0x7F7F, 0x0001, 0x8000, 0x7F80].map(|b| b << 16));
    assert_eq!(read("double"), bits([1.0, -2.0, f32::INFINITY, 0.1, -0.0, f32::INFINITY]));
    let message = reader.read("whole").expect_err("not a float").to_string();
    assert!(message.contains("\"whole\" has type I64; F32, F16, BF16 or F64 wanted"), "{message}");
    assert!(reader.read("absent").is_err());
}

#[test]
fn long_tensors_survive_the_chunks() {
    let values: Vec<f32> = (0..70_001).map(|i| i as f32 * 0.5).collect();
    let mut writer =
        Writer::new(vec![], vec![Entry::f32("x", &[70_001])], &Metadata::new()).expect("described");
    writer.write_f32("x", &values).expect("fits");
    let bytes = writer.finish().expect("complete");
    let read = open(&bytes).and_then(|mut r| r.read("x")).expect("reads");
    assert_eq!(read.as_slice().expect("dense"), values);
}

#[test]
fn a_writer_keeps_its_word() {
    let writer = || {
        Writer::new(vec![], vec![Entry::f32("a", &[2]), Entry::i64("b", &[])], &Metadata::new())
            .expect("described")
    };
    assert!(writer().write_f32("b", &[1.0]).is_err());
    assert!(writer().write_f32("a", &[1.0]).is_err());
    assert!(writer().write_i64("a", &[1, 2]).is_err());
    assert!(writer().finish().is_err());
    assert!(
        Writer::new(vec![], vec![Entry::f32("a", &[1]), Entry::f32("a", &[1])], &Metadata::new()).is_err()
    );
    assert!(Writer::new(vec![], vec![Entry::f32("a", &[usize::MAX, 2])], &Metadata::new()).is_err());
    assert!(Writer::new(vec![], vec![Entry::f32("__metadata__", &[1])], &Metadata::new()).is_err());
    assert!(Writer::new(vec![], vec![Entry::f32("a", &[1; 9])], &Metadata::new()).is_err());
}

#[test]
fn every_difference_is_named_and_nothing_is_stored() {
    let (_, graph) = small();
    let other = zoo::arch("resnet20-cifar").expect("known").classes(7).build().expect("builds");
    let values = init::initial_values(&other, 3);
    let mut entries: Vec<Entry> =
        other.params().iter().filter(|p| p.kind.is_saved()).map(|p| Entry::f32(&p.name, &p.shape)).collect();
    entries.retain(|e| e.name != "conv1.weight" && e.name != "bn1.bias"); // missing
    entries.push(Entry::f32("zz.extra", &[1])); // unexpected
    entries.push(Entry::f32("module.extra", &[1]));
    let by_name: HashMap<&str, &Vec<f32>> =
        other.params().iter().map(|p| p.name.as_str()).zip(&values).collect();
    let mut writer = Writer::new(vec![], entries.clone(), &Metadata::new()).expect("described");
    for entry in &entries {
        let value = by_name.get(entry.name.as_str()).map_or(vec![0.0], |v| (*v).clone());
        writer.write_f32(&entry.name, &value).expect("fits");
    }
    let bytes = writer.finish().expect("complete");

    let fresh = init::initial_values(&graph, 4);
    let mut target = fresh.clone();
    let mut reader = open(&bytes).expect("reads");
    let refused =
        weights::load_values(&mut reader, &graph, Strictness::Strict, &mut target).expect_err("differs");
    let message = refused.to_string();
    for part in [
        "2 missing: bn1.bias, conv1.weight",
        "2 unexpected: module.extra, zz.extra",
        "2 misshapen: fc.bias is F32 [7], [10] wanted, fc.weight is F32 [7, 64], [10, 64] wanted",
    ] {
        assert!(message.contains(part), "`{part}` not in: {message}");
    }
    assert_eq!(target, fresh);

    let report =
        weights::load_values(&mut reader, &graph, Strictness::Lenient, &mut target).expect("lenient");
    let n_saved = graph.params().iter().filter(|p| p.kind.is_saved()).count();
    assert_eq!(report.n_fitting, n_saved - 4);
    for (i, spec) in graph.params().iter().enumerate() {
        let from_file = spec.kind.is_saved()
            && !["conv1.weight", "bn1.bias", "fc.weight", "fc.bias"].contains(&spec.name.as_str());
        assert_eq!(target[i], if from_file { values[i].clone() } else { fresh[i].clone() }, "{}", spec.name);
    }
}

#[test]
fn hostile_headers_are_refused() {
    let one = |shape: &str, dtype: &str, from: u64, to: u64| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    let two = |a: (u64, u64), b: (u64, u64)| {
        let t = |name: &str, (from, to): (u64, u64)| {
            format!(
                r#""{name}":{{"dtype":"F32","shape":[{}],"data_offsets":[{from},{to}]}}"#,
                to.saturating_sub(from) / 4
            )
        };
        format!("{{{},{}}}", t("a", a), t("b", b))
    };
    let cases: Vec<(&str, String, usize)> = vec![
        ("overlaps", two((0, 8), (4, 12)), 12),
        ("overlaps", two((0, 8), (0, 8)), 8),
        ("gap", two((0, 4), (8, 12)), 12),
        ("gap", one("[1]", "F32", 4, 8), 8),
        ("overflows", one("[4194305,4194305,211106198978564]", "F32", 0, 16), 16),
        ("overflows", one("[18446744073709551615]", "F32", 0, 16), 16),
        ("cannot lie", one("[2]", "F32", 0, 4), 4),
        ("cannot lie", one("[1]", "F32", 4, 0), 4),
        ("cannot lie", one("[]", "F32", 18_446_744_073_709_551_612, 0), 4),
        ("no whole number of bytes", one("[1]", "F4", 0, 1), 1),
        ("more than 8 dimensions", one("[1,1,1,1,1,1,1,1,1]", "F32", 0, 4), 4),
        ("file has 4", one("[2]", "F32", 0, 8), 4),
        ("file has 12", one("[2]", "F32", 0, 8), 12),
        ("twice", r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#.into(), 4),
        ("twice", r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0),
        ("twice", r#"{"__metadata__":{"k":"1","k":"2"}}"#.into(), 0),
        ("duplicate field", r#"{"a":{"dtype":"F32","shape":[],"shape":[1],"data_offsets":[0,4]}}"#.into(), 4),
        ("not valid", r#"{"__metadata__":{"k":1}}"#.into(), 0),
        ("not valid", one("[-1]", "F32", 0, 4), 4),
        ("not valid", one("[1.5]", "F32", 0, 4), 4),
        ("not valid", one("[1]", "F33", 0, 4), 4),
        ("not valid", "[]".into(), 0),
        ("not valid", "{".repeat(100_000), 0),
        ("not valid", format!("{{\"a\":{}", "[".repeat(100_000)), 0),
        ("not valid", "{\"\u{0}\":1}".into(), 0),
    ];
    for (wanted, json, data) in cases {
        let message = open(&raw_file(&json, data)).map(|_| ()).expect_err(&json).to_string();
        assert!(
            message.contains(wanted),
            "`{wanted}` not in `{message}` for {}",
            &json[..json.len().min(200)]
        );
    }
    let many: Vec<String> = (0..=weights::MAX_TENSORS)
        .map(|i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let message =
        open(&raw_file(&format!("{{{}}}", many.join(",")), 0)).map(|_| ()).expect_err("too many").to_string();
    assert!(message.contains("more than 100000 tensors"), "{message}");

    for claimed in [u64::MAX, u64::MAX - 7, weights::MAX_HEADER_BYTES + 1, 1 << 40, 3] {
        let mut bytes = raw_file("{}", 0);
        bytes[..8].copy_from_slice(&claimed.to_le_bytes());
        assert!(open(&bytes).is_err(), "{claimed}");
    }
    assert!(open(&[]).is_err());
    assert!(open(&[0; 7]).is_err());
    assert!(open(&[0; 8]).is_err());
}

#[test]
fn harmless_oddities_are_accepted() {
    let empty = open(&raw_file("{}   ", 0)).map(|r| r.header().tensors.len());
    assert_eq!(empty.ok(), Some(0));
    let zero = r#"{"z":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
    let bytes = raw_file(zero, 4);
    let mut reader = open(&bytes).expect("a tensor without elements may share an offset");
    assert_eq!(reader.read("z").expect("reads").len(), 0);
    assert_eq!(reader.read("a").expect("reads").len(), 1);
}

/// A small file with every element type and metadata.
fn specimen() -> Vec<u8> {
    let entries = vec![Entry::i64("n", &[]), Entry::f32("w", &[2, 3]), Entry::f32("b", &[2])];
    let metadata = Metadata::from([("arch".to_owned(), "x".to_owned())]);
    let mut writer = Writer::new(vec![], entries, &metadata).expect("described");
    writer.write_i64("n", &[0]).expect("fits");
    writer.write_f32("w", &[1.0; 6]).expect("fits");
    writer.write_f32("b", &[1.0; 2]).expect("fits");
    writer.finish().expect("complete")
}

#[test]
fn every_truncation_is_detected() {
    let bytes = specimen();
    assert!(open(&bytes).is_ok());
    for len in 0..bytes.len() {
        assert!(open(&bytes[..len]).is_err(), "cut to {len} of {} bytes", bytes.len());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(open(&longer).is_err());
}

#[test]
fn no_bit_flip_in_a_header_gets_past_the_checks() {
    let bytes = specimen();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let data_len = (bytes.len() - 8 - header_len) as u64;
    for bit in 0..(8 + header_len) * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(mut reader) = open(&flipped) else { continue };
        // What is still a header (a renamed tensor, another element type of the same size) covers the data exactly.
        let tensors = reader.header().tensors.clone();
        assert_eq!(tensors.values().map(|t| t.end - t.start).sum::<u64>(), data_len, "bit {bit}");
        for (name, info) in tensors {
            assert_eq!(reader.read(&name).map(|a| a.len()).ok(), info.is_float().then(|| info.len()));
        }
    }
}

#[test]
fn a_type_we_cannot_read_is_a_misfit() {
    let graph = small().1;
    let json = r#"{"conv1.weight":{"dtype":"I32","shape":[16,3,3,3],"data_offsets":[0,1728]}}"#;
    let report = weights::compare(&Header::parse(json.as_bytes(), 1728).expect("valid"), &graph);
    assert_eq!(report.misfits.len(), 1);
    assert_eq!((report.misfits[0].found.0, &report.misfits[0].wanted[..]), (Dtype::I32, &[16, 3, 3, 3][..]));
}
