//! From a recipe to what it names: data, network, pipelines, loaders.

use resnet_core::preprocessing::{ChannelOrder, Interpolation, Preprocessing, Resize};
use resnet_core::zoo::{self, ResNetSpec};

use super::{DataRecipe, Recipe, Shipped, Size, Start};
use crate::data::transform::Erase;
use crate::data::{self, Dataset, Known, Loader, LoaderOptions, OpenOptions, Pipeline, Transform, sample};
use crate::{Error, Result};

/// Rows and columns of the input where the pictures have different sizes and the recipe says none: those of ImageNet.
const PHOTO_SIZE: usize = 224;

impl DataRecipe {
    /// Finds and opens the data, with the channels that its pictures have.
    ///
    /// # Errors
    /// [`Error::DataNotFound`], listing what was searched, and what reading the files returns.
    pub fn open(&self) -> Result<Dataset> {
        let name = match (&self.path, self.name.as_deref()) {
            (Some(path), _) => {
                let options = OpenOptions { split: self.split, split_seed: self.split_seed };
                return data::open(path, &options);
            }
            (None, None) => return sample::fashion_mnist(),
            (None, Some(name)) => name,
        };
        match Known::from_name(name) {
            Some(known) => known.load(&known.find(self.dir.as_deref())?),
            None if name == Shipped::SAMPLE => sample::fashion_mnist(),
            None if data::CIFAR.contains(&name) => data::find_cifar(name, self.dir.as_deref()),
            None => {
                let known = Self::names().join(", ");
                Err(Error::invalid("data.name", format!("`{name}` is not known; there are {known}")))
            }
        }
    }

    /// Names of the sets that can be asked for.
    pub fn names() -> Vec<&'static str> {
        std::iter::once(Shipped::SAMPLE).chain(Known::ALL.map(Known::name)).chain(data::CIFAR).collect()
    }

    /// How many of `n` pictures may be left out because they are broken.
    fn n_bad_allowed(&self, n: usize) -> usize {
        let share = (n as f64 * self.max_bad) as usize;
        if self.max_bad > 0.0 { share.max(1) } else { 0 }
    }
}

impl Recipe {
    /// Finds and opens the data, as grey or colour if `model.channels` says so.
    ///
    /// # Errors
    /// As [`DataRecipe::open`], and [`Dataset::with_channels`].
    pub fn open_data(&self) -> Result<Dataset> {
        let data = self.data.open()?;
        match self.model.channels {
            Some(channels) => data.with_channels(channels),
            None => Ok(data),
        }
    }

    /// What was found in the weights that this run starts from, if it starts from any.
    pub(crate) fn start(&self) -> Option<&Start> {
        self.finetune.as_ref()?.start.as_ref()
    }

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
        if let Some(start) = self.start() {
            return self.started(start, classes, data);
        }
        let size = self.size(data);
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

    /// The network of the weights, which was made to fit the data when the run was started.
    fn started(&self, start: &Start, classes: usize, data: &Dataset) -> Result<ResNetSpec> {
        let found = (start.network.classes, start.network.channels);
        if found != (classes, data.channels) {
            let wanted = format!("{classes} classes and pictures of {} channels", data.channels);
            let why = format!("a network of {} classes and {} channels for {wanted}", found.0, found.1);
            return Err(Error::invalid("finetune.start", why));
        }
        Ok(start.network.clone())
    }

    /// Rows and columns of the pictures that the network sees.
    fn size(&self, data: &Dataset) -> Size {
        let native = data.extent.map(|(height, width)| Size { height, width });
        self.model.size.or(native).unwrap_or(Size::square(PHOTO_SIZE))
    }

    /// Mean and standard deviation of each channel: those of the recipe, else those of the training pictures.
    ///
    /// # Errors
    /// [`Error::Invalid`] if their number is not that of the channels.
    pub fn normalisation(&self, data: &Dataset) -> Result<(Vec<f32>, Vec<f32>)> {
        let (Some(mean), Some(std)) = (&self.data.mean, &self.data.std) else {
            let stats = data.stats()?;
            return Ok((stats.mean.clone(), stats.std.clone()));
        };
        if mean.len() != data.channels {
            let why = format!("{} numbers, but the pictures have {} channels", mean.len(), data.channels);
            return Err(Error::invalid("data.mean", why));
        }
        let narrow = |v: &[f64]| v.iter().map(|&x| x as f32).collect();
        Ok((narrow(mean), narrow(std)))
    }

