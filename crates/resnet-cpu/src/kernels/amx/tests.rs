//! The arithmetic against f64 and against fused multiply-adds of f32, and tiles against their emulation.

use super::emulate::{Block, product as emulated};
use super::*;
use crate::kernels::product::{Left as Plain, Tap, Tile, product as plain};

/// Numbers of the normal distribution, by the sum of twelve uniform ones.
fn normal(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    std::iter::repeat_with(|| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).take(len).collect()
}

/// A product of 32 rows of `a` (row-major) and 32 columns of `b`, over `k` terms, a multiple of 32.
fn multiply(amx: Amx, a: &[f32], b: &[f32], k: usize) -> Vec<f32> {
    let (pieces, plane) = (amx.products.pieces(), a.len());
    let mut left = vec![0; pieces * plane];
    amx.split(a, &mut left, plane);
    let mut right = vec![0; k / BLOCK * pieces * PIECE];
    for (values, out) in b.chunks_exact(PIECE).zip(right.chunks_exact_mut(pieces * PIECE)) {
        amx.split_pairs(values, out);
    }
    let steps: Vec<Tap> = (0..k / BLOCK).map(|s| Tap { a: s * BLOCK, b: s * pieces * PIECE }).collect();
    let mut out = vec![f32::NAN; BLOCK * BLOCK];
    let left = Left { data: &left, row: k, piece: plane };
    let tile = Tile { data: &mut out, stride: BLOCK, rows: BLOCK, width: BLOCK };
    product(&amx.enter(), left, &right, &steps, tile, false);
    out
}

fn multiply_plainly(a: &[f32], b: &[f32], k: usize) -> Vec<f32> {
    let mut out = vec![0.0; BLOCK * BLOCK];
    for (i, out) in out.chunks_exact_mut(8 * BLOCK).enumerate() {
        let a = Plain { data: &a[i * 8 * k..], row: k, step: 1 };
        let tile = Tile { data: out, stride: BLOCK, rows: 8, width: BLOCK };
        plain(Isa::detect(), a, b, &[Tap { a: 0, b: 0 }], k, tile, false);
    }
    out
}

/// Error relative to f64, in the root mean square, and the largest one relative to the sum of magnitudes of its terms.
fn errors(got: &[f32], a: &[f32], b: &[f32], k: usize) -> (f64, f64) {
    let (mut error, mut all, mut worst) = (0.0, 0.0, 0.0f64);
    for (at, got) in got.iter().enumerate() {
        let terms = (0..k).map(|t| f64::from(a[at / BLOCK * k + t]) * f64::from(b[t * BLOCK + at % BLOCK]));
        let (sum, size) = terms.fold((0.0, 0.0), |(s, m), t| (s + t, m + t.abs()));
        let off = f64::from(*got) - sum;
        error += off * off;
        all += sum * sum;
        worst = worst.max(off.abs() / size);
    }
    ((error / all).sqrt(), worst)
}

#[test]
fn six_products_are_as_good_as_f32() {
    for (k, relu) in [(32, false), (576, false), (576, true), (4608, false), (4608, true)] {
        let (mut a, b) = (normal(BLOCK * k, 3 + k as u64), normal(BLOCK * k, 5 + k as u64));
        if relu {
            a.iter_mut().for_each(|a| *a = a.max(0.0));
        }
        let f32s = errors(&multiply_plainly(&a, &b, k), &a, &b, k);
        let of = |products| errors(&multiply(Amx::emulated(products, Role::Asked), &a, &b, k), &a, &b, k);
        let (six, three, one) = (of(Products::Six), of(Products::Three), of(Products::One));
        let [f32s_, six_, three_, one_] = [f32s, six, three, one].map(|e| format!("{:.1e} {:.1e}", e.0, e.1));
        println!("k {k:4}, relu {relu}: f32 {f32s_}, six {six_}, three {three_}, one {one_}");
        // Sums of one step round as often as f32's, in another order.
        assert!(six.0 <= 1.5 * f32s.0 && six.1 <= 2.0 * f32s.1, "{k}: {six:?} against {f32s:?}");
        // What two pieces leave out is at most 3 · 2⁻¹⁶ of a term, and of one piece 2⁻⁷.
        assert!(three.1 <= 3.0 * 2f64.powi(-16) && three.0 <= 1e-5, "{k}: {three:?}");
        assert!(one.1 <= 2f64.powi(-7) && one.0 <= 4e-3, "{k}: {one:?}");
    }
}

