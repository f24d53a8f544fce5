//! What the benches share: the convolutions of a network, and buffers with numbers in them.
//!
//! - `conv2d.rs`: every distinct convolution of a network, in its three directions, as training calls them.
//! - `step.rs`: whole steps.
//! - `parity.rs`: the worst error of every op against the f64 reference.
//! - `curves/`: whole training runs laid over PyTorch's.
//! - `baseline/`: PyTorch's side of `cargo xtask bench --against torch` and of `cargo xtask curves`.
//! - `results/`: what was measured, with command and hardware.
//! - `peers/`: the same step in other frameworks in Rust, each a workspace of its own.
#![forbid(unsafe_code)]

use resnet_core::op::{Conv2d, Op};
use resnet_core::rng::{Purpose, Stream};
use resnet_core::zoo::arch;
use resnet_core::{Backend, Graph, HostData, LowerOptions, Result, TensorDesc, lower};

/// A network of the zoo for grey pictures of `size × size` in ten classes.
///
/// # Errors
/// An unknown name, or a size that leaves nothing.
pub fn network(name: &str, size: usize) -> Result<Graph> {
    arch(name)?.channels(1).size(size, size).classes(10).build()
}

/// The distinct convolutions of a network at a batch size, in the order of the network, with how often each occurs.
///
/// # Errors
/// Whatever lowering refuses.
pub fn convolutions(graph: &Graph, batch: usize) -> Result<Vec<(Conv2d, usize)>> {
    let mut distinct: Vec<(Conv2d, usize)> = Vec::new();
    for step in lower(graph, LowerOptions::train(batch), &|_| false)?.forward {
        let Op::Conv2d(op) = step.op() else { continue };
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
