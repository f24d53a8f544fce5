//! What an op has to read and write at least: every tensor that it names, once.
//!
//! Tables of channels are left out; they stay in the innermost cache.

use resnet_core::{Accumulate, Backend, GradOut, GradSource, Param, Source, TensorDesc};

/// Arithmetic and traffic of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Floating-point operations of convolutions: two per multiply-accumulate of the definition, padded taps counted,
    /// whatever algorithm computes them.
    pub flops: u64,
    /// Bytes of the tensors read and written, each counted once.
    pub bytes: u64,
}

impl Work {
    /// Nothing but traffic.
    pub(super) fn bytes(bytes: usize) -> Self {
        Self { flops: 0, bytes: bytes as u64 }
    }
}

/// Bytes of tensors.
pub(super) fn tensors<B: Backend>(b: &B, descs: &[TensorDesc]) -> usize {
    descs.iter().map(|desc| b.buffer_bytes(desc)).sum()
}

/// Bytes of a source that holds `desc`.
pub(super) fn source<B: Backend>(b: &B, source: &Source<'_, B::Buffer>, desc: &TensorDesc) -> usize {
    (1 + usize::from(source.residual.is_some())) * b.buffer_bytes(desc)
}

/// Bytes of a gradient that holds `desc`.
pub(super) fn gradient<B: Backend>(b: &B, dy: &GradSource<'_, B::Buffer>, desc: &TensorDesc) -> usize {
    (1 + usize::from(dy.norm.is_some())) * b.buffer_bytes(desc)
}

/// Bytes of what is written to and read by an output of `desc`. A tensor that serves as a mask and for sums is read once.
pub(super) fn output<B: Backend>(b: &B, dx: &GradOut<'_, B::Buffer>, desc: &TensorDesc) -> usize {
    let mut read: Vec<*const B::Buffer> = Vec::new();
    read.extend(dx.add.map(std::ptr::from_ref));
    if let Some(mask) = &dx.mask {
        read.push(mask.raw);
        read.extend(mask.residual.as_ref().map(|r| std::ptr::from_ref(r.raw)));
    }
    read.extend(dx.sums.iter().flatten().map(|sums| std::ptr::from_ref(sums.y)));
    read.sort();
    read.dedup();
    let own = 1 + usize::from(dx.accumulate == Accumulate::Add);
    (own + read.len()) * b.buffer_bytes(desc)
}

/// Bytes of an update: gradients are read, values and states are read and written.
pub(super) fn parameters<B: Backend>(b: &B, params: &[Param<B::Buffer>]) -> usize {
    let of = |p: &Param<B::Buffer>| match p.grad {
        None => 0,
        Some(_) => (3 + 2 * p.states.iter().flatten().count()) * b.buffer_bytes(&p.desc),
    };
    params.iter().map(of).sum()
}
