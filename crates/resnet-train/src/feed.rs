//! Where an executor's pictures come from: a set that lies on the device, or the loader. The one place that decides.
//!
//! Both give the same pictures in the same order with the same bytes, so the choice changes no result.

use resnet_core::{Backend, Executor, Pictures};

use crate::data::{Batch, Epoch, Loader, OnDevice};
use crate::{Error, Result};

/// Batches of a loader for executors of one backend.
#[derive(Debug)]
pub struct Feed<B: Backend> {
    loader: Loader,
    on_device: Option<(OnDevice, Pictures<B::Buffer>)>,
    /// Why the pictures do not lie on the device.
    why_not: String,
}

impl<B: Backend> Feed<B> {
    /// Batch by batch, as the loader makes them.
    pub fn by_loader(loader: Loader) -> Self {
        Self { loader, on_device: None, why_not: "was not asked for".into() }
    }

    /// From the device where the backend keeps pictures, they fit, and it can do what is done to them at random.
    /// `net` says how large they are; any executor of this backend for pictures of this size can be fed.
    ///
    /// # Errors
    /// Pictures that cannot be read; device errors other than too little memory.
    pub fn on_device(backend: &mut B, net: &Executor<B>, loader: Loader) -> Result<Self> {
        let room = backend.room_for_pictures();
        let refuse = |loader, why_not| Ok(Self { loader, on_device: None, why_not });
        if room == 0 {
            return refuse(loader, format!("the backend {} keeps no pictures", backend.name()));
        }
        let on_device = match loader.on_device() {
            Ok(on_device) => on_device,
            Err(why) => return refuse(loader, why),
        };
        let bytes = on_device.bytes();
        let too_large = |room: usize| {
            format!("{} would be needed, {} are free for it", megabytes(bytes), megabytes(room))
        };
        if bytes > room {
            return refuse(loader, too_large(room));
        }
        let place = net.place_for_pictures(backend, on_device.count(), on_device.padding());
        let mut pictures = match place {
            Err(resnet_core::Error::OutOfMemory { free_bytes, .. }) => {
                return refuse(loader, too_large(free_bytes));
            }
            place => place?,
        };
        let all = match on_device.read_all() {
            // The host is too small to put it together; the loader needs less.
            Err(Error::Invalid { why, .. }) => return refuse(loader, why),
            all => all?,
        };
        pictures.fill(backend, &all)?;
        Ok(Self { loader, on_device: Some((on_device, pictures)), why_not: String::new() })
    }

    /// One line for people: `60,000 pictures on the device, 553 MB`, or why not.
    pub fn describe(&self) -> String {
        match &self.on_device {
            Some((_, pictures)) => {
                format!("{} pictures on the device, {}", pictures.count(), megabytes(pictures.bytes()))
            }
            None => format!("from the loader: {}", self.why_not),
        }
    }

    /// Whether the pictures lie on the device.
    pub fn is_on_device(&self) -> bool {
        self.on_device.is_some()
    }

    /// The loader.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// The batches of an epoch from `first` on, for [`Feed::put`].
    ///
    /// # Errors
    /// As [`Loader::epoch`].
    pub fn epoch(&self, epoch: u64, first: usize) -> Result<Epoch> {
        match &self.on_device {
            Some((on_device, _)) => Ok(on_device.epoch(epoch, first)),
            None => self.loader.epoch(epoch, first),
        }
    }

    /// Uploads what is different from batch to batch.
    ///
    /// # Errors
    /// Device errors; a batch of another size.
    pub fn put(&self, backend: &mut B, net: &mut Executor<B>, batch: &Batch) -> Result<()> {
        match &self.on_device {
            Some(_) => net.put_picks(backend, &batch.picks)?,
            None => net.put_pixels(backend, &batch.pixels)?,
        }
        Ok(())
    }

    /// What was put, normalised. The same ops for every batch, so they may be recorded.
    ///
    /// # Errors
    /// Device errors.
    pub fn ingest(&self, backend: &mut B, net: &mut Executor<B>) -> resnet_core::Result<()> {
        match &self.on_device {
            Some((_, pictures)) => net.gather(backend, pictures),
            None => net.ingest(backend),
        }
    }
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