/// Terms that nearly cancel, of all sizes.
#[test]
fn six_products_lose_no_more_than_their_bound() {
    let k = 1024;
    let (mut a, mut b) = (normal(BLOCK * k, 11), normal(BLOCK * k, 13));
    for (i, a) in a.iter_mut().enumerate() {
        *a *= 2f32.powi((i * 7 % 61) as i32 - 30);
    }
    for t in (0..k).step_by(2) {
        for row in 0..BLOCK {
            a[row * k + t + 1] = -a[row * k + t] * (1.0 + f32::EPSILON * row as f32);
        }
        for j in 0..BLOCK {
            b[(t + 1) * BLOCK + j] = b[t * BLOCK + j];
        }
    }
    let six = errors(&multiply(Amx::emulated(Products::Six, Role::Asked), &a, &b, k), &a, &b, k).1;
    // 16 + 1 additions along a step, 6 per step of a chain of 16, one between the chains, and what is left out.
    let bound = 1.02 * (17.0 + 96.0 + 1.0) * 2f64.powi(-24) + 2.02 * 2f64.powi(-24);
    assert!(six <= bound, "{six:e} against {bound:e}");
}

/// Row 0 of `a` times column 0 of `b`, both otherwise zero. Where there are tiles, they must agree.
fn dot(products: Products, terms: &[(f32, f32)]) -> f32 {
    let (mut a, mut b) = (vec![0.0; BLOCK * BLOCK], vec![0.0; BLOCK * BLOCK]);
    for (t, (left, right)) in terms.iter().enumerate() {
        (a[t], b[t * BLOCK]) = (*left, *right);
    }
    let all = multiply(Amx::emulated(products, Role::Asked), &a, &b, BLOCK);
    if let Found::Tiles(tiles) = Amx::find(products) {
        assert_eq!(bits(&multiply(tiles, &a, &b, BLOCK)), bits(&all), "{products:?}, {terms:?}");
    }
    all[0]
}

#[test]
fn numbers_that_are_not_ordinary() {
    let six = |terms: &[(f32, f32)]| dot(Products::Six, terms);
    // Whole numbers below 2⁸ are exact, and so are products that f32 holds.
    assert_eq!(six(&[(3.0, 5.0), (-7.0, 11.0)]), -62.0);
    assert_eq!(six(&[(16_777_213.0, 1.0)]), 16_777_213.0);
    assert_eq!(six(&[(f32::MAX, 1.0)]), f32::MAX);
    assert_eq!(six(&[(f32::MAX, 0.5), (f32::MAX, 0.25)]), f32::MAX * 0.75);
    // Subnormal numbers are zero, as operands and as results.
    assert_eq!(six(&[(f32::MIN_POSITIVE / 2.0, 2f32.powi(100))]), 0.0);
    assert_eq!(six(&[(2f32.powi(-70), 2f32.powi(-70))]), 0.0);
    assert_eq!(six(&[(f32::MIN_POSITIVE, 1.0)]), f32::MIN_POSITIVE);
    // Infinities and NaN stay visible.
    for (x, y) in [(f32::INFINITY, 1.0), (f32::INFINITY, 1.234_567_8), (1.0, f32::NEG_INFINITY)] {
        assert!(!six(&[(x, y), (1.0, 1.0)]).is_finite());
    }
    for (x, y) in [(f32::NAN, 1.0), (0.0, f32::NAN), (f32::from_bits(0x7F80_0001), 1.0), (f32::INFINITY, 0.0)]
    {
        assert!(six(&[(x, y), (1.0, 1.0)]).is_nan());
    }
    // bf16 has one piece, and rounds to infinity as bf16 does.
    assert_eq!(dot(Products::One, &[(f32::INFINITY, 2.0)]), f32::INFINITY);
    assert_eq!(dot(Products::One, &[(f32::MAX, 1.0)]), f32::INFINITY);
}

/// The instruction by its definition, one operation at a time in f64, whose own rounding cannot show: products of bf16 have 16
/// bits, and a sum with an f32 is rounded once more than it should be only if 53 bits do not hold it.
#[test]
fn the_emulation_rounds_as_the_manual_says() {
    let round = |x: f64| {
        let r = x as f32;
        if r.abs() < f32::MIN_POSITIVE { 0.0 } else { r }
    };
    let values: Vec<f32> = normal(2 * PIECE, 17);
    let (a, b): (Vec<u16>, Vec<u16>) = values
        .chunks_exact(2)
        .map(|v| ((v[0].to_bits() >> 16) as u16, (v[1].to_bits() >> 16) as u16))
        .unzip();
    let wide = |x: u16| f64::from(f32::from_bits(u32::from(x) << 16));
    for isa in Isa::all() {
        let mut out: Block = [7.0; BLOCK * BLOCK];
        let left = Left { data: &a, row: BLOCK, piece: 0 };
        emulated(isa, Products::One, left, &b, &[Tap { a: 0, b: 0 }; 2], BLOCK, &mut out);
        for (at, got) in out.iter().enumerate() {
            let (i, j) = (at / BLOCK, at % BLOCK);
            let mut c = 0.0f32;
            for _ in 0..2 {
                let sum = |parity: usize| {
                    (0..BLOCK / 2).fold(0.0f32, |sum, k| {
                        let (a, b) = (a[i * BLOCK + 2 * k + parity], b[(k * BLOCK + j) * 2 + parity]);
                        round(wide(a) * wide(b) + f64::from(sum))
                    })
                };
                c = round(f64::from(c) + f64::from(round(f64::from(sum(0)) + f64::from(sum(1)))));
            }
            assert_eq!(c.to_bits(), got.to_bits(), "{i}, {j}, {isa:?}");
        }
    }
}

