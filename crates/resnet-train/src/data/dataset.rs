//! A training and a test source with the names of their classes.

use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::encoded::{Relabelled, WithChannels};
use super::{ChannelStats, Fingerprint, Source};
use crate::{Error, Result};

/// A training and a test source with the names of their classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What people call it: `Fashion-MNIST`.
    pub name: String,
    /// Where it came from: a directory, or `embedded`.
    pub origin: String,
    /// Class names; a label is an index into them.
    pub classes: Vec<String>,
    /// Channels of every picture.
    pub channels: usize,
    /// Height and width, where all pictures have the same.
    pub extent: Option<(usize, usize)>,
    /// Pictures to learn from.
    pub train: Arc<dyn Source>,
    /// Pictures to test with.
    pub test: Arc<dyn Source>,
    /// Mean and standard deviation of the training pictures, once somebody asked.
    stats: OnceLock<ChannelStats>,
}

impl Dataset {
    /// Puts two sources together. One of them may be empty: then there is nothing to train with, or nothing to test.
    ///
    /// # Errors
    /// [`Error::Invalid`] if both are empty, the channels differ or there are fewer than two classes,
    /// [`Error::Label`] for a label out of range.
    pub fn new(
        name: impl Into<String>,
        origin: impl Into<String>,
        classes: Vec<String>,
        train: Arc<dyn Source>,
        test: Arc<dyn Source>,
    ) -> Result<Self> {
        let (name, origin) = (name.into(), origin.into());
        if classes.len() < 2 {
            return Err(Error::invalid(name, format!("{} classes; at least 2 wanted", classes.len())));
        }
        if train.is_empty() && test.is_empty() {
            return Err(Error::invalid(name, format!("no pictures in {origin}")));
        }
        for (part, source) in [("training", &train), ("test", &test)] {
            check_labels(&format!("{name}, {part} part"), source.as_ref(), classes.len())?;
        }
        let channels = train.channels();
        if channels != test.channels() {
            let why =
                format!("{channels} channels in the training part, {} in the test part", test.channels());
            return Err(Error::invalid(name, why));
        }
        let extent = train.extent().filter(|_| train.extent() == test.extent());
        Ok(Self { name, origin, classes, channels, extent, train, test, stats: OnceLock::new() })
    }

    /// Mean and standard deviation of the training pictures, of the test pictures where there are no others.
    /// Computed when first asked for; see [`ChannelStats::of`].
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn stats(&self) -> Result<&ChannelStats> {
        if let Some(stats) = self.stats.get() {
            return Ok(stats);
        }
        let source = if self.train.is_empty() { &self.test } else { &self.train };
        let stats = ChannelStats::of(source.as_ref())?;
        Ok(self.stats.get_or_init(|| stats))
    }

    /// The same pictures as grey, with 1 channel, or as colour, with 3.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number, and for pictures that have another one.
    pub fn with_channels(self, channels: usize) -> Result<Self> {
        if channels == self.channels {
            return Ok(self);
        }
        if ![1, 3].contains(&channels) || ![1, 3].contains(&self.channels) {
            let why = format!("{channels}, but the pictures of {} have {}", self.name, self.channels);
            return Err(Error::invalid("model.channels", why));
        }
        let convert = |inner| -> Arc<dyn Source> { Arc::new(WithChannels { inner, channels }) };
        let (train, test) = (convert(self.train), convert(self.test));
        Ok(Self { channels, train, test, stats: OnceLock::new(), ..self })
    }

    /// The same pictures with these class names in this order: labels are changed so that each name stays what it was.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a class of the data is not among them.
    pub fn with_classes(self, classes: &[String]) -> Result<Self> {
        if self.classes == classes {
            return Ok(self);
        }
        let place = |class: &String| {
            let place = classes.iter().position(|c| c == class).map(|i| i as u32);
            place.ok_or_else(|| Error::invalid(&*self.name, format!("its class `{class}` is not known")))
        };
        let labels = self.classes.iter().map(place).collect::<Result<Vec<u32>>>()?;
        let convert = |inner| -> Arc<dyn Source> { Arc::new(Relabelled { inner, labels: labels.clone() }) };
        let (train, test) = (convert(self.train), convert(self.test));
        Ok(Self { classes: classes.to_vec(), train, test, ..self })
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.classes.len()
    }

    /// One line: `Fashion-MNIST sample (embedded): 5,000 train, 1,000 test, 10 classes, 28×28×1`.
    pub fn describe(&self) -> String {
        let size = match self.extent {
            Some((h, w)) => format!("{h}×{w}×{}", self.channels),
            None => format!("mixed sizes, {} channels", self.channels),
        };
        format!(
            "{} ({}): {} train, {} test, {} classes, {size}",
            self.name,
            self.origin,
            thousands(self.train.len()),
            thousands(self.test.len()),
            self.n_classes(),
        )
    }

    /// Identifies the content, whatever its name and place: class names, labels and pixels of both parts.
    ///
    /// # Errors
    /// As [`Source::fingerprint`].
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let mut hash = Sha256::new();
        for class in &self.classes {
            hash.update((class.len() as u64).to_le_bytes());
            hash.update(class.as_bytes());
        }
        hash.update(self.train.fingerprint()?.0);
        hash.update(self.test.fingerprint()?.0);
        Ok(Fingerprint(hash.finalize().into()))
    }

    /// Scale and shift that give the training pictures mean 0 and variance 1 per channel. See [`affine`].
    ///
    /// # Errors
    /// As [`Dataset::stats`].
    pub fn affine(&self) -> Result<Vec<f32>> {
        let stats = self.stats()?;
        Ok(affine(&stats.mean, &stats.std))
    }
}

fn check_labels(what: &str, source: &dyn Source, n_classes: usize) -> Result<()> {
    match (0..source.len()).find(|&i| source.label(i) as usize >= n_classes) {
        Some(index) => {
            Err(Error::Label { file: what.to_owned(), index, label: source.label(index), n_classes })
        }
        None => Ok(()),
    }
}

/// `12345` as `12,345`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What [`Backend::ingest`](resnet_core::Backend::ingest) multiplies and adds: a row of scales, then a row of shifts.
///
/// `mean` and `std` are of pixels scaled to 0…1, as libraries publish them: `scale = 1 / (255·std)`, `shift = −mean / std`.
pub fn affine(mean: &[f32], std: &[f32]) -> Vec<f32> {
    let scales = std.iter().map(|&s| (1.0 / (255.0 * f64::from(s))) as f32);
    let shifts = mean.iter().zip(std).map(|(&m, &s)| (-f64::from(m) / f64::from(s)) as f32);
    scales.chain(shifts).collect()
}
