//! Weights out: files that other libraries load.
//!
//! - [`library`]: safetensors with the names of torchvision or timm, for `load_state_dict(strict=True)`.
//! - [`onnx`]: a graph that any ONNX runtime computes.

pub mod library;
pub mod onnx;
mod protobuf;

pub use library::{Library, write_library};
pub use onnx::{OnnxOptions, write_onnx};
