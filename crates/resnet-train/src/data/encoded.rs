//! Pictures that are decoded when they are read.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::files::Files;
use super::{Fingerprint, Picture, Source, decode};
use crate::{Error, Result};

/// Pictures that are decoded when they are read: red, green and blue, of any size.
#[derive(Clone, Debug)]
pub struct Encoded {
    files: Arc<dyn Files>,
    /// Number of the file, and class.
    items: Vec<(u32, u32)>,
}

impl Encoded {
    pub(super) fn new(files: Arc<dyn Files>, items: Vec<(u32, u32)>) -> Self {
        Self { files, items }
    }

    /// File and class of every picture.
    pub(super) fn items(&self) -> &[(u32, u32)] {
        &self.items
    }

    /// Class of every picture.
    pub(super) fn classes(&self) -> impl Iterator<Item = u32> {
        self.items.iter().map(|(_, label)| *label)
    }
}

impl Source for Encoded {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn channels(&self) -> usize {
        3
    }

    fn extent(&self) -> Option<(usize, usize)> {
        None
    }

    fn label(&self, index: usize) -> u32 {
        self.items[index].1
    }

    fn name(&self, index: usize) -> String {
        self.files.name(self.items[index].0 as usize)
    }

    fn read(&self, index: usize, into: &mut Picture) -> Result<()> {
        let file = self.items[index].0 as usize;
        let bytes = self.files.read(file).map_err(|e| match e {
            // One file that cannot be read is a bad picture, as is one that cannot be decoded.
            Error::Io { source, action, .. } => {
                Error::picture(self.files.name(file), format!("cannot {action}: {source}"))
            }
            other => other,
        })?;
        decode::decode(&bytes, into).map_err(|why| Error::picture(self.files.name(file), why))
    }

    /// Of names, sizes and classes: reading every file of a large set only to know it would take longer than an epoch.
    fn fingerprint(&self) -> Result<Fingerprint> {
        let mut hash = Sha256::new();
        for (file, label) in &self.items {
            let (name, bytes) = self.files.identity(*file as usize);
            for number in [name.len() as u64, bytes, u64::from(*label)] {
                hash.update(number.to_le_bytes());
            }
            hash.update(name.as_bytes());
        }
        Ok(Fingerprint(hash.finalize().into()))
    }
}

/// The pictures of another source as grey or as colour.
#[derive(Debug)]
pub(super) struct WithChannels {
    pub(super) inner: Arc<dyn Source>,
    /// 1 or 3.
    pub(super) channels: usize,
}

impl Source for WithChannels {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn extent(&self) -> Option<(usize, usize)> {
        self.inner.extent()
    }

    fn label(&self, index: usize) -> u32 {
        self.inner.label(index)
    }

    fn name(&self, index: usize) -> String {
        self.inner.name(index)
    }

    fn read(&self, index: usize, into: &mut Picture) -> Result<()> {
        self.inner.read(index, into)?;
        if self.channels == 1 {
            decode::to_grey(into)
        } else {
            decode::to_colour(into)
        }
        Ok(())
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let mut hash = Sha256::new();
        hash.update(self.inner.fingerprint()?.0);
        hash.update((self.channels as u64).to_le_bytes());
        Ok(Fingerprint(hash.finalize().into()))
    }
}

/// The pictures of another source with other numbers for their classes.
#[derive(Debug)]
pub(super) struct Relabelled {
    pub(super) inner: Arc<dyn Source>,
    /// The new label for each old one.
    pub(super) labels: Vec<u32>,
}

impl Source for Relabelled {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn channels(&self) -> usize {
        self.inner.channels()
    }

    fn extent(&self) -> Option<(usize, usize)> {
        self.inner.extent()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[self.inner.label(index) as usize]
    }

    fn name(&self, index: usize) -> String {
        self.inner.name(index)
    }

    fn read(&self, index: usize, into: &mut Picture) -> Result<()> {
        self.inner.read(index, into)
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let mut hash = Sha256::new();
        hash.update(self.inner.fingerprint()?.0);
        self.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        Ok(Fingerprint(hash.finalize().into()))
    }
}
