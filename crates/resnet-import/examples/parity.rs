//! Imported networks against what their frameworks compute, as a Markdown table.
//!
//!     python crates/resnet-import/scripts/parity.py torchvision DIR     and the other frameworks
//!     cargo run --release -p resnet-import --example parity -- DIR
//!
//! The difference is the largest of all logits, relative to the largest logit.

use std::error::Error;
use std::path::Path;

use resnet_core::weights::Reader;
use resnet_core::{Executor, LowerOptions, Params, zoo};
use resnet_cpu::CpuBackend;
use resnet_import::container::Archive;
use resnet_import::{Imported, Options, import_archive};
use serde_json::Value;

/// Largest difference that counts as agreement.
const TOLERANCE: f64 = 1e-4;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::args().nth(1) else { return Err("usage: parity DIR".into()) };
    let mut cases: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    cases.retain(|c| c.path().extension().is_some_and(|e| e == "json"));
    cases.sort_by_key(|c| c.path());
    println!("| framework | network | container, dialect | recognised as | worst relative difference |");
    println!("|---|---|---|---|---|");
    let mut n_wrong = 0;
    for case in cases {
        let info: Value = serde_json::from_slice(&std::fs::read(case.path())?)?;
        let text = |key: &str| info[key].as_str().unwrap_or_default();
        match compare(Path::new(&folder), &info) {
            Ok((imported, difference)) => {
                let notes = &imported.report.notes[0];
                let arch = &imported.spec.arch;
                println!(
                    "| {} | {} | {notes} | {arch} | {difference:.1e} |",
                    text("framework"),
                    text("name")
                );
                n_wrong += usize::from(difference.is_nan() || difference > TOLERANCE);
            }
            Err(e) => {
                println!("| {} | {} | {e} | | |", text("framework"), text("name"));
                n_wrong += 1;
            }
        }
    }
    if n_wrong > 0 {
        return Err(format!("{n_wrong} networks differ by more than {TOLERANCE:e} or were refused").into());
    }
    Ok(())
}

fn compare(folder: &Path, info: &Value) -> Result<(Imported, f64), Box<dyn Error>> {
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
    let found = logits(&imported, n, &nhwc)?;
    let largest = wanted.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let difference = found.iter().zip(wanted.iter()).fold(0f64, |m, (a, b)| m.max(f64::from((a - b).abs())));
    if found.len() != wanted.len() {
        return Err(format!("{} logits, {} wanted", found.len(), wanted.len()).into());
    }
    Ok((imported, difference / largest))
}

fn logits(imported: &Imported, n: usize, nhwc: &[f32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut backend = CpuBackend::new(None)?;
    let graph = imported.spec.build()?;
    let mut params = Params::<CpuBackend>::new(&mut backend, &graph, &imported.values, None)?;
    let mut net = Executor::new(&mut backend, &graph, LowerOptions::infer(n), 0.0)?;
    net.load_activations(&mut backend, nhwc)?;
    net.forward(&mut backend, &mut params)?;
    Ok(net.logits(&mut backend)?)
}
