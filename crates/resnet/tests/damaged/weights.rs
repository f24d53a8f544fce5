//! Weights: every container.

use std::path::{Path, PathBuf};

use resnet::core::weights::{describe, write_graph};
use resnet::core::{init, zoo};
use resnet::import::container::Archive;

use crate::harness::{Outcome, damage};

fn golden(name: &str) -> Vec<u8> {
    let folder: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../resnet-import/tests/golden/containers"].iter().collect();
    std::fs::read(folder.join(name)).unwrap()
}

/// Names and bits of all numbers of a container.
fn numbers(mut archive: Archive) -> Result<Vec<(String, Vec<u32>)>, String> {
    let floats: Vec<usize> =
        (0..archive.entries().len()).filter(|i| archive.entries()[*i].element.is_float()).collect();
    let read = |i: usize| {
        let values = archive.read(i).map_err(|e| e.to_string())?;
        Ok((archive.entries()[i].name.clone(), values.iter().map(|v| v.to_bits()).collect()))
    };
    floats.into_iter().map(read).collect()
}

fn tried(name: &str) -> Outcome {
    let read = |bytes: &[u8]| numbers(Archive::from_bytes(bytes.to_vec()).map_err(|e| e.to_string())?);
    damage(name, &golden(name), read)
}

#[test]
fn pytorch_zip() {
    assert!(tried("checkpoint.pth").n_refused > 0);
}

#[test]
fn pytorch_legacy_pickle() {
    assert!(tried("checkpoint-legacy.pth").n_refused > 0);
}

#[test]
fn paddle() {
    for name in ["layer-2.pdparams", "layer-4.pdparams"] {
        assert!(tried(name).n_refused > 0);
    }
}

#[test]
fn keras() {
    for name in ["model.h5", "model.keras", "model.weights.h5"] {
        assert!(tried(name).n_refused > 0);
    }
}

/// The whole way from a file to a network.
#[test]
fn safetensors() {
    let spec = zoo::arch("resnet8-cifar").unwrap().classes(3).size(8, 8);
    let graph = spec.build().unwrap();
    let values = init::initial_values(&graph, 5);
    let whole =
        write_graph(vec![], &graph, &describe(&spec), |id| Ok(values[id.0].as_slice().into())).unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("w.safetensors");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let opened = resnet::open(&path, &Default::default()).map_err(|e| e.to_string())?;
        let bits = opened.model.values.iter().flatten().map(|v| v.to_bits());
        Ok((opened.model.spec, bits.collect::<Vec<u32>>()))
    };
    assert!(damage("safetensors", &whole, read).n_refused > 0);
}

/// A description and two shards: the description is damaged, then a shard.
#[test]
fn tensorflow_js() {
    let home = tempfile::tempdir().unwrap();
    let weights = [("a/kernel", [2, 3]), ("b/kernel", [1, 4])];
    let weights =
        weights.map(|(name, shape)| serde_json::json!({"name": name, "shape": shape, "dtype": "float32"}));
    let model = serde_json::json!({"weightsManifest": [{"paths": ["1.bin", "2.bin"], "weights": weights}]});
    let files =
        [("model.json", model.to_string().into_bytes()), ("1.bin", vec![1; 17]), ("2.bin", vec![2; 23])];
    let put = |name: &str, bytes: &[u8]| std::fs::write(home.path().join(name), bytes).unwrap();
    files.iter().for_each(|(name, bytes)| put(name, bytes));
    let open = || numbers(Archive::open(home.path()).map_err(|e| e.to_string())?);
    for (name, whole) in &files {
        let read = |bytes: &[u8]| {
            put(name, bytes);
            open()
        };
        damage(name, whole, read);
        put(name, whole);
    }
}

/// A digest in the name finds every change.
#[test]
fn a_digest_in_the_name() {
    let whole = golden("checkpoint.pth");
    let home = tempfile::tempdir().unwrap();
    let plain = home.path().join("x.pth");
    std::fs::write(&plain, &whole).unwrap();
    let digest = resnet::import::sha256(&plain).unwrap();
    let named = home.path().join(format!("x-{}.pth", &digest[..8]));
    let read = |bytes: &[u8]| {
        std::fs::write(&named, bytes).unwrap();
        refusal(&named)
    };
    // The checkpoint is no network, so it is refused as it is, too, but not for its digest.
    assert!(!read(&whole).contains("SHA-256"));
    for at in (0..whole.len()).step_by(53) {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(read(&changed).contains("SHA-256"), "changed at {at}");
    }
}

fn refusal(path: &Path) -> String {
    resnet::open(path, &Default::default()).map(|o| o.report).unwrap_err().to_string()
}
