//! Pictures of one size that lie in memory.

use sha2::{Digest, Sha256};

use super::{Fingerprint, Picture, Source};
use crate::{Error, Result};

/// Pictures of one size that lie in memory.
#[derive(Clone)]
pub struct InMemory {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl InMemory {
    /// `pixels`: `n × height × width × channels` bytes. `labels`: `n` class indices below `n_classes`.
    ///
    /// # Errors
    /// [`Error::Format`] if an extent is zero or the counts do not match, [`Error::Label`] for a label out of range;
    /// both name `what`.
    pub fn new(
        what: &str,
        (height, width, channels): (usize, usize, usize),
        pixels: Vec<u8>,
        labels: Vec<u8>,
        n_classes: usize,
    ) -> Result<Self> {
        let wanted = [height, width, channels, labels.len()].into_iter().try_fold(1usize, usize::checked_mul);
        if wanted == Some(0) {
            let found = format!("{} pictures of {height}×{width}×{channels}", labels.len());
            return Err(Error::format(what, found, "at least one picture of at least one pixel"));
        }
        if wanted != Some(pixels.len()) {
            let wanted = format!("{} pictures of {height}×{width}×{channels}, one per label", labels.len());
            return Err(Error::format(what, format!("{} bytes of pixels", pixels.len()), wanted));
        }
        if let Some(index) = labels.iter().position(|&label| usize::from(label) >= n_classes) {
            let label = u32::from(labels[index]);
            return Err(Error::Label { file: what.to_owned(), index, label, n_classes });
        }
        Ok(Self { height, width, channels, pixels, labels })
    }

    /// All pixels, picture after picture.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All labels.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }
}

impl Source for InMemory {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn extent(&self) -> Option<(usize, usize)> {
        Some((self.height, self.width))
    }

    fn label(&self, index: usize) -> u32 {
        u32::from(self.labels[index])
    }

    fn read(&self, index: usize, into: &mut Picture) -> Result<()> {
        let bytes = self.height * self.width * self.channels;
        (into.height, into.width, into.channels) = (self.height, self.width, self.channels);
        into.pixels.clear();
        into.pixels.extend_from_slice(&self.pixels[index * bytes..(index + 1) * bytes]);
        Ok(())
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let mut hash = Sha256::new();
        for extent in [self.labels.len(), self.height, self.width, self.channels] {
            hash.update((extent as u64).to_le_bytes());
        }
        hash.update(&self.labels);
        hash.update(&self.pixels);
        Ok(Fingerprint(hash.finalize().into()))
    }
}

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { height, width, channels, labels, .. } = self;
        write!(f, "InMemory({} pictures of {height}×{width}×{channels})", labels.len())
    }
}
