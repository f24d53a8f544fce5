//! The kernels that add up what tiles have left, over more tiles than a block has threads. Whole numbers, whose sums f64 has exactly.

mod common;

use resnet_cuda::args::{Pack, Packed};
use resnet_cuda::kernels;
use resnet_cuda::machine::emulator::Emulator;
use resnet_cuda::machine::{Launch, Machine, Memory};

resnet_cuda::args! {
    struct FinishArgs { partials: u64, sums: u64, tiles: u32, c: u32, }
    struct SumsOfTotalsArgs { totals: u64, sums: u64, c: u32, m: u32, }
}

/// Tiles around the 128 that a block has rows of threads for, and channels around the 8 of a block.
const TILES: [usize; 7] = [1, 2, 3, 127, 128, 129, 300];
const CHANNELS: [usize; 4] = [1, 7, 8, 11];

fn emulator() -> Emulator {
    common::require_emulator();
    let mut machine = Emulator::new().expect("there is a compiler");
    let norm = kernels::UNITS.into_iter().find(|unit| unit.name == "norm.cu").expect("is a unit");
    machine.load(&norm).expect("compiles");
    machine
}

fn floats(machine: &mut Emulator, values: &[f32]) -> Memory {
    let memory = machine.alloc(4 * values.len()).expect("fits");
    machine.upload(&memory, 0, bytemuck::cast_slice(values)).expect("copied");
    memory
}

/// Runs a kernel that leaves two rows of sums.
fn sums<A: Pack>(
    machine: &mut Emulator,
    (kernel, grid, block): (&'static str, u32, [u32; 3]),
    c: usize,
    args: impl FnOnce(u64) -> A,
) -> Vec<f64> {
    let sums = machine.alloc(16 * c).expect("fits");
    let args = Packed::of(&args(sums.address()));
    let launch = Launch { kernel: kernel.into(), grid: [grid, 1, 1], block, shared_bytes: 0, args };
    machine.launch(&launch).expect("runs");
    let mut out = vec![0.0; 2 * c];
    machine.download(&sums, 0, bytemuck::cast_slice_mut(&mut out)).expect("copied");
    out
}

/// The second stage, with the block that [`Engine`](resnet_cuda) takes: 8 channels, and rows for as many tiles as there are, at most 128.
fn finish(
    machine: &mut Emulator,
    kernel: &'static str,
    partials: &[f32],
    tiles: usize,
    c: usize,
) -> Vec<f64> {
    let partials = floats(machine, partials);
    let rows = tiles.next_power_of_two().min(128) as u32;
    let shape = (kernel, c.div_ceil(8) as u32, [8, rows, 1]);
    sums(machine, shape, c, |sums| FinishArgs {
        partials: partials.address(),
        sums,
        tiles: tiles as u32,
        c: c as u32,
    })
}

fn number(tile: usize, channel: usize, row: usize) -> f32 {
    ((tile * 7 + channel * 5 + row * 3) % 23) as f32 - 11.0
}

#[test]
fn gradients_of_all_tiles_are_added() {
    let machine = &mut emulator();
    for tiles in TILES {
        for c in CHANNELS {
            let at = |i: usize| number(i / (2 * c), i % c, i / c % 2);
            let partials: Vec<f32> = (0..tiles * 2 * c).map(at).collect();
            let wanted: Vec<f64> = (0..2 * c)
                .map(|i| (0..tiles).map(|tile| f64::from(number(tile, i % c, i / c))).sum())
                .collect();
            assert_eq!(
                finish(machine, "finish_grad_sums", &partials, tiles, c),
                wanted,
                "{tiles} tiles, {c}"
            );
        }
    }
}

/// Every tile has four values around a mean that is a whole number, and half of all tiles the opposite mean, so the mean of all is 0.
/// An odd last tile is empty.
#[test]
fn statistics_of_all_tiles_are_merged() {
    let machine = &mut emulator();
    for tiles in TILES {
        for c in CHANNELS {
            let full = tiles / 2 * 2;
            let mean = |tile: usize, channel: usize| {
                let size = number(tile / 2, channel, 0);
                if tile.is_multiple_of(2) { size } else { -size }
            };
            let m2 = |tile: usize, channel: usize| number(tile, channel, 1).abs();
            let at = |i: usize| {
                let (tile, row, channel) = (i / (3 * c), i / c % 3, i % c);
                match row {
                    // Of an empty tile no number counts.
                    _ if tile >= full => [0.0, 99.0, 99.0][row],
                    0 => 4.0,
                    1 => mean(tile, channel),
                    _ => m2(tile, channel),
                }
            };
            let partials: Vec<f32> = (0..tiles * 3 * c).map(at).collect();
            let got = finish(machine, "finish_moments", &partials, tiles, c);
            if full == 0 {
                assert!(got[..c].iter().all(|mean| mean.is_nan()), "statistics of nothing: {got:?}");
                continue;
            }
            let squares = |channel: usize| -> f64 {
                (0..full).map(|t| f64::from(m2(t, channel) + 4.0 * mean(t, channel).powi(2))).sum()
            };
            let wanted: Vec<f64> = (0..2 * c).map(|i| if i < c { 0.0 } else { squares(i - c) }).collect();
            assert_eq!(got, wanted, "{tiles} tiles, {c}");
        }
    }
}

/// Sums of values and of squares, as a library takes them: mean, and squared distances from it, which never fall below zero.
#[test]
fn totals_become_statistics() {
    let machine = &mut emulator();
    for c in [1, 128, 129, 300] {
        let m = 16u32;
        let sum = |channel: usize| (channel % 29) as f32 - 14.0;
        // Of the last channel so small that it cannot be.
        let square = |channel: usize| if channel + 1 == c { -1.0 } else { 1000.0 + channel as f32 };
        let totals: Vec<f32> = (0..2 * c).map(|i| if i < c { sum(i) } else { square(i - c) }).collect();
        let totals = floats(machine, &totals);
        let shape = ("sums_of_totals", c.div_ceil(128) as u32, [128, 1, 1]);
        let got = sums(machine, shape, c, |sums| SumsOfTotalsArgs {
            totals: totals.address(),
            sums,
            c: c as u32,
            m,
        });
        for channel in 0..c {
            let mean = f64::from(sum(channel)) / f64::from(m);
            let m2 = (f64::from(square(channel)) - f64::from(sum(channel)) * mean).max(0.0);
            assert_eq!((got[channel], got[c + channel]), (mean, m2), "channel {channel} of {c}");
        }
    }
}
