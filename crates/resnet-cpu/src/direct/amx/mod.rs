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
use crate::kernels::amx::{Amx, BLOCK, TERMS, USES};

pub(crate) use panels::{arrange, panels_len};

/// Inputs, outputs or pictures of which at least three quarters of a block are used. With fewer, fused multiply-adds of f32
/// that waste nothing are as fast.
const ENOUGH: usize = BLOCK * 3 / 4;

/// A direction of a convolution as a product of matrices.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Whether tiles can compute it at all.
    possible: bool,
    rows: usize,
    width: usize,
    /// Numbers that make one step of the sum, and terms of the whole sum.
    depth: usize,
    terms: usize,
    /// Products that a number takes part in for each time that one is split.
    uses: usize,
}

impl Shape {
    /// Of forward or backward-data.
    fn new(groups: &Groups, geometry: &Geometry, n: usize, width: usize) -> Self {
        let pixels = geometry.out.0 * geometry.out.1;
        Self {
            possible: possible(groups, geometry),
            // With few pictures, the pixels of a row make the rows of a tile.
            rows: if n >= ENOUGH || geometry.step.is_none() { n } else { n * geometry.out.1 },
            width,
            depth: groups.row,
            terms: geometry.products() * groups.row / pixels.max(1),
            uses: geometry.products() * width / geometry.in_pixels().max(1),
        }
    }

    /// Of backward-weight, which sums over pictures and pixels, and splits input and gradient.
    fn of_weight(groups: &Groups, geometry: &Geometry, n: usize, width: usize) -> Self {
        let (inputs, outputs) = (geometry.in_pixels() * groups.row, geometry.out.0 * geometry.out.1 * width);
        Self {
            possible: possible(groups, geometry),
            rows: groups.row,
            width,
            depth: n,
            terms: geometry.products() * n / (geometry.window.0 * geometry.window.1),
            uses: geometry.products() * groups.row * width / (inputs + outputs).max(1),
        }
    }

    /// Whether tiles compute it. Emulated tiles compute all that they can, so that all of it is tested.
    fn is_served(&self, amx: Amx) -> bool {
        self.possible && (amx.is_emulated() || self.is_filled() && (!amx.is_chosen() || self.pays()))
    }

    fn is_filled(&self) -> bool {
        [self.rows, self.width, self.depth].into_iter().all(|extent| extent >= ENOUGH)
    }

    /// Whether what was measured speaks for it: tiles were timed at as few uses and terms, in blocks without gaps.
    fn pays(&self) -> bool {
        let waste = |extent: usize, block: usize| extent.next_multiple_of(block) as f64 / extent as f64;
        let waste = waste(self.rows, BLOCK) * waste(self.width, BLOCK / 2) * waste(self.depth, BLOCK);
        self.uses >= USES && self.terms >= TERMS && waste <= 1.1
    }
}

fn possible(groups: &Groups, geometry: &Geometry) -> bool {
    groups.is_whole() && !is_shallow(groups, geometry.window)
}

/// Whether tiles compute forward or backward-data.
pub(crate) fn serves(amx: Amx, groups: &Groups, geometry: &Geometry, n: usize, width: usize) -> bool {
    Shape::new(groups, geometry, n, width).is_served(amx)
}

/// As [`serves`], for backward-weight.
pub(crate) fn serves_weight(amx: Amx, groups: &Groups, geometry: &Geometry, n: usize, width: usize) -> bool {
    Shape::of_weight(groups, geometry, n, width).is_served(amx)
}

#[cfg(test)]
mod tests {
    use resnet_core::DType;
    use resnet_core::op::{Conv2d, Padding};

    use super::*;

    /// Whether the program gives forward, backward-data and backward-weight to tiles unasked.
    fn given(n: usize, (extent, c, k): (usize, usize, usize), (r, stride): (usize, usize)) -> [bool; 3] {
        let pad = Padding::all(r / 2);
        let op = Conv2d::new((n, extent, extent, c), k, (r, r), stride, pad, 1, DType::F32).unwrap();
        let (forward, backward) = (Geometry::forward(&op), Geometry::backward(&op));
        let (reads, writes) = (Groups::forward(&op), Groups::backward(&op));
        let shapes = [
            Shape::new(&reads, &forward, n, k),
            Shape::new(&writes, &backward, n, c),
            Shape::of_weight(&reads, &forward, n, k),
        ];
        shapes.map(|shape| shape.possible && shape.is_filled() && shape.pays())
    }

    /// Layers of ResNet-50.
    #[test]
    fn tiles_are_given_what_pays_for_splitting() {
        assert_eq!(given(32, (14, 256, 1024), (1, 1)), [true, true, false], "weights: 205 uses");
        assert_eq!(given(32, (7, 512, 2048), (1, 1)), [true; 3]);
        assert_eq!(given(32, (56, 64, 64), (1, 1)), [false; 3], "64 uses");
        assert_eq!(given(32, (56, 64, 256), (1, 1)), [false; 3], "64 terms; 64 uses");
        assert_eq!(given(32, (56, 256, 512), (1, 2)), [false, true, false], "a pixel in four is read");
        assert_eq!(given(32, (28, 256, 256), (3, 2)), [true; 3]);
        assert_eq!(given(32, (224, 3, 64), (7, 2)), [false; 3], "three channels");
        assert_eq!(given(20, (7, 512, 2048), (1, 1)), [false; 3], "140 rows in five blocks of 32");
        assert_eq!(given(1, (7, 512, 2048), (1, 1)), [false; 3], "seven rows");
    }
}
