//! What is in a batch: the part of the loader that knows no threads.

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use resnet_core::op::Pick;
use resnet_core::rng::{Purpose, Stream};

use super::bad::Bad;
use super::order::Positions;
use super::{Batch, LastBatch, LoaderOptions};
use crate::data::transform::{self, Picker, Pipeline};
use crate::data::{Picture, Source};
use crate::{Error, Result};

/// Everything that decides what is in a batch.
#[derive(Debug)]
pub(super) struct BatchSpec {
    source: Arc<dyn Source>,
    options: LoaderOptions,
    /// The start of the pipeline that is the same in every epoch, and the rest.
    fixed: Pipeline,
    random: Pipeline,
    height: usize,
    width: usize,
    /// Pictures after the fixed part, filled in as they are needed. Empty where nothing is kept.
    cache: Vec<OnceLock<Picture>>,
    bad: Bad,
}

/// Memory that one worker reuses.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    picture: Picture,
    transform: transform::Scratch,
}

impl BatchSpec {
    pub(super) fn new(source: Arc<dyn Source>, pipeline: Pipeline, options: LoaderOptions) -> Result<Self> {
        let (n, batch) = (source.len(), options.batch);
        if batch == 0 {
            return Err(Error::invalid("batch", "0 pictures; at least 1 wanted"));
        }
        if n == 0 || options.last == LastBatch::Drop && batch > n {
            return Err(Error::invalid("batch", format!("{batch} pictures, but the data has {n}")));
        }
        let Some((height, width)) = pipeline.output(source.extent()) else {
            let why = "the pictures have different sizes, and nothing in the pipeline makes them equal; add a resize or crop";
            return Err(Error::invalid("pipeline", why));
        };
        if [batch, height, width, source.channels()]
            .into_iter()
            .try_fold(1usize, usize::checked_mul)
            .is_none()
        {
            let why = format!("{batch} pictures of {height}×{width}×{} have no size", source.channels());
            return Err(Error::invalid("batch", why));
        }
        let (fixed, random) = pipeline.split();
        let cache = match fixed.output(source.extent()) {
            Some((h, w)) if !fixed.steps().is_empty() => {
                let bytes = n.saturating_mul(h * w * source.channels());
                let n_kept = if bytes <= options.cache_bytes { n } else { 0 };
                (0..n_kept).map(|_| OnceLock::new()).collect()
            }
            _ => Vec::new(),
        };
        let bad = Bad::new(options.max_bad);
        Ok(Self { source, options, fixed, random, height, width, cache, bad })
    }

    pub(super) fn options(&self) -> &LoaderOptions {
        &self.options
    }

    pub(super) fn bad(&self) -> &Bad {
        &self.bad
    }

    pub(super) fn shape(&self) -> (usize, usize, usize) {
        (self.height, self.width, self.source.channels())
    }

    pub(super) fn count(&self) -> usize {
        self.source.len()
    }

    pub(super) fn n_batches(&self) -> usize {
        let (n, batch) = (self.source.len(), self.options.batch);
        if self.options.last == LastBatch::Drop { n / batch } else { n.div_ceil(batch) }
    }

    /// Makes batch `number` of an epoch. Gives up between two pictures when `stopped`, as nobody wants the batch then.
    pub(super) fn fill(
        &self,
        batch: &mut Batch,
        epoch: u64,
        number: usize,
        scratch: &mut Scratch,
        stopped: &dyn Fn() -> bool,
    ) -> Result<()> {
        let (wanted, size) = (self.wanted(epoch, number), self.options.batch);
        let picture_bytes = self.height * self.width * self.source.channels();
        batch.number = number;
        batch.indices.clear();
        batch.labels.clear();
        batch.pixels.clear();
        batch.picks.clear();
        if batch.pixels.try_reserve_exact(size * picture_bytes).is_err()
            || batch.labels.try_reserve_exact(size).is_err()
        {
            let why = format!("{size} pictures of {picture_bytes} bytes do not fit into memory");
            return Err(Error::invalid("batch", why));
        }
        for wanted in wanted {
            if stopped() {
                return Ok(());
            }
            let Some(index) = self.good(wanted, |index| self.read(index, epoch, scratch))? else { continue };
            batch.indices.push(index);
            batch.labels.push(self.source.label(index));
            batch.pixels.extend_from_slice(&scratch.picture.pixels);
        }
        batch.n_valid = batch.indices.len();
        batch.labels.resize(size, 0);
        batch.pixels.resize(size * picture_bytes, 0);
        Ok(())
    }

