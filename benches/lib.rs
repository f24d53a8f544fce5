//! What the benches share: the convolutions of a network, and buffers with numbers in them.
//!
//! - `conv2d.rs`: every distinct convolution of a network, in its three directions, as training calls them (`layer.rs`).
//! - `layers.rs`: the same convolutions by processor time, which other programs on the machine do not lengthen; also in bf16.
//! - `roofline/`: where the time of a step goes, and how far that is from what the machine can do.
//! - `step.rs`: whole steps.
//! - `parity.rs`: the worst error of every op against the f64 reference.
//! - `curves/`: whole training runs laid over PyTorch's.
//! - `baseline/`: PyTorch's side of `cargo xtask bench --against torch` and of `cargo xtask curves`.
//! - `pictures.rs`: files to read for `cargo xtask bench --loading`.
//! - `tests/plan.rs`: how much memory the standard cases may be planned to take.
//! - `results/`: what was measured, with command and hardware.
//! - `peers/`: the same step in other frameworks in Rust, each a workspace of its own.
#![forbid(unsafe_code)]

pub mod layer;

use resnet_core::op::{Conv2d, Op};
use resnet_core::rng::{Purpose, Stream};
use resnet_core::zoo::arch;
use resnet_core::{Backend, DType, Graph, HostData, LowerOptions, Result, TensorDesc, lower};

/// A network of the zoo for grey pictures of `size × size` in ten classes.
///
/// # Errors
/// An unknown name, or a size that leaves nothing.
pub fn network(name: &str, size: usize) -> Result<Graph> {
    arch(name)?.channels(1).size(size, size).classes(10).build()
}

/// A step that is looked at closely.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The network, by its name in the zoo.
    pub arch: &'static str,
    /// Channels of a picture.
    pub channels: usize,
    /// Its rows and columns.
    pub size: usize,
    /// Classes.
    pub classes: usize,
    /// Pictures.
    pub batch: usize,
    /// Training, or inference.
    pub trains: bool,
}

/// The cases of the table beside PyTorch: `cargo xtask bench --against torch --standard`.
pub const CASES: [Case; 6] = [
    Case { arch: "resnet18", channels: 1, size: 28, classes: 10, batch: 256, trains: true },
    Case { arch: "resnet18", channels: 1, size: 96, classes: 10, batch: 256, trains: true },
    Case { arch: "resnet50", channels: 3, size: 224, classes: 1000, batch: 16, trains: true },
    Case { arch: "resnet20-cifar", channels: 3, size: 32, classes: 10, batch: 128, trains: true },
    Case { arch: "resnet50", channels: 3, size: 224, classes: 1000, batch: 1, trains: false },
    Case { arch: "resnet50", channels: 3, size: 224, classes: 1000, batch: 32, trains: false },
];

impl Case {
    /// Its network.
    ///
    /// # Errors
    /// An unknown name, or a size that leaves nothing.
    pub fn network(&self) -> Result<Graph> {
        arch(self.arch)?.channels(self.channels).size(self.size, self.size).classes(self.classes).build()
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { arch, channels, size, batch, .. } = self;
        let what = if self.trains { "training" } else { "inference" };
        write!(f, "{arch}, {channels}×{size}×{size}, batch {batch}, {what}")
    }
}

/// The distinct convolutions of a network at a batch size and with activations of a type, in the order of the network, with how often each occurs.
///
/// # Errors
/// Whatever lowering refuses.
pub fn convolutions(graph: &Graph, batch: usize, dtype: DType) -> Result<Vec<(Conv2d, usize)>> {
    let mut distinct: Vec<(Conv2d, usize)> = Vec::new();
    let options = LowerOptions { dtype, ..LowerOptions::train(batch) };
    for step in lower(graph, options, &|_| false)?.forward {
        let [Op::Conv2d(op)] = step.ops()[..] else { continue };
        match distinct.iter_mut().find(|(known, _)| *known == op) {
            Some((_, times)) => *times += 1,
            None => distinct.push((op, 1)),
        }
    }
    Ok(distinct)
}

/// A short name: kernel, stride, channels in and out, input rows and columns.
pub fn label(op: &Conv2d) -> String {
    format!("{}x{}s{} {}-{} {}x{}", op.r(), op.s(), op.stride(), op.c(), op.k(), op.h(), op.w())
}

/// A buffer of normally distributed numbers. The same call gives the same numbers.
///
/// # Errors
/// The backend has no memory, or refuses the data.
pub fn random<B: Backend>(backend: &mut B, desc: &TensorDesc, scale: f32) -> Result<B::Buffer> {
    let mut stream = Stream::new(0, Purpose::Synthetic, 0, desc.len() as u64);
    let values: Vec<f32> = (0..desc.len()).map(|_| scale * stream.normal() as f32).collect();
    let mut buffer = empty(backend, desc)?;
    backend.upload(desc, HostData::F32(&values), &mut buffer)?;
    Ok(buffer)
}

/// A buffer of zeros.
///
/// # Errors
/// The backend has no memory.
pub fn empty<B: Backend>(backend: &mut B, desc: &TensorDesc) -> Result<B::Buffer> {
    let bytes = backend.buffer_bytes(desc);
    backend.alloc(bytes)
}
