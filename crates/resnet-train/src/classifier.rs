//! Using a model: pictures to probabilities, and a whole evaluation.

use resnet_core::{Backend, DType, Executor, LowerOptions, Params, RecordingKey};

use crate::data::Loader;
use crate::evaluate::{Evaluation, evaluate};
use crate::feed::Feed;
use crate::model::Model;
use crate::{Error, Result};

/// A model on a device, ready for inference.
#[derive(Debug)]
pub struct Classifier<B: Backend> {
    backend: B,
    net: Executor<B>,
    params: Params<B>,
    /// Picture to logits, recorded.
    key: RecordingKey,
    n_classes: usize,
}

impl<B: Backend> Classifier<B> {
    /// Puts a model on a device, for `batch` pictures at a time.
    ///
    /// # Errors
    /// What the network and the backend refuse.
    pub fn new(mut backend: B, model: &Model, batch: usize, dtype: DType) -> Result<Self> {
        let graph = model.spec.build()?;
        let options = LowerOptions { dtype, ..LowerOptions::infer(batch) };
        let params = Params::new(&mut backend, &graph, &model.values, None)?;
        let mut net = Executor::new(&mut backend, &graph, options, 0.0)?;
        net.set_pixel_affine(&mut backend, &model.preprocessing.pixel_affine())?;
        let key = backend.new_recording();
        Ok(Self { backend, net, params, key, n_classes: graph.classes() })
    }

    /// Pictures at a time.
    pub fn batch(&self) -> usize {
        self.net.batch()
    }

    /// Probabilities of `n` pictures, a row of classes for each. `pixels`: NHWC bytes of at most a batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than a batch or a length that does not fit; device errors.
    pub fn probabilities(&mut self, pixels: &[u8], n: usize) -> Result<Vec<Vec<f32>>> {
        let batch = self.batch();
        if n == 0 || n > batch || !pixels.len().is_multiple_of(n) {
            let why = format!("{n} pictures in {} bytes; 1 to {batch} of equal size wanted", pixels.len());
            return Err(Error::invalid("pictures", why));
        }
        let mut padded = pixels.to_vec();
        padded.resize(pixels.len() / n * batch, 0);
        let Self { backend, net, params, key, .. } = self;
        net.put_pixels(backend, &padded)?;
        backend.recorded(*key, |backend| {
            net.ingest(backend)?;
            net.forward(backend, params)
        })?;
        let logits = net.logits(backend)?;
        Ok(logits.chunks_exact(self.n_classes).take(n).map(softmax).collect())
    }

    /// Tests it. `on_batch` as in [`evaluate`].
    ///
    /// # Errors
    /// As [`evaluate`]; [`Error::Invalid`] if the loader's batch or pictures are of another size.
    pub fn evaluate(
        &mut self,
        loader: &Loader,
        on_batch: impl FnMut(usize, usize) -> bool,
    ) -> Result<Option<Evaluation>> {
        if loader.batch() != self.batch() {
            let why = format!("{} pictures, the classifier was made for {}", loader.batch(), self.batch());
            return Err(Error::invalid("batch", why));
        }
        let feed = Feed::by_loader(loader.clone());
        evaluate(&mut self.backend, &mut self.net, &mut self.params, &feed, self.key, on_batch)
    }
}

/// Exponentials that sum to 1, in f64 inside. A row that is not finite stays so.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f64> = logits.iter().map(|&v| (f64::from(v) - f64::from(max)).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| (e / sum) as f32).collect()
}
