//! From files to batches: `file → Source → transform → Batch`.
//!
//! Reading order:
//! - [`Source`]: labelled pictures by index, wherever they lie; [`InMemory`] is the one for small sets.
//! - [`idx`]: the file format of MNIST and its relatives.
//! - [`open`]: folders, archives and tables of pictures as people keep them, recognised by what is there.
//! - [`Dataset`]: a training and a test source with their names; [`Known`] finds the published ones, [`sample`] is embedded.
//! - [`decode`]: JPEG, PNG, WebP, BMP and GIF to red, green and blue.
//! - [`Survey`]: what is in a set: sizes, broken pictures, duplicates.
//! - [`transform`]: resize, crop, flip, erase.
//! - [`loader`]: worker threads that turn a source into an ordered sequence of batches.
//!
//! Everything random is a function of (seed, epoch, index), so neither threads nor a restart change a result.

mod dataset;
pub mod decode;
mod encoded;
mod files;
pub mod idx;
mod known;
pub mod loader;
mod memory;
mod read;
pub mod sample;
mod source;
mod stats;
mod survey;
pub mod transform;

pub use dataset::{Dataset, affine};
pub use encoded::Encoded;
pub use known::{Known, OfficialFile, user_data_dir};
pub use loader::{Batch, Epoch, LastBatch, Loader, LoaderOptions, OnDevice, Order};
pub use memory::InMemory;
pub use read::{CIFAR, OpenOptions, find_cifar, open};
pub use source::{Fingerprint, Picture, Source};
pub use stats::ChannelStats;
pub use survey::{Duplicate, PartSurvey, Survey};
pub use transform::{Pipeline, Transform};
