//! What the tests share: numbers that look random, and buffers with content.
#![allow(dead_code)] // each test file uses its part

use resnet_core::{Backend, DType, HostData, HostDataMut, TensorDesc};
use resnet_cpu::{Buffer, CpuBackend, Kernel};

/// Numbers in −1…1, the same for the same seed.
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The kernels that this machine has.
pub(crate) fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|&kernel| CpuBackend::with_kernel(Some(1), kernel).is_ok())
}

pub(crate) fn backend(threads: usize, kernel: Kernel) -> CpuBackend {
    CpuBackend::with_kernel(Some(threads), kernel).unwrap()
}

/// A buffer that holds these numbers.
pub(crate) fn with(b: &mut CpuBackend, desc: TensorDesc, data: &[f32]) -> Buffer {
    let bytes = b.buffer_bytes(&desc);
    let mut buffer = b.alloc(bytes).unwrap();
    b.upload(&desc, HostData::F32(data), &mut buffer).unwrap();
    buffer
}

/// A buffer that holds seeded numbers, which are elements of their tensor's type, and the numbers.
pub(crate) fn seeded(b: &mut CpuBackend, desc: TensorDesc, seed: u64) -> (Buffer, Vec<f32>) {
    let mut data = numbers(desc.len(), seed);
    if desc.dtype == DType::Bf16 {
        data.iter_mut().for_each(|v| *v = half::bf16::from_f32(*v).to_f32());
    }
    (with(b, desc, &data), data)
}

pub(crate) fn zeros(b: &mut CpuBackend, desc: TensorDesc) -> Buffer {
    let bytes = b.buffer_bytes(&desc);
    b.alloc(bytes).unwrap()
}

pub(crate) fn read(b: &mut CpuBackend, desc: TensorDesc, buffer: &Buffer) -> Vec<f32> {
    let mut out = vec![0.0; desc.len()];
    b.download(&desc, buffer, HostDataMut::F32(&mut out)).unwrap();
    out
}
