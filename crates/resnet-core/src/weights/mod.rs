//! Weights as files: safetensors with torchvision's key names.
//!
//! Native files hold f32 tensors in PyTorch's layout (kernels OIHW, fully connected `[out, in]`) under the names of
//! [`ParamSpec`](crate::ParamSpec). Read in this order: `header` (what a file claims, checked before anything is allocated),
//! `reader` and `writer` (one tensor at a time), `load` (a file against a network), `meta` (the network a file is for).
//!
//! Nothing here opens a file: readers are generic over [`Read`](std::io::Read) and [`Seek`](std::io::Seek).
//!
//! ```
//! use std::io::Cursor;
//! use resnet_core::{init, weights, zoo};
//! let spec = zoo::arch("resnet20-cifar")?;
//! let graph = spec.build()?;
//! let values = init::initial_values(&graph, 1);
//! let file = weights::write_graph(vec![], &graph, &weights::describe(&spec), |id| Ok(values[id.0].as_slice().into()))?;
//!
//! let mut reader = weights::Reader::new(Cursor::new(file))?;
//! let mut read = init::initial_values(&graph, 2);
//! weights::load_values(&mut reader, &graph, weights::Strictness::Strict, &mut read)?;
//! assert_eq!(read, values);
//! # Ok::<(), resnet_core::Error>(())
//! ```

mod few;
mod header;
mod load;
mod meta;
mod reader;
mod writer;

pub use few::few;
pub use header::{Header, MAX_HEADER_BYTES, MAX_RANK, MAX_TENSORS, Metadata, TensorInfo};
pub use load::{LoadReport, Misfit, Strictness, compare, load, load_values};
pub use meta::{describe, described_spec};
pub use reader::Reader;
pub use safetensors::Dtype;
pub use writer::{Entry, Writer, write_graph};
