//! Somebody's weights, whoever wrote them, and what they see: file names in, class names out.
//!
//! `cargo run --release -p resnet-examples --example import_and_predict -- resnet50-0676ba61.pth cat.jpg dog.png`

use std::path::Path;

use resnet::backend::CpuBackend;
use resnet::core::DType;
use resnet::import::Options;
use resnet::picture::PictureReader;
use resnet::train::classifier::Classifier;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let weights = arguments.next().ok_or("usage: import_and_predict WEIGHTS PICTURE…")?;

    // Library, network, pre-processing and class names are found out from the file.
    let resnet::Opened { model, report, .. } = resnet::open(Path::new(&weights), &Options::default())?;
    println!("{}: {report}", model.spec.arch);
    println!("{}", model.preprocessing);

    let mut pictures = PictureReader::new(&model.preprocessing)?;
    let mut classifier = Classifier::new(CpuBackend::new(None)?, &model, 1, DType::F32)?;
    for path in arguments {
        let row = classifier.probabilities(&pictures.read(Path::new(&path))?, 1)?.remove(0);
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        for class in order.into_iter().take(3) {
            println!("{path}: {} ({:.3})", model.classes[class], row[class]);
        }
    }
    Ok(())
}
