//! The tile instructions: one block of up to 32 × 32 results, summed over a list of steps of 32.
//!
//! Eight tile registers hold 16 rows of 64 bytes each: four of the result, two of either operand.
//! `tdpbf16ps` multiplies 16 × 32 by 32 × 16 numbers of bf16 and adds to 16 × 16 of f32.
//!
//! Where operands are split into pieces (see [`super::split`]), a step multiplies them in an order in which each product shares
//! an operand with the one before: 14 loads for the 24 instructions of six products, and the largest product comes last.
//!
//! Inline assembly, since Rust's intrinsics for AMX are not stable. A block of it is a whole micro-kernel: no other code may
//! run between tile instructions, as the compiler knows tiles only as registers that are lost.
//! This file needs nothing but `core`, so that it can be run on a bare machine too.

use core::arch::asm;

/// Where both operands of a step begin.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Step {
    /// 16 or 32 rows of 32 bf16, one such matrix per piece.
    pub(super) a: *const u16,
    /// Per piece, 16 rows of 32 columns of pairs along the sum.
    pub(super) b: *const u16,
}

/// The distances that do not change from step to step, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    /// Between rows of the left operand.
    pub(super) a_row: usize,
    /// Between its pieces, the largest first.
    pub(super) a_piece: usize,
    /// Between rows of the result.
    pub(super) c_row: usize,
}

/// Bytes from one row of pairs of the right operand to the next: 32 columns of two bf16.
const B_ROW: usize = 128;

/// What `ldtilecfg` reads: palette 1, and for eight tiles 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Configures the tiles of the calling thread.
///
/// # Safety
/// The CPU must have AMX, and the system must let the process use it.
pub(super) unsafe fn configure() {
    // SAFETY: the caller vouches for the instruction; CONFIG is 64 bytes of a valid configuration, and is only read.
    unsafe { asm!("ldtilecfg [{0}]", in(reg) &CONFIG, options(nostack, readonly)) }
}

