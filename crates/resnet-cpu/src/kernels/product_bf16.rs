//! The micro-kernel for bf16: as [`product`](super::product), but a step of the sum multiplies pairs.
//!
//! `out[i, j] = Σ_tap Σ_d Σ_e a[tap.a + i·row + d·step + e] · b[tap.b + (d·WIDTH + j)·2 + e]` with `e` in 0, 1.
//!
//! Numbers that are summed one after the other lie side by side in both operands, so that one instruction multiplies and adds
//! two: `vdpbf16ps`. It rounds each of the two additions to nearest, odd element first, and the products not at all; it takes
//! subnormal numbers for zero and flushes subnormal results, whatever the thread's rounding mode. [`emulated`] is the same in
//! plain Rust, to the bit.

use half::bf16;

use super::Isa;
#[cfg(target_arch = "x86_64")]
use super::Level;
use super::product::{Left, Operand, ROWS, Tap, Tile, WIDTH};

impl Operand for bf16 {
    const STEP: usize = 2;

    fn product(
        isa: Isa,
        a: Left<'_, bf16>,
        b: &[bf16],
        taps: &[Tap],
        steps: usize,
        out: Tile<'_>,
        add: bool,
    ) {
        let Tile { data, stride, rows, width } = out;
        assert!(
            (1..=ROWS).contains(&rows) && (1..=WIDTH).contains(&width) && steps > 0,
            "{rows} × {width} × {steps}"
        );
        let last = |extent: usize, by: usize| (extent - 1) * by;
        let (a_span, b_span) = (last(rows, a.row) + last(steps, a.step) + 1, steps * WIDTH * 2);
        let fits = |tap: &Tap| tap.a + a_span < a.data.len() && tap.b + b_span <= b.len();
        assert!(taps.iter().all(fits), "an operand ends before the sum does");
        assert!(last(rows, stride) + width <= data.len(), "the result is shorter than its tile");
        #[cfg(target_arch = "x86_64")]
        if isa.level() == Level::Avx512 && isa.has_bf16() {
            let mut operands = x86::Operands {
                a: a.data.as_ptr(),
                row: a.row,
                step: a.step,
                b: b.as_ptr(),
                taps,
                steps,
                out: data.as_mut_ptr(),
                stride,
                add,
            };
            if width == WIDTH || width == WIDTH / 2 {
                // SAFETY: the kernel reads a at tap.a + i·row + d·step + e for i < rows, d < steps and e < 2, and b at
                // tap.b + (d·WIDTH + j)·2 + e for j < width; `fits` holds for every tap, so both stay inside their slices. It
                // reads and writes data at i·stride + j, whose last element was checked to be inside; `data` is borrowed
                // exclusively. An `Isa` has bf16 only where AVX-512 and BF16 were found.
                unsafe { x86::product(&operands, rows, width) };
                return;
            }
            let mut whole = [0.0f32; ROWS * WIDTH];
            (operands.out, operands.stride, operands.add) = (whole.as_mut_ptr(), WIDTH, false);
            let computed = if width < WIDTH / 2 { WIDTH / 2 } else { WIDTH };
            // SAFETY: as above for a and b; the result goes to `whole`, which has ROWS rows of WIDTH numbers.
            unsafe { x86::product(&operands, rows, computed) };
            for (out, row) in data.chunks_mut(stride).zip(whole.chunks_exact(WIDTH)).take(rows) {
                for (out, v) in out[..width].iter_mut().zip(row) {
                    *out = if add { *out + v } else { *v };
                }
            }
            return;
        }
        let _ = isa;
        for i in 0..rows {
            for j in 0..width {
                let sum = emulated(a, b, taps, steps, i, j);
                let out = &mut data[i * stride + j];
                *out = if add { *out + sum } else { sum };
            }
        }
    }
}

