use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use resnet_train::data::*;
use resnet_train::{Error, Result};

/// Picture `i` is 2×3×1 of the byte `i`, with label `i % 4`.
fn numbered(n: usize) -> Arc<dyn Source> {
    let pixels = (0..n).flat_map(|i| [i as u8; 6]).collect();
    let labels = (0..n).map(|i| (i % 4) as u8).collect();
    Arc::new(InMemory::new("numbered", (2, 3, 1), pixels, labels, 4).unwrap())
}

fn augmented() -> Pipeline {
    Pipeline::new(vec![
        Transform::Resize { height: 5, width: 4 },
        Transform::PadCrop { padding: 2 },
        Transform::HorizontalFlip { probability: 0.5 },
        Transform::Erase(Erase::new(0.5, vec![9])),
    ])
    .unwrap()
}

use resnet_train::data::transform::Erase;

/// What a batch says, without its memory management.
type Content = (usize, Vec<u8>, Vec<u32>, Vec<usize>, usize);

fn content(batch: Result<Batch>) -> Content {
    let b = batch.unwrap();
    (b.number, b.pixels.clone(), b.labels.clone(), b.indices.clone(), b.n_valid)
}

fn epoch(loader: &Loader, epoch: u64, first: usize) -> Vec<Content> {
    loader.epoch(epoch, first).unwrap().map(content).collect()
}

fn plain(n: usize, options: LoaderOptions) -> Loader {
    Loader::new(numbered(n), Pipeline::default(), options).unwrap()
}

#[test]
fn evaluation_sees_every_picture_once_and_pads() {
    let loader = plain(10, LoaderOptions::eval(4));
    assert_eq!((loader.n_batches(), loader.batch(), loader.shape()), (3, 4, (2, 3, 1)));
    let batches = epoch(&loader, 0, 0);
    let indices: Vec<usize> = batches.iter().flat_map(|b| b.3.clone()).collect();
    assert_eq!(indices, (0..10).collect::<Vec<_>>());
    let (number, pixels, labels, indices, n_valid) = &batches[2];
    assert_eq!((*number, *n_valid, indices.as_slice()), (2, 2, [8, 9].as_slice()));
    assert_eq!(labels, &[0, 1, 0, 0]);
    assert_eq!(pixels, &[[8; 6], [9; 6], [0; 6], [0; 6]].concat());
}

#[test]
fn training_shuffles_and_drops_or_wraps() {
    let loader = plain(10, LoaderOptions::train(4, 1));
    assert_eq!(loader.n_batches(), 2);
    let seen = |e| epoch(&loader, e, 0).into_iter().flat_map(|b| b.3).collect::<Vec<_>>();
    assert_ne!(seen(0), seen(1));
    let mut sorted = seen(0);
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 8);

    let loader = plain(10, LoaderOptions { last: LastBatch::Wrap, ..LoaderOptions::train(4, 1) });
    let batches = epoch(&loader, 0, 0);
    assert!(batches.iter().all(|b| b.4 == 4 && b.3.len() == 4));
    assert_eq!(batches[2].3[2..], batches[0].3[..2]);
    for (_, pixels, labels, indices, _) in batches {
        for (k, i) in indices.into_iter().enumerate() {
            assert_eq!((pixels[6 * k], labels[k]), (i as u8, (i % 4) as u32));
        }
    }
    // A batch larger than the data wraps as often as needed.
    let loader = plain(3, LoaderOptions { last: LastBatch::Wrap, ..LoaderOptions::train(8, 1) });
    assert_eq!(epoch(&loader, 0, 0)[0].3.len(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Neither threads, nor the queue, nor the cache, nor where one starts changes what is in a batch.
    #[test]
    fn the_result_is_a_function_of_seed_epoch_and_index(
        n in 1usize..40, batch in 1usize..9, n_workers in 1usize..5, n_queued in 0usize..7, first in 0usize..6,
        cache in prop::sample::select(vec![0, 60, 1 << 20]), seed: u64, e in 0u64..3,
    ) {
        let options = LoaderOptions { last: LastBatch::Wrap, cache_bytes: 0, ..LoaderOptions::train(batch, seed) };
        let simple = Loader::new(numbered(n), augmented(), options.clone()).unwrap();
        let options = LoaderOptions { n_workers, n_queued, cache_bytes: cache, ..options };
        let other = Loader::new(numbered(n), augmented(), options).unwrap();
        let wanted = epoch(&simple, e, 0);
        prop_assert_eq!(&wanted, &epoch(&other, e, 0));
        prop_assert_eq!(&wanted, &epoch(&other, e, 0)); // now from the cache
        prop_assert_eq!(&wanted[first.min(wanted.len())..], &epoch(&other, e, first)[..]);
    }
}

#[test]
fn augmentation_changes_with_the_epoch() {
    let options = LoaderOptions { order: Order::Sequential, ..LoaderOptions::train(10, 1) };
    let loader = Loader::new(numbered(10), augmented(), options).unwrap();
    assert_ne!(epoch(&loader, 0, 0), epoch(&loader, 1, 0));
}

/// Memory of dropped batches is used again: no more buffers than the queue holds, and the one in the consumer's hands.
#[test]
fn batches_are_recycled() {
    let n_queued = 3;
    let loader = plain(200, LoaderOptions { n_workers: 2, n_queued, ..LoaderOptions::eval(2) });
    let mut addresses: Vec<_> =
        loader.epoch(0, 0).unwrap().map(|batch| batch.unwrap().pixels.as_ptr() as usize).collect();
    assert_eq!(addresses.len(), 100);
    addresses.sort_unstable();
    addresses.dedup();
    assert!(addresses.len() <= n_queued + 1, "{} buffers", addresses.len());
}

/// A source that does something at one index, and counts how often it is read.
struct Trap {
    at: usize,
    what: fn() -> Result<()>,
    n_read: AtomicUsize,
    inner: Arc<dyn Source>,
}

impl std::fmt::Debug for Trap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trap")
    }
}

