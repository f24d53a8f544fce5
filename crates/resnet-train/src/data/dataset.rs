//! A training and a test source with the names of their classes.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Fingerprint, Picture, Source};
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
    /// Mean and standard deviation of the training pictures.
    pub stats: ChannelStats,
}

impl Dataset {
    /// Puts two sources together and computes the statistics of the first.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a source is empty, the channels differ or there are fewer than two classes,
    /// [`Error::Label`] for a label out of range, and what [`Source::read`] returns.
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
        for (part, source) in [("training", &train), ("test", &test)] {
            if source.is_empty() {
                return Err(Error::invalid(name, format!("no {part} pictures in {origin}")));
            }
            check_labels(&format!("{name}, {part} part"), source.as_ref(), classes.len())?;
        }
        let channels = train.channels();
        if channels != test.channels() {
            let why =
                format!("{channels} channels in the training part, {} in the test part", test.channels());
            return Err(Error::invalid(name, why));
        }
        let extent = train.extent().filter(|_| train.extent() == test.extent());
        let stats = ChannelStats::of(train.as_ref())?;
        Ok(Self { name, origin, classes, channels, extent, train, test, stats })
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
    pub fn affine(&self) -> Vec<f32> {
        affine(&self.stats.mean, &self.stats.std)
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

/// Mean and standard deviation of each channel, of pixels scaled to 0…1.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStats {
    /// Means.
    pub mean: Vec<f32>,
    /// Population standard deviations. A channel that is constant has 1 here, so that dividing by it is harmless.
    pub std: Vec<f32>,
}

impl ChannelStats {
    /// Reads every picture of a source once. Exact up to the last rounding: bytes are counted, not summed in floats.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn of(source: &dyn Source) -> Result<Self> {
        let mut counts = vec![[0u64; 256]; source.channels()];
        let mut picture = Picture::default();
        for index in 0..source.len() {
            source.read(index, &mut picture)?;
            for pixel in picture.pixels.chunks_exact(counts.len()) {
                for (count, &byte) in counts.iter_mut().zip(pixel) {
                    count[usize::from(byte)] += 1;
                }
            }
        }
        let (mean, std) = counts.iter().map(moments).unzip();
        Ok(Self { mean, std })
    }
}

/// Mean and standard deviation of bytes scaled to 0…1, from how often each byte occurs.
fn moments(count: &[u64; 256]) -> (f32, f32) {
    let n = count.iter().sum::<u64>() as f64;
    let mean = count.iter().enumerate().map(|(byte, &k)| byte as f64 * k as f64).sum::<f64>() / n;
    let var =
        count.iter().enumerate().map(|(byte, &k)| (byte as f64 - mean).powi(2) * k as f64).sum::<f64>() / n;
    let std = if var > 0.0 { var.sqrt() / 255.0 } else { 1.0 };
    ((mean / 255.0) as f32, std as f32)
}

/// What [`Backend::ingest`](resnet_core::Backend::ingest) multiplies and adds: a row of scales, then a row of shifts.
///
/// `mean` and `std` are of pixels scaled to 0…1, as libraries publish them: `scale = 1 / (255·std)`, `shift = −mean / std`.
pub fn affine(mean: &[f32], std: &[f32]) -> Vec<f32> {
    let scales = std.iter().map(|&s| (1.0 / (255.0 * f64::from(s))) as f32);
    let shifts = mean.iter().zip(std).map(|(&m, &s)| (-f64::from(m) / f64::from(s)) as f32);
    scales.chain(shifts).collect()
}
