//! From a recipe to what it names: data, network, pipelines, loaders.

use resnet_core::Preprocessing;
use resnet_core::zoo::{self, ResNetSpec};

use super::{DataRecipe, Recipe, Shipped, Size};
use crate::data::transform::Erase;
use crate::data::{Dataset, Known, Loader, LoaderOptions, Pipeline, Transform, sample};
use crate::{Error, Result};

impl DataRecipe {
    /// Finds and reads the data.
    ///
    /// # Errors
    /// [`Error::DataNotFound`], listing what was searched, and what reading the files returns.
    pub fn open(&self) -> Result<Dataset> {
        match Known::from_name(&self.name) {
            Some(known) => known.load(&known.find(self.dir.as_deref())?),
            None if self.name == Shipped::SAMPLE => sample::fashion_mnist(),
            None => Err(Error::invalid("data.name", format!("`{}` is not known", self.name))),
        }
    }
}

impl Recipe {
    /// The network for this data.
    ///
    /// # Errors
    /// [`Error::Invalid`] if channels or classes do not fit the data; an unknown name, with those that look like it.
    pub fn spec(&self, data: &Dataset) -> Result<ResNetSpec> {
        let m = &self.model;
        let classes = m.classes.unwrap_or(data.n_classes());
        if classes < data.n_classes() {
            let why = format!("{classes}, but the data has {} classes", data.n_classes());
            return Err(Error::invalid("model.classes", why));
        }
        if m.channels.is_some_and(|c| c != data.channels) {
            let why = format!("{}, but the pictures have {}", m.channels.unwrap_or_default(), data.channels);
            return Err(Error::invalid("model.channels", why));
        }
        let size = self.size(data)?;
        let mut spec =
            zoo::arch(&m.arch)?.classes(classes).channels(data.channels).size(size.height, size.width);
        if let Some(variant) = m.variant {
            spec = spec.variant(variant);
        }
        if let Some(init) = m.init {
            spec.conventions.init = init;
        }
        if let Some(on) = m.zero_init_residual {
            spec = spec.zero_init_residual(on);
        }
        Ok(spec)
    }

    /// Rows and columns of the pictures that the network sees.
    fn size(&self, data: &Dataset) -> Result<Size> {
        let native = data.extent.map(|(height, width)| Size { height, width });
        self.model.size.or(native).ok_or_else(|| {
            Error::invalid(
                "model.size",
                format!("none, but the pictures of {} have different sizes", data.name),
            )
        })
    }

    /// Mean and standard deviation of each channel: those of the recipe, else those of the training pictures.
    ///
    /// # Errors
    /// [`Error::Invalid`] if their number is not that of the channels.
    pub fn normalisation(&self, data: &Dataset) -> Result<(Vec<f32>, Vec<f32>)> {
        let (Some(mean), Some(std)) = (&self.data.mean, &self.data.std) else {
            return Ok((data.stats.mean.clone(), data.stats.std.clone()));
        };
        if mean.len() != data.channels {
            let why = format!("{} numbers, but the pictures have {} channels", mean.len(), data.channels);
            return Err(Error::invalid("data.mean", why));
        }
        let narrow = |v: &[f64]| v.iter().map(|&x| x as f32).collect();
        Ok((narrow(mean), narrow(std)))
    }

    /// How pictures become input.
    ///
    /// # Errors
    /// As [`Recipe::normalisation`]; [`Error::Invalid`] if the pictures have no common size.
    pub fn preprocessing(&self, data: &Dataset) -> Result<Preprocessing> {
        let (size, (mean, std)) = (self.size(data)?, self.normalisation(data)?);
        Ok(Preprocessing::exact(size.height, size.width, mean, std))
    }

    /// Shuffled, augmented batches to learn from, each one part of a step.
    ///
    /// # Errors
    /// [`Error::Invalid`], such as for a batch larger than the data.
    pub fn train_loader(&self, data: &Dataset) -> Result<Loader> {
        let (n, batch) = (data.train.len(), self.train.batch);
        if batch > n {
            let why = format!("{batch} pictures, but {} has {n} to train with", data.name);
            return Err(Error::invalid("train.batch", why));
        }
        let a = &self.augment;
        let mut steps = self.resize(data)?;
        if a.pad_crop > 0 {
            steps.push(Transform::PadCrop { padding: a.pad_crop });
        }
        if a.flip > 0.0 {
            steps.push(Transform::HorizontalFlip { probability: a.flip as f32 });
        }
        if a.erase > 0.0 {
            let (mean, _) = self.normalisation(data)?;
            let fill = mean.iter().map(|m| (m * 255.0).round() as u8).collect();
            steps.push(Transform::Erase(Erase::new(a.erase as f32, fill)));
        }
        let options = LoaderOptions {
            n_workers: self.run.workers,
            n_queued: self.run.workers + 2,
            ..LoaderOptions::train(self.micro_batch(), self.train.seed)
        };
        Loader::new(data.train.clone(), Pipeline::new(steps)?, options)
    }

    /// The test pictures, each once, the last batch padded.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub fn test_loader(&self, data: &Dataset) -> Result<Loader> {
        let batch = self.run.eval_batch.unwrap_or(self.micro_batch()).min(data.test.len());
        let options = LoaderOptions { n_workers: self.run.workers, ..LoaderOptions::eval(batch) };
        Loader::new(data.test.clone(), Pipeline::new(self.resize(data)?)?, options)
    }

    fn resize(&self, data: &Dataset) -> Result<Vec<Transform>> {
        let Size { height, width } = self.size(data)?;
        let needed = data.extent != Some((height, width));
        Ok(if needed { vec![Transform::Resize { height, width }] } else { vec![] })
    }
}
