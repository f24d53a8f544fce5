//! The ResNet family: one [`ResNetSpec`] that is plain data, and names for the well-known points of its space.
//!
//! Read in this order: `axes` and `spec` (what can differ), `build` (stem, stages, head), `basic` and `bottleneck` (the
//! blocks as the papers draw them), `shortcut`, `stem`, then `names` and `presets` (which name means which spec).
//!
//! ```
//! use resnet_core::zoo::{self, Variant};
//! let spec = zoo::arch("resnet50")?.variant(Variant::V2).channels(1).classes(10).size(96, 96);
//! let graph = spec.build()?;
//! assert_eq!(graph.classes(), 10);
//! # Ok::<(), resnet_core::Error>(())
//! ```

mod axes;
mod basic;
mod bottleneck;
mod build;
mod names;
mod presets;
mod shortcut;
mod spec;
mod stem;

pub use axes::{Block, Conventions, InitScheme, PaddingStyle, Shortcut, Stem, Variant, Width};
pub use names::{arch, names};
pub use spec::{MAX_BLOCKS, MAX_EXTENT, ResNetSpec};