/// One result, with the roundings of the instruction.
fn emulated(a: Left<'_, bf16>, b: &[bf16], taps: &[Tap], steps: usize, i: usize, j: usize) -> f32 {
    /// Subnormal numbers as zeros of their sign.
    fn flushed(v: f32) -> f32 {
        if v.is_subnormal() { 0.0f32.copysign(v) } else { v }
    }
    let mut sum = 0.0f32;
    for tap in taps {
        for d in 0..steps {
            let (a, b) = (&a.data[tap.a + i * a.row + d * a.step..], &b[tap.b + (d * WIDTH + j) * 2..]);
            for e in [1, 0] {
                sum = flushed(flushed(a[e].to_f32()).mul_add(flushed(b[e].to_f32()), sum));
            }
        }
    }
    sum
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::{Tap, WIDTH};

    /// Everything a piece of a tile needs to know.
    pub(super) struct Operands<'a> {
        pub(super) a: *const bf16,
        pub(super) row: usize,
        pub(super) step: usize,
        pub(super) b: *const bf16,
        pub(super) taps: &'a [Tap],
        pub(super) steps: usize,
        pub(super) out: *mut f32,
        pub(super) stride: usize,
        pub(super) add: bool,
    }

    /// `M` rows and `V` vectors of columns.
    ///
    /// # Safety
    /// For all i < M, d < steps, e < 2, j < 16·V and every tap: `a` must have element tap.a + i·row + d·step + e, `b` element
    /// tap.b + (d·WIDTH + j)·2 + e, and `out` element i·stride + j, which must not overlap the operands. The CPU must have AVX-512
    /// F and BF16.
    #[inline(always)]
    unsafe fn piece<const M: usize, const V: usize>(o: &Operands<'_>) {
        // SAFETY: every pointer below is one that the caller vouches for; vectors of bf16 are 64 bytes without structure.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            for tap in o.taps {
                let mut a = o.a.add(tap.a);
                let mut b = o.b.add(tap.b);
                for _ in 0..o.steps {
                    let mut right = [_mm512_setzero_si512(); V];
                    for v in 0..V {
                        right[v] = _mm512_loadu_si512(b.add(v * 32).cast());
                    }
                    for m in 0..M {
                        let pair = a.add(m * o.row).cast::<i32>().read_unaligned();
                        let left = _mm512_set1_epi32(pair);
                        for v in 0..V {
                            sums[m][v] = _mm512_dpbf16_ps(sums[m][v], vector(right[v]), vector(left));
                        }
                    }
                    a = a.wrapping_add(o.step);
                    b = b.wrapping_add(2 * WIDTH);
                }
            }
            for m in 0..M {
                for v in 0..V {
                    let out = o.out.add(m * o.stride + v * 16);
                    let sum = sums[m][v];
                    let sum = if o.add { _mm512_add_ps(_mm512_loadu_ps(out), sum) } else { sum };
                    _mm512_storeu_ps(out, sum);
                }
            }
        }
    }

    #[inline(always)]
    fn vector(bits: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes, and every pattern of bits is a value of either.
        unsafe { std::mem::transmute(bits) }
    }

    /// # Safety
    /// As [`piece`], with `rows` and `width` for M and 16·V: 1 to 8, and 16 or 32.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub(super) unsafe fn product(o: &Operands<'_>, rows: usize, width: usize) {
        // SAFETY: the caller vouches for the pointers and the instructions.
        unsafe {
            match (rows, width) {
                (1, 16) => piece::<1, 1>(o),
                (1, _) => piece::<1, 2>(o),
                (2, 16) => piece::<2, 1>(o),
                (2, _) => piece::<2, 2>(o),
                (3, 16) => piece::<3, 1>(o),
                (3, _) => piece::<3, 2>(o),
                (4, 16) => piece::<4, 1>(o),
                (4, _) => piece::<4, 2>(o),
                (5, 16) => piece::<5, 1>(o),
                (5, _) => piece::<5, 2>(o),
                (6, 16) => piece::<6, 1>(o),
                (6, _) => piece::<6, 2>(o),
                (7, 16) => piece::<7, 1>(o),
                (7, _) => piece::<7, 2>(o),
                (_, 16) => piece::<8, 1>(o),
                _ => piece::<8, 2>(o),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;

    /// Every kernel gives the bits of its emulation, also for subnormal, infinite and undefined numbers.
    #[test]
    fn the_instruction_gives_the_bits_of_its_emulation() {
        let Some(isa) = Isa::avx512_bf16() else {
            assert!(
                std::env::var_os("RESNET_TEST_REQUIRE_KERNELS").is_none(),
                "no products of bf16 on this machine"
            );
            eprintln!("SKIPPED: this machine has no products of bf16");
            return;
        };
        let mut state = 1u64;
        let mut bits = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u32
        };
        for case in 0..200 {
            let mut numbers = |len: usize| -> Vec<bf16> {
                let one = |bits: u32| match (case % 4, bits % 64) {
                    (1, _) => bf16::from_bits((bits & 0x83FF) as u16), // tiny and subnormal
                    (2, 0) => bf16::from_bits((bits >> 8) as u16),     // anything at all
                    _ => <bf16 as Element>::narrow(
                        (bits as f32 / (1 << 23) as f32 - 1.0) * (1 << (bits % 8)) as f32,
                    ),
                };
                (0..len).map(|_| one(bits())).collect()
            };
            let (rows, width, steps) = (case % 8 + 1, case * 7 % 32 + 1, case % 5 + 1);
            let a = numbers(3 * 64 + ROWS * 64);
            let b = numbers(3 * 2 * WIDTH * steps);
            let taps: Vec<Tap> = (0..3).map(|t| Tap { a: 61 * t, b: 2 * WIDTH * steps * t }).collect();
            let left = Left { data: &a, row: 62, step: 2 };
            let mut got = vec![0.5f32; ROWS * WIDTH];
            let tile = Tile { data: &mut got, stride: WIDTH, rows, width };
            bf16::product(isa, left, &b, &taps, steps, tile, case % 3 == 0);
            for i in 0..rows {
                for j in 0..width {
                    let sum = emulated(left, &b, &taps, steps, i, j);
                    let want = if case % 3 == 0 { 0.5 + sum } else { sum };
                    let got = got[i * WIDTH + j];
                    assert!(
                        got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                        "{rows} × {width} × {steps}, case {case}: {got:e} for {want:e}"
                    );
                }
            }
        }
    }
}
