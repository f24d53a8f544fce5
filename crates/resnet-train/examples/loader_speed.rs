//! How fast the loader makes batches of the embedded sample, for each pipeline and number of workers:
//! `cargo run --release -p resnet-train --example loader_speed`

use std::sync::Arc;
use std::time::Instant;

use resnet_train::data::transform::RandomResizedCrop;
use resnet_train::data::{Loader, LoaderOptions, Pipeline, Transform, sample};

fn main() -> resnet_train::Result<()> {
    let set = sample::fashion_mnist()?;
    println!("{}", set.describe());
    let resize = Transform::Resize { height: 96, width: 96 };
    let augment = [Transform::PadCrop { padding: 4 }, Transform::HorizontalFlip { probability: 0.5 }];
    let resize_and_augment = [vec![resize.clone()], augment.to_vec()].concat();
    for (name, steps, cache_bytes) in [
        ("28, as it is", vec![], 0),
        ("28, pad-crop, flip", augment.to_vec(), 0),
        ("28 → 96", vec![resize.clone()], 0),
        ("28 → 96, kept", vec![resize], usize::MAX),
        ("28 → 96, pad-crop, flip", resize_and_augment.clone(), 0),
        ("28 → 96, kept, pad-crop, flip", resize_and_augment, usize::MAX),
        (
            "28, random resized crop to 96",
            vec![Transform::RandomResizedCrop(RandomResizedCrop::new(96, 96))],
            0,
        ),
    ] {
        for n_workers in [1, 2] {
            let options = LoaderOptions { n_workers, cache_bytes, ..LoaderOptions::train(250, 1) };
            let loader = Loader::new(Arc::clone(&set.train), Pipeline::new(steps.clone())?, options)?;
            let mut best = 0.0f64;
            for epoch in 0..6 {
                let start = Instant::now();
                let mut n = 0;
                for batch in loader.epoch(epoch, 0)? {
                    n += batch?.n_valid;
                }
                best = best.max(n as f64 / start.elapsed().as_secs_f64());
            }
            println!("{name:32} {n_workers} workers {best:10.0} img/s (best of 6 epochs)");
        }
    }
    Ok(())
}
