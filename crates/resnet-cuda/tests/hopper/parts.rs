//! Copies of tiles, barriers and products one by one.

use half::bf16;
use resnet_cuda::args::{Pack, Packed, map::TensorMap};
use resnet_cuda::machine::emulator::Emulator;
use resnet_cuda::machine::{Launch, Machine};

use crate::{download, emulator, parts, upload};

resnet_cuda::args! {
    struct CopyArgs { map: TensorMap, out: u64, to: u32, column: u32, row: u32, bytes: u32, out_bytes: u32, unused: u32, }
    struct PhasesArgs { map: TensorMap, out: u64, }
    struct ProductArgs { b: u64, a: u64, d: u64, step: u64, transposed: u32, unused: u32, }
    struct MisuseArgs { map: TensorMap, what: u64, }
}

fn launch(
    machine: &mut Emulator,
    kernel: &'static str,
    threads: u32,
    args: &impl Pack,
) -> resnet_core::Result<()> {
    let (grid, block) = ([1; 3], [threads, 1, 1]);
    machine.launch(&Launch {
        kernel: kernel.into(),
        grid,
        block,
        shared_bytes: 32 << 10,
        args: Packed::of(args),
    })
}

/// A matrix whose elements are their own numbers.
fn numbered(rows: usize, columns: usize) -> Vec<u8> {
    (0..rows * columns).flat_map(|i| (i as u16 + 1).to_le_bytes()).collect()
}

/// CUDA driver API, `CU_TENSOR_MAP_SWIZZLE_128B`, and PTX ISA, "Swizzling modes": in 1024 bytes, row r of 128 bytes has its chunk j of 16 bytes in
/// the place of chunk j xor r. Elements outside of the tensor are zero.
#[test]
fn a_tile_lies_where_it_should_with_zeros_beyond_the_tensor() {
    let Some(mut machine) = emulator() else { return };
    machine.load(&parts()).expect("compiles");
    let (rows, columns) = (21usize, 88usize);
    let x = upload(&mut machine, &numbered(rows, columns));
    for (row, column, box_rows, swizzled, to) in
        [(0i32, 0i32, 16u32, 1u32, 0u32), (8, 64, 24, 1, 1024), (-3, -8, 9, 1, 2048), (16, 40, 8, 0, 128)]
    {
        let map =
            TensorMap { swizzled, ..TensorMap::swizzled(x.address(), rows, columns, box_rows as usize) };
        let bytes = 128 * box_rows;
        let out_bytes = 8192;
        let out = machine.alloc(out_bytes).expect("fits");
        let args = CopyArgs {
            map,
            out: out.address(),
            to,
            column: column as u32,
            row: row as u32,
            bytes,
            out_bytes: out_bytes as u32,
            unused: 0,
        };
        launch(&mut machine, "copy_one_tile", 32, &args).expect("runs");
        let mut wanted = vec![0xff; out_bytes];
        for r in 0..box_rows as usize {
            for c in 0..64usize {
                let (from_row, from_column) = (row + r as i32, column + c as i32);
                let inside =
                    (0..rows as i32).contains(&from_row) && (0..columns as i32).contains(&from_column);
                let value =
                    if inside { (from_row as usize * columns + from_column as usize + 1) as u16 } else { 0 };
                let (chunk, rest) = (c / 8, c % 8);
                let chunk = if swizzled == 1 { chunk ^ (r % 8) } else { chunk };
                let at = to as usize + r * 128 + chunk * 16 + rest * 2;
                wanted[at..at + 2].copy_from_slice(&value.to_le_bytes());
            }
        }
        assert!(download(&mut machine, &out) == wanted, "{args:?}");
    }
}

/// PTX ISA, "mbarrier": a phase ends when no arrival is pending and no bytes are; then the next one begins with the same count.
#[test]
fn phases_end_with_the_last_arrival_and_the_last_byte() {
    let Some(mut machine) = emulator() else { return };
    machine.load(&parts()).expect("compiles");
    let x = upload(&mut machine, &numbered(1, 32));
    let out = machine.alloc(7 * 8).expect("fits");
    let map = TensorMap { box_columns: 32, swizzled: 0, ..TensorMap::swizzled(x.address(), 1, 32, 1) };
    launch(&mut machine, "phases", 1, &PhasesArgs { map, out: out.address() }).expect("runs");
    let parity: Vec<u8> = download(&mut machine, &out).chunks(8).map(|word| word[0]).collect();
    assert_eq!(parity, [0, 0, 1, 1, 1, 0, 1]);
}

