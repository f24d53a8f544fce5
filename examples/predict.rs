//! A trained model in a program of your own: pictures in, names and probabilities out.
//!
//! `cargo run --release -p resnet-examples --example predict -- fashion.safetensors picture.png`
//! The model is one that `resnet train` or the example `train_fashion` wrote.

use std::path::Path;

use resnet::backend::CpuBackend;
use resnet::core::DType;
use resnet::picture::PictureReader;
use resnet::train::classifier::Classifier;
use resnet::train::model::Model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("usage: predict MODEL PICTURE…")?;
    let model = Model::read(Path::new(&model))?;
    let mut pictures = PictureReader::new(&model.preprocessing)?;
    let mut classifier = Classifier::new(CpuBackend::new(None)?, &model, 1, DType::F32)?;
    for path in arguments {
        let pixels = pictures.read(Path::new(&path))?;
        let probabilities = &classifier.probabilities(&pixels, 1)?[0];
        let best = (0..probabilities.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
        let best = best.unwrap_or_default();
        println!("{path}: {} ({:.3})", model.classes[best], probabilities[best]);
    }
    Ok(())
}
