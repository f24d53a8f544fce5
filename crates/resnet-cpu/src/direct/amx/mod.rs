//! Convolution by tiles of AMX: the three directions with operands split into pieces of bf16.
//!
//! [`gather`] is forward and backward-data, [`weight`] is backward-weight; [`panels`] are the weights.
//! What is multiplied, and how exactly, is said in [`kernels::amx`](crate::kernels::amx).
//!
//! Operands are split where they are evaluated: input and gradient once per task, while they go to scratch, and weights once per
//! call. A split number of f32 takes 6 bytes instead of 4. Splitting them for each product instead would take more time
//! than the products.
//! All tiles are stretches of 1 or 2 KiB without gaps, since rows a power of two apart would share a few sets of the cache.

pub(crate) mod gather;
mod panels;
pub(crate) mod weight;

use crate::direct::gather::is_shallow;
use crate::direct::geometry::Geometry;
use crate::direct::groups::Groups;
use crate::kernels::amx::{Amx, BLOCK};

pub(crate) use panels::{arrange, panels_len};

/// Inputs, outputs or pictures of which at least three quarters of a block are used. With fewer, fused multiply-adds of f32
/// that waste nothing are as fast.
const ENOUGH: usize = BLOCK * 3 / 4;

/// Whether tiles compute a direction of a convolution. Emulated tiles compute all that they can, so that all of it is tested.
pub(crate) fn serves(amx: Amx, groups: &Groups, geometry: &Geometry, n: usize, width: usize) -> bool {
    let possible = groups.is_whole() && !is_shallow(groups, geometry.window);
    // With few pictures, the pixels of a row make the rows of a tile.
    let rows = if n >= ENOUGH || geometry.step.is_none() { n } else { n * geometry.out.1 };
    possible && (amx.is_emulated() || groups.row >= ENOUGH && width >= ENOUGH && rows >= ENOUGH)
}

/// As [`serves`], for backward-weight, which sums over pictures.
pub(crate) fn serves_weight(amx: Amx, groups: &Groups, geometry: &Geometry, n: usize, width: usize) -> bool {
    serves(amx, groups, geometry, n, width) && (amx.is_emulated() || n >= ENOUGH)
}
