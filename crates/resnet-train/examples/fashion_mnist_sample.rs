//! Makes the embedded sample of Fashion-MNIST from the whole set, bit for bit:
//! `cargo run -p resnet-train --example fashion_mnist_sample -- DIRECTORY_OF_THE_SET OUTPUT_DIRECTORY`
//!
//! The compressed bytes are those of the `flate2` and `miniz_oxide` of the lock file; the content does not depend on them.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use resnet_train::data::{Known, idx, sample};

const SEED: u64 = 2017;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        return Err("usage: fashion_mnist_sample DIRECTORY_OF_THE_SET OUTPUT_DIRECTORY".into());
    };
    let (input, output) = (Path::new(input), Path::new(output));
    for file in Known::FashionMnist.files() {
        file.check(&file.path_in(input))?;
    }
    let [train_images, train_labels, test_images, test_labels] = Known::FashionMnist.files();
    for (images, labels, per_class) in [
        (train_images, train_labels, sample::TRAIN_PER_CLASS),
        (test_images, test_labels, sample::TEST_PER_CLASS),
    ] {
        let pictures = idx::read(&images.path_in(input), 3)?;
        let classes = idx::read(&labels.path_in(input), 1)?;
        let [height, width] = [pictures.dims[1], pictures.dims[2]];
        let chosen = sample::stratified(&classes.data, per_class, SEED);
        let pixels: Vec<u8> = chosen
            .iter()
            .flat_map(|i| &pictures.data[i * height * width..(i + 1) * height * width])
            .copied()
            .collect();
        let targets: Vec<u8> = chosen.iter().map(|&i| classes.data[i]).collect();
        let n = chosen.len() as u32;
        write(output, images.name, &idx::encode(&[n, height as u32, width as u32], &pixels))?;
        write(output, labels.name, &idx::encode(&[n], &targets))?;
    }
    Ok(())
}

/// A gzip file without name and time, so that its bytes depend on nothing else.
fn write(dir: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    let file = std::fs::File::create(dir.join(format!("{name}.gz")))?;
    let mut gzip = GzBuilder::new().mtime(0).write(file, Compression::best());
    gzip.write_all(content)?;
    gzip.finish()?.sync_all()
}
