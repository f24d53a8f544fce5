//! The CPU backend: the ops of [`resnet_core`] on the cores of one machine, with activations in f32 or bf16 and sums in f32.
//!
//! It has two ways to convolve: micro-kernels of its own, whose sums stay in registers (`direct`), and im2col with
//! `matrixmultiply` (`conv`), which every CPU can run and which the first is compared with. [`Kernel`] chooses.
//! Everything else is passes that the compiler vectorises, on threads that live as long as the backend.
//!
//! Two decisions shape it.
//! Activations lie pixel-major (`h × w × n × c`, see [`Buffer`]), which turns a convolution into plain matrix products.
//! And every op is cut into tiles by the problem, never by the threads: a tile is evaluated, multiplied and finished (bias,
//! sums, mask) while it is in cache, and what tiles leave behind is merged in their order.
//!
//! # Modules, in reading order
//! - `backend`: [`CpuBackend`], the trait's methods.
//! - `memory`, `buffer`, `element`, `transfer`: memory, what lies in it, and the way in and out.
//! - `crew`, `threads`, `engine`, `prepare`: who runs a tile, with which scratch.
//! - `window`, `load`, `patch`, `epilogue`, `finish`, `stats`: where a tile reads, what it reads, how it ends, how tiles are merged.
//! - `direct`: convolution by micro-kernels. `winograd`: 3 × 3 kernels with fewer multiplications.
//!   `conv`: the three ops, and im2col.
//! - `combine`, `max_pool`, `avg_pool`, `pools`, `norm`, `loss`, `ingest`, `update`: the ops, forward and backward side by side.
//! - `peak`: what the machine can do at most, to compare with.
//! - `kernels`: the inner loops and the matrix products. Unsafe code is there, in `direct::blocks`, which cuts a tensor for
//!   its tasks, and in `crew`, which lends them to other threads.
#![deny(unsafe_code)]

mod avg_pool;
mod backend;
mod buffer;
mod choice;
mod combine;
mod conv;
#[allow(unsafe_code)]
mod crew;
mod direct;
mod element;
mod engine;
mod epilogue;
mod finish;
mod ingest;
#[allow(unsafe_code)]
mod kernels;
mod load;
mod loss;
mod max_pool;
mod memory;
mod norm;
mod patch;
mod peak;
mod pools;
mod prepare;
mod stats;
mod threads;
mod transfer;
mod update;
mod window;
mod winograd;

pub use backend::CpuBackend;
pub use buffer::Buffer;
pub use choice::{KERNEL_VARIABLE, Kernel};
pub use peak::Peak;

/// The name of the backend, also in errors.
const NAME: &str = "cpu";