#[test]
fn a_sum_is_flushed_as_if_exponents_had_no_end() {
    // 2⁻¹²⁶ less a third of its last place rounds back to it where exponents end, and below it where they do not.
    let x = [(2f32.powi(-63), 2f32.powi(-63)), (-2f32.powi(-75), 1.5 * 2f32.powi(-76))];
    assert_eq!(dot(Products::One, &[x[0], (0.0, 0.0), x[1]]), 0.0);
    assert_eq!(dot(Products::One, &x[..1]), f32::MIN_POSITIVE);
}

/// A chain has sixteen steps, no more and no fewer: 1 vanishes beside 2²⁴ where it is added to it, and does not where ones are
/// added up first.
#[test]
fn a_chain_ends_after_512_terms() {
    // One term per step: a large one, then ones.
    let sum = |large_at: usize, steps: usize| {
        let k = steps * BLOCK;
        let (mut a, mut b) = (vec![0.0; BLOCK * k], vec![0.0; BLOCK * k]);
        for step in 0..steps {
            a[step * BLOCK] = if step == large_at { 16_777_216.0 } else { 1.0 };
            b[step * BLOCK * BLOCK] = 1.0;
        }
        multiply(Amx::emulated(Products::Six, Role::Asked), &a, &b, k)[0]
    };
    assert_eq!(sum(0, 16), 16_777_216.0, "a chain of sixteen steps");
    assert_eq!(sum(0, 32), 16_777_232.0, "another one");
}

/// The tiles of this machine. `RESNET_TEST_REQUIRE_AMX=1` makes a machine without them a failure.
fn tiles(products: Products) -> Option<Amx> {
    match Amx::find(products) {
        Found::Tiles(tiles) => Some(tiles),
        Found::Wrong | Found::Slow => panic!("the tiles of this machine fail their check"),
        Found::Nothing => {
            assert!(std::env::var_os("RESNET_TEST_REQUIRE_AMX").is_none(), "no AMX");
            println!("SKIPPED: this machine has no AMX");
            None
        }
    }
}

/// Bits, with one for all that is no number: which NaN comes out of several is not defined.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

/// Every number of registers, blocks with rows and columns to spare, sums of one step, of one chain and of more, set and added
/// to: bit by bit.
#[test]
fn tiles_agree_with_their_emulation() {
    const STRIDE: usize = 40;
    for products in [Products::One, Products::Three, Products::Six] {
        let Some(tiles) = tiles(products) else { return };
        let emulated = Amx { unit: Unit::Emulation, ..tiles };
        for k in [1, 2, 16, 17, 33].map(|steps| steps * BLOCK) {
            let (a, b) = (normal(BLOCK * k, 23), normal(BLOCK * k, 29));
            let (got, wanted) = (multiply(tiles, &a, &b, k), multiply(emulated, &a, &b, k));
            assert_eq!(bits(&got), bits(&wanted), "{products:?}, {k}");
        }
        let (pieces, k) = (products.pieces(), 17 * BLOCK);
        let (a, b) = (normal(BLOCK * k, 31), normal(BLOCK * k, 37));
        let (mut left, mut right) = (vec![0; pieces * a.len()], vec![0; pieces * b.len()]);
        tiles.split(&a, &mut left, a.len());
        for (values, out) in b.chunks_exact(PIECE).zip(right.chunks_exact_mut(pieces * PIECE)) {
            tiles.split_pairs(values, out);
        }
        let steps: Vec<Tap> = (0..k / BLOCK).map(|s| Tap { a: s * BLOCK, b: s * pieces * PIECE }).collect();
        for (rows, width) in [(32, 32), (32, 16), (16, 32), (16, 16), (1, 1), (17, 16), (5, 31), (32, 17)] {
            for add in [false, true] {
                let run = |amx: Amx| {
                    let mut out = vec![1.5; BLOCK * STRIDE];
                    let left = Left { data: &left, row: k, piece: a.len() };
                    let tile = Tile { data: &mut out, stride: STRIDE, rows, width };
                    product(&amx.enter(), left, &right, &steps, tile, add);
                    bits(&out)
                };
                assert_eq!(run(tiles), run(emulated), "{products:?}, {rows} × {width}, {add}");
            }
        }
    }
}

