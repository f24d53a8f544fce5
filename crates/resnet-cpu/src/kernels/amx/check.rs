//! Whether tiles compute what they should, asked once before they are used.
//!
//! Small whole numbers have one right answer, which is compared exactly. Numbers that look random are compared with the
//! emulation, up to what another order of the additions may change: a CPU that adds in its own order is as good.

use super::split::{BLOCK, PIECE};
use super::{Amx, Left, Unit, product};
use crate::kernels::product::{Tap, Tile};

/// Steps of a sum: more than one chain.
const STEPS: usize = 18;

/// Rows and columns of blocks: one for each number of tile registers, and one with rows and columns to spare.
const SHAPES: [(usize, usize); 5] = [(32, 32), (32, 16), (16, 32), (16, 16), (23, 19)];

/// Whether tiles agree with the emulation.
pub(super) fn passes(tiles: Amx) -> bool {
    agrees(tiles, Amx { unit: Unit::Emulation, ..tiles })
}

/// Whether one way to multiply agrees with another.
pub(super) fn agrees(tiles: Amx, emulation: Amx) -> bool {
    let whole = |i: usize| ((i * 7 + i / 5) % 15) as f32 - 7.0;
    let random = |i: usize| {
        let mixed = (i as u32).wrapping_mul(2_654_435_761);
        ((mixed ^ mixed >> 15).wrapping_mul(0x2C1B_3C6D) >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    // Numbers with three large pieces, all positive, so that a product that is left out cannot hide among roundings.
    let full = |i: usize| f32::from_bits(0x3F80_7F3F | (i as u32 * 5 % 16) << 16);
    agree(tiles, emulation, whole, 0.0)
        && agree(tiles, emulation, random, f32::EPSILON)
        && agree(tiles, emulation, full, f32::EPSILON)
}

/// Whether two ways make the same of some numbers, to within `unit` per term of the sum of magnitudes.
fn agree(tiles: Amx, emulation: Amx, number: impl Fn(usize) -> f32, unit: f32) -> bool {
    let (wanted, got) = (run(emulation, &number), run(tiles, &number));
    let (left, right) = operands(&number);
    let mut same = true;
    for (at, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
        let (i, j) = (at / BLOCK % BLOCK, at % BLOCK);
        let terms = (0..STEPS * BLOCK)
            .map(|k| (left[(k / BLOCK * BLOCK + i) * BLOCK + k % BLOCK] * right[k * BLOCK + j]).abs());
        // Every term passes fewer additions than this, on either side and in either of two products, each of
        // which rounds by half a unit.
        let allowed = unit * terms.sum::<f32>() * (6 * STEPS + BLOCK) as f32;
        same &= (wanted - got).abs() <= allowed; // and no NaN
    }
    same
}

/// Numbers of both operands, step by step: left 32 rows × 32, right 32 × 32 columns.
fn operands(number: &impl Fn(usize) -> f32) -> (Vec<f32>, Vec<f32>) {
    let len = STEPS * BLOCK * BLOCK;
    ((0..len).map(number).collect(), (len..2 * len).map(number).collect())
}

/// Twice a product, in blocks of every shape; ones where a block has no numbers.
fn run(amx: Amx, number: &impl Fn(usize) -> f32) -> Vec<f32> {
    let (left, right) = operands(number);
    let (plane, pieces) = (left.len(), amx.products.pieces());
    let mut a = vec![0; pieces * plane];
    amx.split(&left, &mut a, plane);
    let mut b = vec![0; STEPS * pieces * PIECE];
    for (values, out) in right.chunks_exact(PIECE).zip(b.chunks_exact_mut(pieces * PIECE)) {
        amx.split_pairs(values, out);
    }
    let steps: Vec<Tap> = (0..STEPS).map(|s| Tap { a: s * PIECE, b: s * pieces * PIECE }).collect();
    let mut out = vec![1.0; SHAPES.len() * BLOCK * BLOCK];
    let a = Left { data: &a, row: BLOCK, piece: plane };
    let entered = amx.enter();
    // Every shape of a block, set first, which tiles do without a detour, and then added to.
    for (at, (rows, width)) in SHAPES.into_iter().enumerate() {
        for add in [false, true] {
            let data = &mut out[at * BLOCK * BLOCK..][..BLOCK * BLOCK];
            product(&entered, a, &b, &steps, Tile { data, stride: BLOCK, rows, width }, add);
        }
    }
    out
}