    /// How pictures become input, as it follows from recipe and data.
    ///
    /// Pictures of one size are resized as they are, squeezed if need be. Of those of different sizes the shorter side is
    /// resized, to 8/7 of the network's, and the middle is cut out. `data.resize` asks for the second way, and how far.
    ///
    /// # Errors
    /// As [`Recipe::normalisation`]; [`Error::Invalid`] for a resize to less than is cut out.
    pub fn preprocessing(&self, data: &Dataset) -> Result<Preprocessing> {
        if let Some(start) = self.start() {
            return self.started_preprocessing(start, data);
        }
        let Size { height, width } = self.size(data);
        let (mean, std) = self.normalisation(data)?;
        let longer = height.max(width);
        let shorter = match (self.data.resize, data.extent) {
            (Some(side), _) if side < longer => {
                let why = format!("{side}, from which {height}×{width} pixels cannot be cut");
                return Err(Error::invalid("data.resize", why));
            }
            (Some(side), _) => Some(side),
            (None, None) => Some((longer * 8).div_ceil(7)),
            (None, Some(_)) => None,
        };
        let exact = Preprocessing::exact(height, width, mean, std);
        Ok(Preprocessing {
            resize: shorter.map_or(exact.resize, Resize::ShortSide),
            interpolation: self.data.interpolation.unwrap_or(Interpolation::Bilinear),
            ..exact
        })
    }

    /// That of the weights, which they were trained on. `data.mean` and `data.std` go before it.
    fn started_preprocessing(&self, start: &Start, data: &Dataset) -> Result<Preprocessing> {
        let stored = start.preprocessing.clone();
        if self.data.mean.is_none() {
            return Ok(stored);
        }
        let (mean, std) = self.normalisation(data)?;
        Ok(Preprocessing { mean, std, scale: 1.0 / 255.0, ..stored })
    }

    /// Shuffled, augmented batches to learn from, each one part of a step. `preprocessing` is usually
    /// [`Recipe::preprocessing`], or what belongs to weights that are learned on from.
    ///
    /// # Errors
    /// [`Error::Invalid`], such as for a batch larger than the data.
    pub fn train_loader(&self, data: &Dataset, preprocessing: &Preprocessing) -> Result<Loader> {
        let (n, batch) = (data.train.len(), self.train.batch);
        if batch > n {
            let why = format!("{batch} pictures, but {} has {n} to train with", data.name);
            return Err(Error::invalid("train.batch", why));
        }
        let a = &self.augment;
        let mut random = vec![];
        if a.pad_crop > 0 {
            random.push(Transform::PadCrop { padding: a.pad_crop });
        }
        if a.flip > 0.0 {
            random.push(Transform::HorizontalFlip { probability: a.flip as f32 });
        }
        if a.erase > 0.0 {
            random.push(Transform::Erase(Erase::new(a.erase as f32, mean_color(preprocessing))));
        }
        let pipeline = Pipeline::for_training(preprocessing, a.resized_crop, random)?;
        let options = LoaderOptions {
            n_workers: self.run.workers,
            n_queued: self.run.workers + 2,
            max_bad: self.data.n_bad_allowed(n),
            ..LoaderOptions::train(self.micro_batch(), self.train.seed)
        };
        Loader::new(data.train.clone(), pipeline.simplified(data.extent), options)
    }

    /// The test pictures, each once, the last batch padded. Broken ones are not counted.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub fn test_loader(&self, data: &Dataset, preprocessing: &Preprocessing) -> Result<Loader> {
        if data.test.is_empty() {
            return Err(Error::invalid(
                "data.split",
                format!("leaves no picture of {} to test with", data.name),
            ));
        }
        let batch = self.run.eval_batch.unwrap_or(self.micro_batch()).min(data.test.len());
        let options = LoaderOptions {
            n_workers: self.run.workers,
            max_bad: self.data.n_bad_allowed(data.test.len()),
            ..LoaderOptions::eval(batch)
        };
        let pipeline = Pipeline::for_evaluation(preprocessing)?.simplified(data.extent);
        Loader::new(data.test.clone(), pipeline, options)
    }
}

/// What an erased rectangle is filled with: the bytes that become 0, red first as in the picture.
fn mean_color(p: &Preprocessing) -> Vec<u8> {
    let byte = |mean: &f32| (mean / p.scale).round() as u8;
    match p.channel_order {
        ChannelOrder::Rgb => p.mean.iter().map(byte).collect(),
        ChannelOrder::Bgr => p.mean.iter().rev().map(byte).collect(),
    }
}