/// PTX ISA, "Matrix Fragments for wgmma.mma_async.m64nNk16", and the canonical layouts with swizzling by 128 bytes: along the sum
/// `((8,m),(T,2k)):((8T,SBO),(1,T))`, along columns `((T,8,m),(8,k)):((1,T,LBO),(8T,SBO))`.
#[test]
fn a_product_is_that_of_the_matrices_its_operands_stand_for() {
    let Some(mut machine) = emulator() else { return };
    machine.load(&parts()).expect("compiles");
    let a: Vec<f32> = (0..64 * 16).map(|i| ((i * 37 + 5) % 61) as f32 - 30.0).collect();
    let b: Vec<f32> = (0..64 * 16).map(|i| ((i * 53 + 7) % 59) as f32 - 29.0).collect();
    let (a, b) = (|m: usize, k: usize| a[m * 16 + k], |n: usize, k: usize| b[n * 16 + k]);
    let bits = |v: f32| bf16::from_f32(v).to_bits();
    // Registers: rows l / 4 and that plus 8 of the warp's sixteen; elements 2·(l mod 4) and the next, and those plus 8.
    let mut registers = Vec::new();
    for thread in 0..128 {
        let (warp, lane) = (thread / 32, thread % 32);
        for (row, k) in [(0, 0), (8, 0), (0, 8), (8, 8)] {
            for next in [0, 1] {
                registers.extend(bits(a(warp * 16 + lane / 4 + row, lane % 4 * 2 + k + next)).to_le_bytes());
            }
        }
    }
    let before: Vec<f32> = (0..128 * 32).map(|i| (i % 17) as f32).collect();
    let registers = upload(&mut machine, &registers);
    for transposed in [false, true] {
        for step in 0..4usize {
            // A whole tile, of which the product takes 16 along the sum; everything else is NaN.
            let mut tile = vec![0xffu8; 8192];
            for n in 0..64 {
                for k in 0..16 {
                    let (row, along) = if transposed { (step * 16 + k, n) } else { (n, step * 16 + k) };
                    let at = row * 128 + ((along / 8) ^ (row % 8)) * 16 + along % 8 * 2;
                    tile[at..at + 2].copy_from_slice(&bits(b(n, k)).to_le_bytes());
                }
            }
            let tile = upload(&mut machine, &tile);
            let sums: Vec<u8> = before.iter().flat_map(|v| v.to_le_bytes()).collect();
            let d = upload(&mut machine, &sums);
            let args = ProductArgs {
                b: tile.address(),
                a: registers.address(),
                d: d.address(),
                step: if transposed { step as u64 * 16 * 128 } else { step as u64 * 32 },
                transposed: u32::from(transposed),
                unused: 0,
            };
            launch(&mut machine, "one_product", 128, &args).expect("runs");
            let got = download(&mut machine, &d);
            for (i, got) in got.as_chunks().0.iter().enumerate() {
                let (thread, register) = (i / 32, i % 32);
                let (warp, lane) = (thread / 32, thread % 32);
                let m = warp * 16 + lane / 4 + register / 2 % 2 * 8;
                let n = register / 4 * 8 + lane % 4 * 2 + register % 2;
                // Whole numbers below 2²⁴ are exact.
                let wanted = before[i] + (0..16).map(|k| a(m, k) * b(n, k)).sum::<f32>();
                assert_eq!(
                    f32::from_le_bytes(*got),
                    wanted,
                    "({m}, {n}), transposed {transposed}, step {step}"
                );
            }
        }
    }
}

#[test]
fn what_the_manual_calls_undefined_fails() {
    let Some(mut machine) = emulator() else { return };
    machine.load(&parts()).expect("compiles");
    let x = upload(&mut machine, &numbered(1, 32));
    let map = TensorMap { box_columns: 32, swizzled: 0, ..TensorMap::swizzled(x.address(), 1, 32, 1) };
    for (what, why) in [
        (0, "without a fence"),
        (1, "without a fence"),
        (2, "still reads"),
        (3, "matrix products were begun that nobody waited for"),
        (4, "not made known to copies"),
        (5, "no barrier was used as one"),
        (6, "more arrived"),
        (7, "as hardware does not take it"),
        (8, "copies were begun that nobody waited for"),
        (9, "beyond shared memory"),
        (10, "wait at a barrier that others never reach"),
        (11, "wait at a barrier that others never reach"),
    ] {
        let error = launch(&mut machine, "misuse", 128, &MisuseArgs { map, what }).expect_err("is wrong");
        assert!(error.to_string().contains(why), "{what}: {error}");
    }
    // Descriptions that a driver refuses, or hardware does not take.
    for wrong in [
        TensorMap { row_bytes: 60, ..map },
        TensorMap { box_rows: 257, ..map },
        TensorMap { address: map.address + 2, ..map },
        TensorMap { box_columns: 128, swizzled: 1, ..map },
    ] {
        let args =
            CopyArgs { map: wrong, out: 0, to: 0, column: 0, row: 0, bytes: 64, out_bytes: 0, unused: 0 };
        let error = launch(&mut machine, "copy_one_tile", 32, &args).expect_err("is wrong").to_string();
        assert!(error.contains("as hardware does not take it"), "{wrong:?}: {error}");
    }
}
