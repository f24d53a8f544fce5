use std::collections::HashMap;

use resnet_train::data::sample::{self, TEST_PER_CLASS, TRAIN_PER_CLASS, stratified};
use resnet_train::data::{Dataset, Known, Picture, Source, affine};

fn all(source: &dyn Source) -> Vec<(u32, Vec<u8>)> {
    let mut picture = Picture::default();
    (0..source.len())
        .map(|i| {
            source.read(i, &mut picture).unwrap();
            (source.label(i), picture.pixels.clone())
        })
        .collect()
}

fn per_class(set: &Dataset, source: &dyn Source) -> Vec<usize> {
    let mut counts = vec![0; set.n_classes()];
    (0..source.len()).for_each(|i| counts[source.label(i) as usize] += 1);
    counts
}

#[test]
fn it_is_balanced_and_described() {
    let set = sample::fashion_mnist().unwrap();
    assert_eq!(
        set.describe(),
        "Fashion-MNIST sample (embedded): 5,000 train, 1,000 test, 10 classes, 28×28×1"
    );
    assert_eq!(per_class(&set, set.train.as_ref()), [TRAIN_PER_CLASS; 10]);
    assert_eq!(per_class(&set, set.test.as_ref()), [TEST_PER_CLASS; 10]);
    assert_eq!(set.classes[9], "Ankle boot");
    // Whoever changes the content changes every published figure that was measured with it.
    assert_eq!(set.fingerprint().unwrap().to_string(), FINGERPRINT);
}

const FINGERPRINT: &str = "7b1d1b2ecfdc46b489298704d806d7e1dbe9f4fec8c9e0b189565dafb99adf21";

#[test]
fn the_affine_normalises_the_training_pictures() {
    let set = sample::fashion_mnist().unwrap();
    let table = set.affine().unwrap();
    let pixels: Vec<f64> = all(set.train.as_ref())
        .iter()
        .flat_map(|(_, pixels)| pixels)
        .map(|&byte| f64::from(table[0]) * f64::from(byte) + f64::from(table[1]))
        .collect();
    let n = pixels.len() as f64;
    let mean = pixels.iter().sum::<f64>() / n;
    let var = pixels.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    // Both are exact up to the rounding of four f32 numbers, each at most 2⁻²⁴, to values of at most 3.
    assert!(mean.abs() < 1e-6 && (var - 1.0).abs() < 1e-6, "{mean} {var}");
    assert_eq!(affine(&[0.5, 0.0], &[0.5, 0.25]), [2.0 / 255.0, 4.0 / 255.0, -1.0, 0.0]);
}

/// Every picture is one of the whole set, at the index the documented choice gives. Runs where the set is installed.
#[test]
fn it_is_taken_from_the_whole_set() {
    let Ok(dir) = Known::FashionMnist.find(None) else {
        assert!(
            std::env::var_os("RESNET_TEST_REQUIRE_DATA").is_none(),
            "Fashion-MNIST is required, not found"
        );
        eprintln!("SKIPPED: Fashion-MNIST is not installed; RESNET_TEST_REQUIRE_DATA=1 makes this a failure");
        return;
    };
    let (whole, set) = (Known::FashionMnist.load(&dir).unwrap(), sample::fashion_mnist().unwrap());
    for (whole, part, per_class) in
        [(&whole.train, &set.train, TRAIN_PER_CLASS), (&whole.test, &set.test, TEST_PER_CLASS)]
    {
        let whole = all(whole.as_ref());
        let labels: Vec<u8> = whole.iter().map(|(label, _)| *label as u8).collect();
        let chosen = stratified(&labels, per_class, 2017);
        let wanted: Vec<_> = chosen.into_iter().map(|i| whole[i].clone()).collect();
        assert!(wanted == all(part.as_ref()));
    }
}

#[test]
fn a_stratified_choice_is_sorted_seeded_and_even() {
    let labels: Vec<u8> = (0..300).map(|i| if i % 10 == 0 { 2 } else { (i % 2) as u8 }).collect();
    let chosen = stratified(&labels, 40, 1);
    assert!(chosen.is_sorted() && chosen.windows(2).all(|w| w[0] != w[1]));
    let mut counts = HashMap::new();
    chosen.iter().for_each(|&i| *counts.entry(labels[i]).or_insert(0) += 1);
    assert_eq!(counts, HashMap::from([(0, 40), (1, 40), (2, 30)])); // there are only 30 of the last
    assert_eq!(chosen, stratified(&labels, 40, 1));
    assert_ne!(chosen, stratified(&labels, 40, 2));
    assert!(stratified(&[], 3, 0).is_empty());
}
