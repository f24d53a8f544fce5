//! A stratified sample of Fashion-MNIST inside the program: something real to learn from, everywhere, at once.
//!
//! Its files and licence lie in `assets/fashion-mnist-sample`; `examples/fashion_mnist_sample.rs` makes them.

use std::sync::Arc;

use resnet_core::rng::{Permutation, Purpose};

use super::known::FASHION_MNIST_CLASSES;
use super::{Dataset, InMemory, idx};
use crate::Result;

/// Training pictures of each class.
pub const TRAIN_PER_CLASS: usize = 500;
/// Test pictures of each class.
pub const TEST_PER_CLASS: usize = 100;

/// An embedded file and its name in errors.
macro_rules! asset {
    ($name:literal) => {
        (
            concat!("embedded ", $name),
            include_bytes!(concat!("../../assets/fashion-mnist-sample/", $name)).as_slice(),
        )
    };
}

/// The embedded sample: 5,000 training and 1,000 test pictures, equally many of each class.
///
/// # Errors
/// Only if the program was built with damaged assets.
pub fn fashion_mnist() -> Result<Dataset> {
    let part = |images: (&str, &[u8]), labels: (&str, &[u8])| -> Result<Arc<InMemory>> {
        let pictures = idx::decode(images.0, images.1, 3)?;
        let classes = idx::decode(labels.0, labels.1, 1)?;
        Ok(Arc::new(idx::labelled((images.0, pictures), (labels.0, classes), FASHION_MNIST_CLASSES.len())?))
    };
    Dataset::new(
        "Fashion-MNIST sample",
        "embedded",
        FASHION_MNIST_CLASSES.map(str::to_owned).into(),
        part(asset!("train-images-idx3-ubyte.gz"), asset!("train-labels-idx1-ubyte.gz"))?,
        part(asset!("t10k-images-idx3-ubyte.gz"), asset!("t10k-labels-idx1-ubyte.gz"))?,
    )
}

/// Chooses `per_class` indices of each class at random, and returns them in ascending order.
///
/// The pictures of a class, in their order, are shuffled with (seed, class), and the first `per_class` are taken.
/// A class that has fewer gives all it has.
pub fn stratified(labels: &[u8], per_class: usize, seed: u64) -> Vec<usize> {
    let n_classes = labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
    let mut chosen = Vec::new();
    for class in 0..n_classes {
        let members: Vec<usize> = (0..labels.len()).filter(|&i| usize::from(labels[i]) == class).collect();
        let order = Permutation::for_purpose(members.len(), seed, Purpose::Sample, class as u64);
        chosen.extend(order.iter().take(per_class).map(|k| members[k]));
    }
    chosen.sort_unstable();
    chosen
}
