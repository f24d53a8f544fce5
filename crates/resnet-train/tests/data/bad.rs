//! Broken pictures: named, counted, left out up to a limit; the result does not depend on who found them.

use std::sync::Arc;

use resnet_train::data::transform::Transform;
use resnet_train::data::{ChannelStats, Dataset, Loader, LoaderOptions, OpenOptions, Pipeline, open};

/// Twenty pictures in two classes of which numbers 4 and 13 are broken.
fn set(dir: &std::path::Path) -> Dataset {
    for i in 0..20u8 {
        let class = if i < 10 { "a" } else { "b" };
        std::fs::create_dir_all(dir.join(class)).unwrap();
        let path = dir.join(class).join(format!("{i:02}.png"));
        image::GrayImage::from_pixel(4, 4, image::Luma([i])).save(&path).unwrap();
        if i == 4 || i == 13 {
            std::fs::write(&path, "<html>").unwrap();
        }
    }
    open(dir, &OpenOptions { split: 0.0, split_seed: 0 }).unwrap()
}

fn loader(set: &Dataset, options: LoaderOptions) -> Loader {
    let resize = Pipeline::new(vec![Transform::Resize { height: 4, width: 4 }]).unwrap();
    Loader::new(Arc::clone(&set.train), resize, options).unwrap()
}

type Batches = Vec<(Vec<usize>, Vec<u32>, Vec<u8>)>;

fn epoch(loader: &Loader, epoch: u64) -> resnet_train::Result<Batches> {
    loader
        .epoch(epoch, 0)?
        .map(|b| b.map(|b| (b.indices.clone(), b.labels.clone(), b.pixels.clone())))
        .collect()
}

#[test]
fn training_takes_the_next_picture() {
    let dir = tempfile::tempdir().unwrap();
    let set = set(dir.path());
    let one = loader(&set, LoaderOptions { max_bad: 2, ..LoaderOptions::train(5, 1) });
    let batches = epoch(&one, 0).unwrap();
    assert_eq!(batches.len(), 4, "batches stay full");
    let mut all: Vec<usize> = batches.iter().flat_map(|b| b.0.clone()).collect();
    all.sort_unstable();
    let wanted: Vec<usize> = (0..20).map(|i| if i == 4 || i == 13 { i + 1 } else { i }).collect();
    assert_eq!(all, wanted);
    for (indices, labels, pixels) in &batches {
        for (k, &i) in indices.iter().enumerate() {
            assert_eq!(
                (labels[k], pixels[k * 48]),
                (u32::from(i >= 10), i as u8),
                "its own label and pixels"
            );
        }
    }
    let named: Vec<String> = one.take_bad().iter().map(ToString::to_string).collect();
    assert_eq!(named.len(), 2);
    assert!(
        named[0].contains("04.png") && named[0].contains("<html>") && named[1].contains("13.png"),
        "{named:?}"
    );
    assert!(one.take_bad().is_empty(), "told once");
    assert_eq!(epoch(&one, 0).unwrap(), batches, "also when it is known which are broken");
    let more = loader(&set, LoaderOptions { max_bad: 2, n_workers: 3, ..LoaderOptions::train(5, 1) });
    assert_eq!(epoch(&more, 0).unwrap(), batches);
}

#[test]
fn an_evaluation_leaves_them_out() {
    let dir = tempfile::tempdir().unwrap();
    let set = set(dir.path());
    let batches = epoch(&loader(&set, LoaderOptions { max_bad: 5, ..LoaderOptions::eval(8) }), 0).unwrap();
    let all: Vec<usize> = batches.iter().flat_map(|b| b.0.clone()).collect();
    assert_eq!(all, (0..20).filter(|i| *i != 4 && *i != 13).collect::<Vec<_>>());
    assert_eq!(batches[0].0.len(), 7);
    assert_eq!(batches[0].2.len(), 8 * 48, "filled up with black");
}

#[test]
fn too_many_stop_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let set = set(dir.path());
    let message = |max_bad| {
        epoch(&loader(&set, LoaderOptions { max_bad, ..LoaderOptions::eval(8) }), 0).unwrap_err().to_string()
    };
    assert!(message(0).contains("04.png"), "{}", message(0));
    let stopped = message(1);
    assert!(
        stopped.contains("2 pictures") && stopped.contains("13.png") && stopped.contains("max_bad"),
        "{stopped}"
    );
}

/// A file that vanishes, and statistics over what is left.
#[test]
fn files_may_vanish() {
    let dir = tempfile::tempdir().unwrap();
    let set = set(dir.path());
    std::fs::remove_file(dir.path().join("a/00.png")).unwrap();
    let lost = loader(&set, LoaderOptions { max_bad: 3, ..LoaderOptions::train(5, 1) });
    epoch(&lost, 0).unwrap();
    assert!(lost.take_bad()[0].to_string().contains("00.png"));
    let levels: Vec<f64> = (1..20).filter(|i| *i != 4 && *i != 13).map(f64::from).collect();
    let wanted = levels.iter().sum::<f64>() / levels.len() as f64 / 255.0;
    let stats = ChannelStats::of(set.train.as_ref()).unwrap();
    assert!((f64::from(stats.mean[1]) - wanted).abs() < 1e-7, "{stats:?} {wanted}");
}
