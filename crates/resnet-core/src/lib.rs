//! What to compute: the ResNet family as plain data, and the contract for whoever computes it.
#![forbid(unsafe_code)]

pub mod backend;
pub mod error;
pub mod graph;
pub mod init;
pub mod op;
pub mod params;
pub mod rng;
pub mod source;
pub mod tensor;

pub use backend::{Backend, Running};
pub use error::{Error, Result};
pub use graph::{Graph, GraphBuilder, NodeId, ParamId, ParamSpec};
pub use params::{Param, ParamKind};
pub use source::{Accumulate, GradNorm, GradOut, GradSource, GradSums, Residual, Source};
pub use tensor::{DType, HostData, HostDataMut, Role, TensorDesc};
