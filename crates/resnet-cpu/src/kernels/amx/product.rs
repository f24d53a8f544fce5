//! A block of up to 32 × 32 results, by tiles or by their emulation.

use super::emulate::{self, Block};
use super::split::{BLOCK, PIECE};
use super::{Amx, CHUNK, Entered, Unit};
use crate::kernels::product::{Tap, Tile};

/// Steps of one chain.
const STEPS: usize = CHUNK / BLOCK;

/// Rows and columns of one tile register.
const HALF: usize = BLOCK / 2;

/// The left operand: rows of 32 bf16, `row` numbers apart; of each piece a matrix, `piece` numbers apart.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) data: &'a [u16],
    pub(crate) row: usize,
    pub(crate) piece: usize,
}

/// Sets a block of the result to the sum over `steps`, or adds it.
///
/// A step begins at `a` in the left operand and at `b` in the right one, where the pieces of 32 × 32 numbers follow each other as
/// [`split_pairs`](super::split::split_pairs) writes them. The left operand must have whole tiles of 16 rows: what the rows
/// beyond the result hold does not matter.
///
/// # Panics
/// If the block is larger than 32 × 32 or an operand ends before a step does.
pub(crate) fn product(entered: &Entered, a: Left<'_>, b: &[u16], steps: &[Tap], out: Tile<'_>, add: bool) {
    let amx = entered.amx;
    let Tile { data, stride, rows, width } = out;
    assert!((1..=BLOCK).contains(&rows) && (1..=BLOCK).contains(&width), "{rows} × {width}");
    assert!((rows - 1) * stride + width <= data.len(), "the result is shorter than its block");
    let (m, n) = (rows.div_ceil(HALF), width.div_ceil(HALF));
    let pieces = amx.products.pieces();
    let a_span = (pieces - 1) * a.piece + (m * HALF - 1) * a.row + BLOCK;
    let fits = |step: &Tap| step.a + a_span <= a.data.len() && step.b + pieces * PIECE <= b.len();
    assert!(steps.iter().all(fits), "an operand ends before the sum does");

    let mut block: Block = [0.0; BLOCK * BLOCK];
    let mut add = add;
    for chain in steps.chunks(STEPS) {
        // A whole block that is only written needs no detour.
        if !add && amx.unit == Unit::Tiles && (rows, width) == (m * HALF, n * HALF) {
            by_tiles(amx, a, b, chain, (m, n), data, stride);
            add = true;
            continue;
        }
        match amx.unit {
            Unit::Tiles => by_tiles(amx, a, b, chain, (m, n), &mut block, BLOCK),
            Unit::Emulation => emulate::product(amx.isa, amx.products, a, b, chain, m * HALF, &mut block),
        }
        for (out, sum) in data.chunks_mut(stride).zip(block.chunks_exact(BLOCK)).take(rows) {
            let (out, sum) = (&mut out[..width], &sum[..width]);
            if add {
                out.iter_mut().zip(sum).for_each(|(out, sum)| *out += sum);
            } else {
                out.copy_from_slice(sum);
            }
        }
        add = true;
    }
}

/// One chain. The caller has checked that every step fits its operands, and that the result does.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn by_tiles(
    amx: Amx,
    a: Left<'_>,
    b: &[u16],
    chain: &[Tap],
    (m, n): (usize, usize),
    out: &mut [f32],
    stride: usize,
) {
    use super::tile::{self, Step, Strides};

    debug_assert!(amx.unit == Unit::Tiles && (m * HALF - 1) * stride + n * HALF <= out.len());
    let mut steps = [Step { a: std::ptr::null(), b: std::ptr::null() }; STEPS];
    for (step, tap) in steps.iter_mut().zip(chain) {
        *step = Step { a: a.data[tap.a..].as_ptr(), b: b[tap.b..].as_ptr() };
    }
    let steps = &steps[..chain.len()];
    let strides = Strides { a_row: 2 * a.row, a_piece: 2 * a.piece, c_row: 4 * stride };
    // SAFETY: `Unit::Tiles` exists only where AMX was found and permitted, and the caller holds an `Entered`, which has
    // configured this thread's tiles. `chunks` makes no empty chain. `product` has asserted that from each step on the operands
    // hold all pieces and rows that the instructions read, and that the result holds its rows; `out` is borrowed exclusively.
    unsafe { tile::product(amx.products.count(), (m, n), steps, out.as_mut_ptr(), &strides) }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn by_tiles(_: Amx, _: Left<'_>, _: &[u16], _: &[Tap], _: (usize, usize), out: &mut [f32], _: usize) {
    // Tiles are never found here; a NaN would tell.
    out.fill(f32::NAN);
}
