//! Testing: what a network answers, counted against what is true.

use resnet_core::{Backend, Executor, Params, RecordingKey};

use crate::Result;
use crate::checkpoint::Best;
use crate::feed::Feed;

/// Counts over test pictures. Computed in f64 from the logits, in the order of the pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    n_classes: usize,
    loss: f64,
    top1: u64,
    top5: u64,
    count: u64,
    /// `confusion[truth · n_classes + answer]`.
    confusion: Vec<u64>,
}

/// How well one class is told from the others. A share of nothing is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// Of the pictures given this class, the share that has it.
    pub precision: f64,
    /// Of the pictures that have this class, the share given it.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Pictures that have this class.
    pub support: u64,
}

impl Evaluation {
    /// Nothing counted yet. `n_classes`: logits per picture.
    pub fn new(n_classes: usize) -> Self {
        Self { n_classes, loss: 0.0, top1: 0, top5: 0, count: 0, confusion: vec![0; n_classes * n_classes] }
    }

    /// Counts pictures: `logits` has a row per label. A label must be below the number of classes.
    ///
    /// The answer is the largest logit, the first one on a tie. A logit that is no number is smaller than every other.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        for (row, &label) in logits.chunks_exact(self.n_classes).zip(labels) {
            let truth = label as usize;
            let beats = |a: usize, b: usize| {
                let (x, y) = (order(row[a]), order(row[b]));
                x > y || x == y && a < b
            };
            let answer = (0..row.len()).fold(0, |best, i| if beats(i, best) { i } else { best });
            let rank = (0..row.len()).filter(|&i| beats(i, truth)).count();
            self.top1 += u64::from(rank == 0);
            self.top5 += u64::from(rank < 5);
            self.confusion[truth * self.n_classes + answer] += 1;
            self.loss += cross_entropy(row, truth);
            self.count += 1;
        }
    }

    /// Pictures counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean cross-entropy, without label smoothing.
    pub fn loss(&self) -> f64 {
        self.loss / self.count as f64
    }

    /// Share of pictures whose class comes first.
    pub fn top1(&self) -> f64 {
        self.top1 as f64 / self.count as f64
    }

    /// Share of pictures whose class is among the first five.
    pub fn top5(&self) -> f64 {
        self.top5 as f64 / self.count as f64
    }

    /// Pictures of class `truth` that were given class `answer`.
    pub fn confusion(&self, truth: usize, answer: usize) -> u64 {
        self.confusion[truth * self.n_classes + answer]
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Precision, recall and F1 of every class.
    pub fn classes(&self) -> Vec<ClassScore> {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let all = 0..self.n_classes;
        all.clone()
            .map(|class| {
                let hits = self.confusion(class, class);
                let support = all.clone().map(|answer| self.confusion(class, answer)).sum();
                let given = all.clone().map(|truth| self.confusion(truth, class)).sum::<u64>();
                ClassScore {
                    precision: share(hits, given),
                    recall: share(hits, support),
                    f1: share(2 * hits, given + support),
                    support,
                }
            })
            .collect()
    }

    /// Whether this is better than the best so far: by accuracy, on a tie by loss.
    pub(crate) fn beats(&self, best: Option<&Best>) -> bool {
        best.is_none_or(|b| self.top1() > b.accuracy || self.top1() == b.accuracy && self.loss() < b.loss)
    }
}

fn order(logit: f32) -> f32 {
    if logit.is_nan() { f32::NEG_INFINITY } else { logit }
}

fn cross_entropy(row: &[f32], truth: usize) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&v| (f64::from(v) - f64::from(max)).exp()).sum();
    sum.ln() - (f64::from(row[truth]) - f64::from(max))
}

/// Runs an inference executor over all batches of a feed.
///
/// `on_batch` hears how many batches are done, of how many; if it answers false, the evaluation is given up and the result
/// is `None`.
/// From picture to logits every batch issues the same ops, so they are recorded under `key`, which stands for these `net`, `params` and
/// `feed`.
///
/// # Errors
/// What the loader and the backend return.
pub fn evaluate<B: Backend>(
    backend: &mut B,
    net: &mut Executor<B>,
    params: &mut Params<B>,
    feed: &Feed<B>,
    key: RecordingKey,
    mut on_batch: impl FnMut(usize, usize) -> bool,
) -> Result<Option<Evaluation>> {
    let mut evaluation = None;
    let mut logits = Vec::new();
    let loader = feed.loader();
    for (i, batch) in feed.epoch(0, 0)?.enumerate() {
        let batch = batch?;
        feed.put(backend, net, &batch)?;
        backend.recorded(key, |backend| {
            feed.ingest(backend, net)?;
            net.forward(backend, params)
        })?;
        net.logits_into(backend, &mut logits)?;
        let n_classes = logits.len() / loader.batch();
        evaluation
            .get_or_insert_with(|| Evaluation::new(n_classes))
            .add(&logits, &batch.labels[..batch.n_valid]);
        if !on_batch(i + 1, loader.n_batches()) {
            return Ok(None);
        }
    }
    Ok(evaluation)
}