impl Source for Trap {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn channels(&self) -> usize {
        1
    }
    fn extent(&self) -> Option<(usize, usize)> {
        self.inner.extent()
    }
    fn label(&self, index: usize) -> u32 {
        self.inner.label(index)
    }
    fn read(&self, index: usize, into: &mut Picture) -> Result<()> {
        self.n_read.fetch_add(1, Ordering::SeqCst);
        if index == self.at {
            (self.what)()?;
        }
        self.inner.read(index, into)
    }
    fn fingerprint(&self) -> Result<Fingerprint> {
        self.inner.fingerprint()
    }
}

fn trapped(n: usize, at: usize, what: fn() -> Result<()>) -> Arc<Trap> {
    Arc::new(Trap { at, what, n_read: AtomicUsize::new(0), inner: numbered(n) })
}

#[test]
fn a_panic_in_a_worker_is_an_error_at_its_batch() {
    for n_workers in [1, 2, 3] {
        let source = trapped(100, 33, || panic!("broken picture"));
        let options = LoaderOptions { n_workers, ..LoaderOptions::eval(10) };
        let loader = Loader::new(source, Pipeline::default(), options).unwrap();
        let mut batches = loader.epoch(7, 0).unwrap();
        for number in 0..3 {
            assert_eq!(batches.next().unwrap().unwrap().number, number);
        }
        let error = batches.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "loading batch 3 of epoch 7 panicked: broken picture");
        assert!(batches.next().is_none());
    }
}

#[test]
fn an_error_in_a_worker_is_that_error() {
    let source = trapped(20, 5, || Err(Error::invalid("picture 5", "is unreadable")));
    let loader = Loader::new(source, Pipeline::default(), LoaderOptions::eval(4)).unwrap();
    let results: Vec<_> = loader.epoch(0, 0).unwrap().collect();
    assert_eq!(results.len(), 2);
    assert_eq!(results[1].as_ref().unwrap_err().to_string(), "picture 5: is unreadable");
}

#[test]
fn dropping_an_epoch_stops_its_workers() {
    let source = trapped(10_000, usize::MAX, || Ok(()));
    for n_taken in [0, 1, 5] {
        let before = source.n_read.load(Ordering::SeqCst);
        let options = LoaderOptions { n_workers: 3, n_queued: 4, ..LoaderOptions::eval(2) };
        let loader = Loader::new(source.clone(), Pipeline::default(), options).unwrap();
        let mut batches = loader.epoch(0, 0).unwrap();
        let kept: Vec<_> = batches.by_ref().take(n_taken).collect();
        drop(batches);
        // The workers are joined: nothing is read any more, and a batch can outlive its epoch.
        let n_read = source.n_read.load(Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(n_read, source.n_read.load(Ordering::SeqCst));
        let n_read = n_read - before;
        assert!(n_read <= (n_taken + 4) * 2, "{n_read} pictures read for {n_taken} batches");
        assert_eq!(kept.len(), n_taken);
    }
    assert_eq!(Arc::strong_count(&source), 1, "a worker still holds the source");
}

#[test]
fn what_cannot_be_loaded_is_refused() {
    let error = |n, options| Loader::new(numbered(n), Pipeline::default(), options).unwrap_err().to_string();
    assert_eq!(error(3, LoaderOptions::train(4, 0)), "batch: 4 pictures, but the data has 3");
    assert_eq!(error(3, LoaderOptions::eval(0)), "batch: 0 pictures; at least 1 wanted");
    let workers = LoaderOptions { n_workers: 0, ..LoaderOptions::eval(1) };
    assert_eq!(error(3, workers), "loader workers: 0; at least 1 wanted");
    assert!(error(3, LoaderOptions::eval(usize::MAX)).contains("have no size"));
    let huge = LoaderOptions::eval(1 << 55);
    let mut batches = plain(3, huge).epoch(0, 0).unwrap();
    let error = batches.next().unwrap().unwrap_err().to_string();
    assert_eq!(error, "batch: 36028797018963968 pictures of 6 bytes do not fit into memory");
    // A pipeline that makes nothing of a wrong size cannot be built.
    assert!(Pipeline::new(vec![Transform::Resize { height: 0, width: 3 }]).is_err());
}

#[test]
fn an_epoch_that_starts_at_its_end_is_empty() {
    let loader = plain(8, LoaderOptions::eval(4));
    assert_eq!(loader.epoch(0, 2).unwrap().count(), 0);
    assert_eq!(loader.epoch(0, 99).unwrap().count(), 0);
}