    /// As [`BatchSpec::fill`], for pictures that lie on the device as [`BatchSpec::read_all`] left them.
    pub(super) fn pick(&self, picker: &Picker, epoch: u64, number: usize) -> Result<Batch> {
        let size = self.options.batch;
        let mut batch = Batch::default();
        batch.number = number;
        for wanted in self.wanted(epoch, number) {
            let Some(index) = self.good(wanted, |_| Ok(()))? else { continue };
            let mut stream = Stream::new(self.options.seed, Purpose::Augment, epoch, index as u64);
            batch.picks.push(picker.draw(index as u32, &mut stream));
            batch.labels.push(self.source.label(index));
            batch.indices.push(index);
        }
        batch.n_valid = batch.indices.len();
        batch.labels.resize(size, 0);
        batch.picks.resize(size, Pick::NONE);
        Ok(batch)
    }

    /// What is drawn for each picture, if the pictures could lie on a device.
    ///
    /// # Errors
    /// Says what a device does not do.
    pub(super) fn picker(&self) -> Result<Picker, String> {
        let fixed = self.fixed.output(self.source.extent());
        let picker = Picker::of(&self.random).map_err(|step| format!("{step} is done by the loader"))?;
        if fixed != Some((self.height, self.width)) {
            return Err("the pictures have different sizes".into());
        }
        if u32::try_from(self.source.len()).is_err() {
            return Err("there are more pictures than a device can number".into());
        }
        Ok(picker)
    }

    /// Bytes of all pictures, each as large as in a batch.
    pub(super) fn bytes(&self) -> usize {
        self.source.len().saturating_mul(self.height * self.width * self.source.channels())
    }

    /// All pictures after the part of the pipeline that is the same in every epoch. Broken ones are noted, and black.
    pub(super) fn read_all(&self, reversed: bool) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        if all.try_reserve_exact(self.bytes()).is_err() {
            return Err(Error::invalid("pictures", format!("{} bytes do not fit into memory", self.bytes())));
        }
        all.resize(self.bytes(), 0);
        let each = self.height * self.width * self.source.channels();
        let read = |(index, place): (usize, &mut [u8]), scratch: &mut Scratch| -> Result<()> {
            let Scratch { picture, transform } = scratch;
            let mut stream = Stream::new(self.options.seed, Purpose::Augment, 0, index as u64); // nothing draws from it
            let made = self
                .source
                .read(index, picture)
                .and_then(|()| self.fixed.apply(picture, transform, &mut stream))
                .and_then(|()| self.check_shape(index, picture));
            match made {
                Ok(()) => place.copy_from_slice(&picture.pixels),
                Err(e) => self.bad.add(index, e)?,
            }
            if reversed {
                place.chunks_exact_mut(picture.channels.max(1)).for_each(<[u8]>::reverse);
            }
            Ok(())
        };
        all.par_chunks_exact_mut(each)
            .enumerate()
            .try_for_each_init(Scratch::default, |scratch, item| read(item, scratch))?;
        Ok(all)
    }

    /// Which pictures batch `number` of an epoch is to have, in order.
    fn wanted(&self, epoch: u64, number: usize) -> impl Iterator<Item = usize> {
        let (n, size) = (self.source.len(), self.options.batch);
        let positions = Positions::new(self.options.order, n, epoch);
        let first = number * size;
        let n_valid = if self.options.last == LastBatch::Wrap { size } else { size.min(n - first) };
        (first..first + n_valid).map(move |position| positions.get(position % n))
    }

    /// The picture that is read for a wanted one: in place of a broken one the next in the source that is whole, or in an
    /// evaluation none.
    fn good(&self, wanted: usize, mut read: impl FnMut(usize) -> Result<()>) -> Result<Option<usize>> {
        let n = self.source.len();
        for index in (wanted..n).chain(0..wanted) {
            if !self.bad.has(index) {
                match read(index) {
                    Ok(()) => return Ok(Some(index)),
                    Err(e) => self.bad.add(index, e)?,
                }
            }
            if self.options.last == LastBatch::Pad {
                return Ok(None);
            }
        }
        Err(Error::invalid("pictures", "all of them are broken"))
    }

    /// One picture, transformed, into `scratch.picture`.
    fn read(&self, index: usize, epoch: u64, scratch: &mut Scratch) -> Result<()> {
        let Scratch { picture, transform } = scratch;
        let mut stream = Stream::new(self.options.seed, Purpose::Augment, epoch, index as u64);
        match self.cache.get(index).and_then(OnceLock::get) {
            Some(cached) => picture.copy_from(cached),
            None => {
                self.source.read(index, picture)?;
                self.fixed.apply(picture, transform, &mut stream)?;
                if let Some(slot) = self.cache.get(index) {
                    slot.get_or_init(|| picture.clone());
                }
            }
        }
        self.random.apply(picture, transform, &mut stream)?;
        self.check_shape(index, picture)
    }

    fn check_shape(&self, index: usize, picture: &Picture) -> Result<()> {
        let (found, wanted) = ((picture.height, picture.width, picture.channels), self.shape());
        if found != wanted {
            let why = format!("{found:?} (height, width, channels) after the pipeline; {wanted:?} wanted");
            return Err(Error::invalid(format!("picture {index}"), why));
        }
        Ok(())
    }
}
