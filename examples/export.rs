//! A network for others to run and to load: ONNX with its normalisations folded in, and safetensors for torchvision.
//!
//! `cargo run --release -p resnet-examples --example export -- fine-tuned.safetensors`

use std::path::Path;

use resnet::import::export::{Library, OnnxOptions, write_library, write_onnx};
use resnet::import::{Options, write_file};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let weights = std::env::args().nth(1).ok_or("usage: export WEIGHTS")?;
    let model = resnet::open(Path::new(&weights), &Options::default())?.model;
    // Classes and pre-processing go along as metadata.
    let (graph, metadata) = (model.spec.build()?, model.metadata()?);

    let options = OnnxOptions { fold_norms: true, metadata: metadata.clone() };
    write_file(Path::new("model.onnx"), |out| write_onnx(out, &graph, &model.values, &options))?;
    println!("wrote model.onnx");

    // Refused by name where torchvision has no such network, as for v2.
    Library::Torchvision.check(&model.spec)?;
    write_file(Path::new("torchvision.safetensors"), |out| {
        write_library(out, &model.spec, &model.values, Library::Torchvision, &metadata).map(drop)
    })?;
    println!("wrote torchvision.safetensors, for load_state_dict with strict=True");
    Ok(())
}
