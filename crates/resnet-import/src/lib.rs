//! Weights of PyTorch, timm, Keras and Paddle, read without running them, and written for others to load.
//!
//! ```no_run
//! use resnet_import::{Options, import};
//! let resnet = import("resnet50-0676ba61.pth".as_ref(), &Options::default())?;
//! println!("{}: {}", resnet.spec.arch, resnet.report);
//! resnet.save("resnet50.safetensors".as_ref())?;
//! # Ok::<(), resnet_import::Error>(())
//! ```
//!
//! A file passes through five stages, each of which knows nothing of the next:
//! 1. [`container`]: which tensors does the file hold, and where?
//! 2. `unwrap`: which of them are the network?
//! 3. [`dialect`]: what does the library call them, and how does it lay them out?
//! 4. `infer`: which network has tensors of these names and shapes?
//! 5. `adapt`: other classes, channels or sizes.
//!
//! [`import()`] goes through them all. [`resnet_core::Preprocessing`] says how pictures become input and travels with the weights;
//! `profile` has the ways of the libraries, `beside` what a `config.json` says that
//! lies beside the weights.
#![forbid(unsafe_code)]

mod adapt;
mod beside;
mod checksum;
pub mod classes;
pub mod container;
pub mod dialect;
pub mod error;
pub mod export;
mod import;
mod infer;
mod layout;
mod output;
mod profile;
pub mod report;
mod unwrap;

pub use checksum::sha256;
pub use dialect::{Dialect, Source};
pub use error::{Error, Result};
pub use import::{Imported, Options, import, import_archive};
pub use output::write_file;
pub use report::Report;
