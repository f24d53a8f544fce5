//! What to compute: the ResNet family as plain data, and the contract for whoever computes it.
#![forbid(unsafe_code)]

pub mod backend;
pub mod error;
pub mod executor;
pub mod graph;
pub mod init;
pub mod lower;
pub mod op;
pub mod params;
pub mod plan;
pub mod preprocessing;
pub mod rng;
pub mod source;
pub mod tensor;
pub mod training;
pub mod weights;
pub mod zoo;

pub use backend::{Arithmetic, Backend, RecordingKey, Running};
pub use error::{Error, Result};
pub use executor::{Executor, Pictures};
pub use graph::{Graph, GraphBuilder, NodeId, ParamId, ParamSpec};
pub use lower::{Freeze, FrozenNorms, Fusion, LowerOptions, Mode, Program, lower};
pub use params::{Param, ParamKind, Params, Part};
pub use plan::Plan;
pub use preprocessing::Preprocessing;
pub use source::{Accumulate, Finish, GradNorm, GradOut, GradSource, GradSums, Residual, Source};
pub use tensor::{DType, HostData, HostDataMut, Role, TensorDesc};
pub use training::{Pass, TrainingStep};