/// Gives the tiles of the calling thread back, so that the system need not save them.
///
/// # Safety
/// As [`configure`].
pub(super) unsafe fn release() {
    // SAFETY: the caller vouches for the instruction, which touches no memory. Results were stored before.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

macro_rules! load_a {
    (1) => {
        "tileloadd tmm4, [{t}+{sa}*1]\n"
    };
    (2) => {
        "tileloadd tmm4, [{t}+{sa}*1]\n tileloadd tmm5, [{u}+{sa}*1]\n"
    };
}
macro_rules! load_b {
    (1, $at:literal) => {
        concat!("tileloadd tmm6, [{b}+{sb}*1+", $at, "]\n")
    };
    (2, $at:literal) => {
        concat!("tileloadd tmm6, [{b}+{sb}*1+", $at, "]\n tileloadd tmm7, [{b}+{sb}*1+64+", $at, "]\n")
    };
}
macro_rules! multiply {
    (1, 1) => {
        "tdpbf16ps tmm0, tmm4, tmm6\n"
    };
    (1, 2) => {
        "tdpbf16ps tmm0, tmm4, tmm6\n tdpbf16ps tmm1, tmm4, tmm7\n"
    };
    (2, 1) => {
        "tdpbf16ps tmm0, tmm4, tmm6\n tdpbf16ps tmm2, tmm5, tmm6\n"
    };
    (2, 2) => {
        concat!(
            "tdpbf16ps tmm0, tmm4, tmm6\n tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n tdpbf16ps tmm3, tmm5, tmm7\n"
        )
    };
}
macro_rules! store {
    (1, 1) => {
        "tilestored [{t}+{sa}*1], tmm0\n"
    };
    (1, 2) => {
        "tilestored [{t}+{sa}*1], tmm0\n tilestored [{t}+{sa}*1+64], tmm1\n"
    };
    (2, 1) => {
        "tilestored [{t}+{sa}*1], tmm0\n tilestored [{u}+{sa}*1], tmm2\n"
    };
    (2, 2) => {
        concat!(
            "tilestored [{t}+{sa}*1], tmm0\n tilestored [{t}+{sa}*1+64], tmm1\n",
            "tilestored [{u}+{sa}*1], tmm2\n tilestored [{u}+{sa}*1+64], tmm3\n"
        )
    };
}
/// To the next larger piece of the left operand.
macro_rules! larger {
    () => {
        "sub {t}, {ps}\n sub {u}, {ps}\n"
    };
}
/// One step of the sum; `{t}` and `{u}` are its rows of the left operand, `{b}` its right operand.
macro_rules! step {
    (1, $m:tt, $n:tt) => {
        concat!(load_a!($m), load_b!($n, "0"), multiply!($m, $n), "/* one piece, not {ps} apart */\n")
    };
    (3, $m:tt, $n:tt) => {
        concat!(
            "add {t}, {ps}\n add {u}, {ps}\n",
            load_a!($m),
            load_b!($n, "0"),
            multiply!($m, $n), // m·h
            larger!(),
            load_a!($m),
            load_b!($n, "2048"),
            multiply!($m, $n), // h·m
            load_b!($n, "0"),
            multiply!($m, $n), // h·h
        )
    };
    (6, $m:tt, $n:tt) => {
        concat!(
            "lea {t}, [{t}+{ps}*2]\n lea {u}, [{u}+{ps}*2]\n",
            load_a!($m),
            load_b!($n, "0"),
            multiply!($m, $n), // l·h
            larger!(),
            load_a!($m),
            multiply!($m, $n), // m·h
            load_b!($n, "2048"),
            multiply!($m, $n), // m·m
            larger!(),
            load_a!($m),
            multiply!($m, $n), // h·m
            load_b!($n, "4096"),
            multiply!($m, $n), // h·l
            load_b!($n, "0"),
            multiply!($m, $n), // h·h
        )
    };
}

macro_rules! block {
    ($name:ident, $products:tt, $m:tt, $n:tt) => {
        /// # Safety
        /// As [`product`].
        unsafe fn $name(steps: &[Step], c: *mut f32, strides: &Strides) {
            // SAFETY: the caller vouches for AMX, for configured tiles, for a step at least, and for every address that a
            // step or the result reaches. All tiles are declared lost; the block neither jumps out nor uses the stack.
            unsafe {
                asm!(
                    "tilezero tmm0\n tilezero tmm1\n tilezero tmm2\n tilezero tmm3",
                    "2:",
                    "mov {t}, [{list}]",
                    "mov {b}, [{list}+8]",
                    "lea {u}, [{t}+{rs}]",
                    step!($products, $m, $n),
                    "add {list}, 16",
                    "dec {count}",
                    "jnz 2b",
                    "mov {t}, {c}",
                    "mov {sa}, {sc}",
                    "mov {u}, {sa}",
                    "shl {u}, 4",
                    "add {u}, {t}",
                    store!($m, $n),
                    list = inout(reg) steps.as_ptr() => _,
                    count = inout(reg) steps.len() => _,
                    t = out(reg) _,
                    u = out(reg) _,
                    b = out(reg) _,
                    sa = inout(reg) strides.a_row => _,
                    sb = in(reg) B_ROW,
                    ps = in(reg) strides.a_piece,
                    rs = in(reg) strides.a_row * 16,
                    c = in(reg) c,
                    sc = in(reg) strides.c_row,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}
block!(x1_1x1, 1, 1, 1);
block!(x1_1x2, 1, 1, 2);
block!(x1_2x1, 1, 2, 1);
block!(x1_2x2, 1, 2, 2);
block!(x3_1x1, 3, 1, 1);
block!(x3_1x2, 3, 1, 2);
block!(x3_2x1, 3, 2, 1);
block!(x3_2x2, 3, 2, 2);
block!(x6_1x1, 6, 1, 1);
block!(x6_1x2, 6, 1, 2);
block!(x6_2x1, 6, 2, 1);
block!(x6_2x2, 6, 2, 2);

/// Sets `16·m × 16·n` results to the sum over `steps` of 1, 3 or 6 products.
///
/// # Safety
/// The CPU must have AMX with bf16, the system must let the process use it, and the thread's tiles must be configured.
/// There must be a step. Of each step, every piece of `a` must be readable for 16·m rows of 64 bytes, `a_row` apart, and every
/// piece of `b` for 16 rows of 128 bytes, the pieces following each other. `c` must be writable for 16·m rows of 64·n bytes,
/// `c_row` apart.
pub(super) unsafe fn product(
    products: usize,
    (m, n): (usize, usize),
    steps: &[Step],
    c: *mut f32,
    strides: &Strides,
) {
    let run = match (products, m, n) {
        (1, 1, 1) => x1_1x1,
        (1, 1, _) => x1_1x2,
        (1, _, 1) => x1_2x1,
        (1, ..) => x1_2x2,
        (3, 1, 1) => x3_1x1,
        (3, 1, _) => x3_1x2,
        (3, _, 1) => x3_2x1,
        (3, ..) => x3_2x2,
        (_, 1, 1) => x6_1x1,
        (_, 1, _) => x6_1x2,
        (_, _, 1) => x6_2x1,
        _ => x6_2x2,
    };
    // SAFETY: the caller vouches for all of it.
    unsafe { run(steps, c, strides) }
}
