//! Networks of `scripts/make_golden.py`: the frameworks' names, shapes and logits, with weights by formula.
#![allow(dead_code)] // each test file uses its part

use resnet_core::weights::{Entry, Metadata, Writer};
use resnet_core::zoo::Variant;
use resnet_core::{Executor, LowerOptions, Params};
use resnet_cpu::CpuBackend;
use resnet_import::container::Archive;
use resnet_import::{Error, Imported, Options, import_archive};
use serde::Deserialize;

/// One network.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) framework: String,
    /// Name, shape and bounds of every tensor in the framework's order.
    pub(crate) tensors: Vec<(String, Vec<usize>, f64, f64)>,
    pub(crate) input: Vec<usize>,
    pub(crate) logits: Vec<f32>,
    /// What the names do not tell.
    pub(crate) variant: Option<String>,
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let files = [
        include_str!("../golden/networks-torch.json"),
        include_str!("../golden/networks-keras.json"),
        include_str!("../golden/networks-paddle.json"),
    ];
    files.iter().flat_map(|text| serde_json::from_str::<Vec<Case>>(text).expect("golden file")).collect()
}

/// The case of this name.
pub(crate) fn case(name: &str) -> Case {
    cases().into_iter().find(|c| c.name == name).expect(name)
}

/// The numbers that `make_golden.py` computes from a name.
pub(crate) fn formula(name: &str, n: usize, lo: f64, hi: f64) -> Vec<f32> {
    let hash = name.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let unit = |i: u32| {
        let mut x = i.wrapping_mul(2_654_435_761).wrapping_add(hash);
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        f64::from(x) / 4_294_967_296.0
    };
    (1..=n as u32).map(|i| (lo + (hi - lo) * unit(i)) as f32).collect()
}

/// A safetensors file of tensors by formula.
pub(crate) fn file(tensors: &[(String, Vec<usize>, f64, f64)]) -> Vec<u8> {
    let entries = tensors.iter().map(|(name, shape, ..)| Entry::f32(name, shape)).collect();
    let mut writer = Writer::new(vec![], entries, &Metadata::new()).expect("a header");
    for (name, shape, lo, hi) in tensors {
        writer.write_f32(name, &formula(name, shape.iter().product(), *lo, *hi)).expect("writes");
    }
    writer.finish().expect("ends")
}

impl Case {
    /// Imports the network at the size of its picture.
    pub(crate) fn import(&self) -> Imported {
        self.import_with(Options::default()).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    pub(crate) fn import_with(&self, options: Options) -> Result<Imported, Error> {
        let open = || Archive::from_bytes(file(&self.tensors));
        let options = Options { size: Some((self.input[2], self.input[3])), ..options };
        let imported = import_archive(open()?, &options)?;
        match &self.variant {
            Some(variant) => {
                let variant: Variant = variant.parse()?;
                import_archive(open()?, &Options { arch: Some(imported.spec.variant(variant)), ..options })
            }
            None => Ok(imported),
        }
    }

    /// The picture, n×h×w×c.
    pub(crate) fn picture(&self) -> Vec<f32> {
        let [n, c, h, w] = self.input[..] else { panic!("four dimensions") };
        let nchw = formula("input", n * c * h * w, -2.0, 2.0);
        let mut nhwc = Vec::with_capacity(nchw.len());
        for pixel in 0..h * w {
            nhwc.extend((0..c).map(|c| nchw[c * h * w + pixel]));
        }
        assert_eq!(n, 1);
        nhwc
    }
}

/// Logits for pictures of n×h×w×c.
pub(crate) fn logits(imported: &Imported, n: usize, nhwc: &[f32]) -> Vec<f32> {
    let mut backend = CpuBackend::new(Some(2)).expect("a backend");
    let graph = imported.spec.build().expect("builds");
    let mut params =
        Params::<CpuBackend>::new(&mut backend, &graph, &imported.values, None).expect("parameters");
    let mut net = Executor::new(&mut backend, &graph, LowerOptions::infer(n), 0.0).expect("an executor");
    net.load_activations(&mut backend, nhwc).expect("a picture");
    net.forward(&mut backend, &mut params).expect("runs");
    net.logits(&mut backend).expect("logits")
}

/// Largest difference relative to the largest value.
pub(crate) fn difference(found: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    found.iter().zip(wanted).fold(0f64, |m, (a, b)| m.max(f64::from((a - b).abs()))) / largest
}
