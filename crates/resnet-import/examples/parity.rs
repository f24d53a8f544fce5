//! Imported networks against what their frameworks compute, as a Markdown table.
//!
//!     python crates/resnet-import/scripts/parity.py torchvision DIR     and the other frameworks
//!     cargo run --release -p resnet-import --example parity -- DIR
//!
//! The difference is the largest of all logits, relative to the largest logit: with the kernels that are the default, which
//! take Winograd's algorithm, and with plain sums.

use std::error::Error;
use std::path::Path;

use resnet_core::weights::Reader;
use resnet_core::{Executor, LowerOptions, Params, zoo};
use resnet_cpu::{CpuBackend, Kernel};
use resnet_import::container::Archive;
use resnet_import::{Imported, Options, import_archive};
use serde_json::Value;

/// Largest difference that counts as agreement.
const TOLERANCE: f64 = 1e-4;
/// Kernels that are compared.
const KERNELS: [Kernel; 2] = [Kernel::Auto, Kernel::Strict];

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::args().nth(1) else { return Err("usage: parity DIR".into()) };
    let mut cases: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    cases.retain(|c| c.path().extension().is_some_and(|e| e == "json"));
    cases.sort_by_key(|c| c.path());
    println!(
        "| framework | network | container, dialect | recognised as | {} | {} |",
        KERNELS[0], KERNELS[1]
    );
    println!("|---|---|---|---|--:|--:|");
    let mut n_wrong = 0;
    for case in cases {
        let info: Value = serde_json::from_slice(&std::fs::read(case.path())?)?;
        let text = |key: &str| info[key].as_str().unwrap_or_default();
        match compare(Path::new(&folder), &info) {
            Ok((imported, [auto, strict])) => {
                let (source, arch) = (&imported.report.source, &imported.spec.arch);
                println!(
                    "| {} | {} | {source} | {arch} | {auto:.1e} | {strict:.1e} |",
                    text("framework"),
                    text("name")
                );
                let wrong = |difference: f64| difference.is_nan() || difference > TOLERANCE;
                n_wrong += usize::from(wrong(auto) || wrong(strict));
            }
            Err(e) => {
                println!("| {} | {} | {e} | | | |", text("framework"), text("name"));
                n_wrong += 1;
            }
        }
    }
    if n_wrong > 0 {
        return Err(format!("{n_wrong} networks differ by more than {TOLERANCE:e} or were refused").into());
    }
    Ok(())
}

fn compare(folder: &Path, info: &Value) -> Result<(Imported, [f64; 2]), Box<dyn Error>> {
    let text = |key: &str| info[key].as_str();
    let path = folder.join(text("file").ok_or("no file is named")?);
    let mut io = Reader::new(std::fs::File::open(
        folder.join(format!("{}.io.safetensors", text("name").ok_or("no name")?)),
    )?)?;
    let (input, wanted) = (io.read("input")?, io.read("logits")?);
    let [n, c, h, w] = *input.shape() else { return Err("four dimensions of input wanted".into()) };
    let options =
        Options { arch: text("arch").map(zoo::arch).transpose()?, size: Some((h, w)), ..Options::default() };
    let imported = import_archive(Archive::open(&path)?, &options)?;

    let nhwc: Vec<f32> = input.view().permuted_axes(vec![0, 2, 3, 1]).iter().copied().collect();
    assert_eq!(nhwc.len(), n * c * h * w);
    let largest = wanted.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let mut differences = [f64::NAN; KERNELS.len()];
    for (difference, kernel) in differences.iter_mut().zip(KERNELS) {
        let found = logits(&imported, n, &nhwc, kernel)?;
        if found.len() != wanted.len() {
            return Err(format!("{} logits, {} wanted", found.len(), wanted.len()).into());
        }
        let off = found.iter().zip(wanted.iter()).map(|(a, b)| f64::from((a - b).abs()));
        // `max` would lose a logit that is no number; a sum keeps it.
        *difference = off.clone().fold(0f64, f64::max) / largest + 0.0 * off.sum::<f64>();
    }
    Ok((imported, differences))
}

fn logits(imported: &Imported, n: usize, nhwc: &[f32], kernel: Kernel) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut backend = CpuBackend::with_kernel(None, kernel)?;
    let graph = imported.spec.build()?;
    let mut params = Params::<CpuBackend>::new(&mut backend, &graph, &imported.values, None)?;
    let mut net = Executor::new(&mut backend, &graph, LowerOptions::infer(n), 0.0)?;
    net.load_activations(&mut backend, nhwc)?;
    net.forward(&mut backend, &mut params)?;
    Ok(net.logits(&mut backend)?)
}