/// Zeros of both signs, subnormal numbers, the smallest and the largest, infinities and NaN, each among ordinary ones.
#[test]
fn tiles_agree_on_numbers_that_are_not_ordinary() {
    let strange = [
        -0.0,
        f32::from_bits(1),
        -f32::MIN_POSITIVE / 2.0,
        f32::MIN_POSITIVE,
        2f32.powi(-103),
        -2f32.powi(-70),
        2f32.powi(100),
        f32::MAX,
        f32::from_bits(0x7F7F_8000),
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    for products in [Products::One, Products::Three, Products::Six] {
        let Some(tiles) = tiles(products) else { return };
        let emulated = Amx { unit: Unit::Emulation, ..tiles };
        for (at, strange) in strange.into_iter().enumerate() {
            // No sum of ordinary ones comes near the smallest number: `dot` has those cases, one by one.
            for scale in [1.0, 2f32.powi(-60), 0.0] {
                let (mut a, mut b) = (normal(BLOCK * BLOCK, 41), normal(BLOCK * BLOCK, 43));
                b.iter_mut().for_each(|b| *b *= scale);
                // In one row of the left operand and one column of the right one, so that ordinary results remain.
                a[5 * BLOCK + at] = strange;
                b[(at + 3) * BLOCK + 9] = strange;
                let (got, wanted) = (multiply(tiles, &a, &b, BLOCK), multiply(emulated, &a, &b, BLOCK));
                let differ =
                    bits(&got).into_iter().zip(bits(&wanted)).position(|(got, wanted)| got != wanted);
                assert_eq!(differ, None, "{products:?}, {strange:e}, times {scale:e}");
            }
        }
    }
}

/// A thread that gives its tiles back can take them again, for other products too.
#[test]
fn tiles_can_be_taken_again() {
    let (a, b) = (normal(PIECE, 47), normal(PIECE, 53));
    for products in [Products::Six, Products::One, Products::Three, Products::Six] {
        let Some(tiles) = tiles(products) else { return };
        let emulated = Amx { unit: Unit::Emulation, ..tiles };
        let outer = tiles.enter();
        drop(outer);
        assert_eq!(bits(&multiply(tiles, &a, &b, BLOCK)), bits(&multiply(emulated, &a, &b, BLOCK)));
    }
}

#[test]
fn the_check_accepts_the_emulation_and_refuses_others() {
    let amx = Amx::emulated(Products::Six, Role::Asked);
    assert!(check::agrees(amx, amx));
    assert!(!check::agrees(Amx::emulated(Products::Three, Role::Asked), amx), "half of the products");
    assert!(!check::agrees(Amx::emulated(Products::One, Role::Asked), amx));
}

#[test]
fn blocks_of_every_size() {
    let amx = Amx::emulated(Products::Six, Role::Asked);
    let (a, b) = (normal(BLOCK * BLOCK, 31), normal(BLOCK * BLOCK, 37));
    let whole = multiply(amx, &a, &b, BLOCK);
    let mut left = vec![0; 3 * PIECE];
    amx.split(&a, &mut left, PIECE);
    let mut right = vec![0; 3 * PIECE];
    amx.split_pairs(&b, &mut right);
    for (rows, width) in [(1, 1), (16, 32), (17, 16), (5, 31), (32, 17)] {
        for add in [false, true] {
            let mut out = vec![1.0; BLOCK * 40];
            let left = Left { data: &left, row: BLOCK, piece: PIECE };
            let tile = Tile { data: &mut out, stride: 40, rows, width };
            product(&amx.enter(), left, &right, &[Tap { a: 0, b: 0 }], tile, add);
            for (at, got) in out.iter().enumerate() {
                let (i, j) = (at / 40, at % 40);
                let sum = if i < rows && j < width { Some(whole[i * BLOCK + j]) } else { None };
                let wanted = match (sum, add) {
                    (Some(sum), false) => sum,
                    (Some(sum), true) => 1.0 + sum,
                    (None, _) => 1.0,
                };
                assert_eq!(wanted, *got, "{rows} × {width}, {i}, {j}");
            }
        }
    }
}
