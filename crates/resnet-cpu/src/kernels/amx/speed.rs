//! Whether tiles are faster than AVX-512, measured once per process before the program takes them unasked.
//!
//! By the clock of the instructions they are: `tdpbf16ps` makes 8,192 products in 16 cycles, so six products for one are 85 of
//! f32 a cycle, where two units of fused multiply-adds make 32; and one product for one is 512, where `vdpbf16ps` makes 64.
//! (Intel, *64 and IA-32 Architectures Optimization Reference Manual*, chapter on AMX.)
//! A virtual machine, a system that emulates them or a processor of another make may differ, so the smallest piece of work
//! that is given to them is timed both ways: [`USES`] outputs and [`TERMS`] terms of a sum, everything in cache.
//! Tiles have to split the left operand, as their drivers do; AVX-512 does not, and is given its best case: whole tiles.
//!
//! The least of several turns counts, so that another process does not decide, and what is demanded is far from what is
//! expected, so that the answer does not change from one start to the next.

use std::hint::black_box;
use std::time::{Duration, Instant};

use half::bf16;

use super::split::{BLOCK, PIECE};
use super::{Amx, Left, Products, product};
use crate::kernels::Isa;
use crate::kernels::product::{Left as Plain, Operand, ROWS, Tap, Tile, WIDTH};

/// Products that every number of an operand takes part in after it was split.
pub(crate) const USES: usize = 256;

/// Terms of a sum.
pub(crate) const TERMS: usize = 128;

/// Rows of the result: two blocks.
const HEIGHT: usize = 2 * BLOCK;

/// Turns of both ways; about a millisecond in all.
const TURNS: usize = 9;

/// Whether tiles are so much faster at the smallest piece of work that they are at all others.
pub(super) fn pays(tiles: Amx) -> bool {
    let mut least = [Duration::MAX; 2];
    let mut work = Work::new(tiles);
    for _ in 0..TURNS {
        least[0] = least[0].min(time(|| work.by_tiles()));
        least[1] = least[1].min(time(|| work.plainly()));
    }
    faster(tiles.products, least[0], least[1])
}

/// Whether a time of tiles is enough below the other.
fn faster(products: Products, tiles: Duration, plain: Duration) -> bool {
    match products {
        // Expected are 60 to 70 %. A tenth more work than there is may be done where blocks are not full.
        Products::Six => tiles * 10 <= plain * 9,
        // Expected are 40 %.
        Products::Three => tiles * 10 <= plain * 7,
        // Expected are 20 to 30 %. Winograd's algorithm, which is left out for them, halves the other time at best.
        Products::One => tiles * 20 <= plain * 9,
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Operands of both ways, and their result.
struct Work {
    tiles: Amx,
    values: Vec<f32>,
    left: Vec<u16>,
    /// Arranged once, as weights are.
    right: Vec<u16>,
    plain: Vec<f32>,
    narrow: [Vec<bf16>; 2],
    out: Vec<f32>,
}

impl Work {
    fn new(tiles: Amx) -> Self {
        let pieces = tiles.products.pieces();
        let number = |i: usize| (1 + i * i % 97) as f32 / 97.0;
        let values: Vec<f32> = (0..HEIGHT * TERMS).map(number).collect();
        let plain: Vec<f32> = (0..USES * TERMS).map(number).collect();
        let mut right = vec![0; pieces * plain.len()];
        for (values, out) in plain.chunks_exact(PIECE).zip(right.chunks_exact_mut(pieces * PIECE)) {
            tiles.split_pairs(values, out);
        }
        // With one piece, a right operand of tiles is one of `vdpbf16ps` too.
        let narrow = [
            values.iter().map(|&v| bf16::from_f32(v)).collect(),
            right.iter().map(|&v| bf16::from_bits(v)).collect(),
        ];
        let out = vec![0.0; HEIGHT * USES];
        Self { tiles, left: vec![0; pieces * values.len()], values, right, plain, narrow, out }
    }

    fn by_tiles(&mut self) {
        let (pieces, plane) = (self.tiles.products.pieces(), self.values.len());
        self.tiles.split(black_box(&self.values), &mut self.left, plane);
        let entered = self.tiles.enter();
        let panel = TERMS / BLOCK * pieces * PIECE;
        let steps: [Tap; TERMS / BLOCK] =
            std::array::from_fn(|s| Tap { a: s * BLOCK, b: s * pieces * PIECE });
        for (at, b) in self.right.chunks_exact(panel).enumerate() {
            for row in (0..HEIGHT).step_by(BLOCK) {
                let a = Left { data: &self.left[row * TERMS..], row: TERMS, piece: plane };
                let data = &mut self.out[row * USES + at * WIDTH..];
                product(
                    &entered,
                    a,
                    b,
                    &steps,
                    Tile { data, stride: USES, rows: BLOCK, width: WIDTH },
                    false,
                );
            }
        }
        black_box(&self.out);
    }

    fn plainly(&mut self) {
        let isa = self.tiles.isa;
        if self.tiles.products == Products::One && isa.has_bf16() {
            let [left, right] = &self.narrow;
            multiply(isa, black_box(left), right, &mut self.out);
        } else {
            multiply(isa, black_box(&self.values), &self.plain, &mut self.out);
        }
        black_box(&self.out);
    }
}

/// The same product by the micro-kernel for AVX-512.
fn multiply<O: Operand>(isa: Isa, left: &[O], right: &[O], out: &mut [f32]) {
    for (at, b) in right.chunks_exact(TERMS * WIDTH).enumerate() {
        for row in (0..HEIGHT).step_by(ROWS) {
            let a = Plain { data: &left[row * TERMS..], row: TERMS, step: O::STEP };
            let tile =
                Tile { data: &mut out[row * USES + at * WIDTH..], stride: USES, rows: ROWS, width: WIDTH };
            O::product(isa, a, b, &[Tap { a: 0, b: 0 }], TERMS / O::STEP, tile, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    /// Both ways are the same work: all numbers are positive, so an operand in the wrong place would show.
    #[test]
    fn both_ways_compute_the_same() {
        for products in [Products::One, Products::Three, Products::Six] {
            let mut work = Work::new(Amx::emulated(products, Role::Chosen));
            work.by_tiles();
            let tiles = std::mem::replace(&mut work.out, vec![0.0; HEIGHT * USES]);
            work.plainly();
            for (a, b) in tiles.iter().zip(&work.out) {
                // Of factors that are rounded to bf16 on one side at most.
                assert!((a - b).abs() <= 0.01 * b.abs(), "{products:?}: {a} against {b}");
            }
        }
    }

    #[test]
    fn what_is_slow_is_refused() {
        // An emulation is far slower than what it emulates.
        assert!(!pays(Amx::emulated(Products::Six, Role::Asked)));
        let ms = Duration::from_millis;
        assert!(faster(Products::Six, ms(90), ms(100)) && !faster(Products::Six, ms(91), ms(100)));
        assert!(faster(Products::One, ms(45), ms(100)) && !faster(Products::One, ms(46), ms(100)));
    }
}
