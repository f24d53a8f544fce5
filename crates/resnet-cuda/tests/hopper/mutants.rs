//! Convolutions with one mistake each: in a descriptor, a place in shared memory, an order, a phase. Every one of them fails, or gives other bits.
//!
//! What cannot show is a race that the emulator's order of warps happens to win, such as a missing wait before the tile of floats is used again.

use resnet_core::DType;
use resnet_core::op::{Conv2d, Padding};
use resnet_cuda::compile::Unit;
use resnet_cuda::machine::emulator::Emulator;
use resnet_cuda::machine::{Machine, Memory};
use resnet_cuda::tensor::args::{GradSourceArgs, SourceArgs};
use resnet_cuda::tensor::backward_weight::{self, BackwardWeight};
use resnet_cuda::tensor::forward::{self, Forward};
use resnet_cuda::tensor::tile::Tile;
use resnet_cuda::tensor::{Device, Element, Step};

use crate::{download, emulator, upload};

/// A mistake: what is written in place of what, in which file.
type Mistake = (&'static str, &'static str, &'static str);

/// The unit with a mistake; what is replaced is there once.
fn mutated(unit: &Unit, (file, from, to): Mistake) -> Unit {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let replace = |text: &str| {
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {file}");
        leak(text.replace(from, to))
    };
    if file.ends_with(".cu") {
        return Unit { text: replace(unit.text), ..unit.clone() };
    }
    let with = |&(name, text): &(&'static str, &'static str)| {
        (name, if name == file { replace(text) } else { text })
    };
    let headers: Vec<_> = unit.headers.iter().map(with).collect();
    Unit { headers: headers.leak(), ..unit.clone() }
}

fn numbers(n: usize) -> impl Iterator<Item = f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 2048.0 - 1.0)
}

fn activation(machine: &mut Emulator, n: usize) -> Memory {
    let bytes: Vec<u8> = numbers(n).flat_map(|v| half::bf16::from_f32(v).to_le_bytes()).collect();
    upload(machine, &bytes)
}

fn floats(machine: &mut Emulator, n: usize) -> Memory {
    let bytes: Vec<u8> = numbers(n).flat_map(f32::to_le_bytes).collect();
    upload(machine, &bytes)
}

/// Runs the steps, the kernel under test with a mistake, and gives what it leaves in the results.
fn run(
    machine: &mut Emulator,
    steps: &[Step],
    mistake: Option<Mistake>,
    results: &[Memory],
) -> resnet_core::Result<Vec<Vec<u8>>> {
    for result in results {
        machine.fill(result, 0, result.bytes(), 0xff)?;
    }
    for Step { unit, launch } in steps {
        let unit = match mistake {
            Some(mistake) if launch.kernel.starts_with("wgmma_") => mutated(unit, mistake),
            _ => unit.clone(),
        };
        machine.load(&unit)?;
        machine.launch(launch)?;
    }
    Ok(results.iter().map(|result| download(machine, result)).collect())
}

fn all_show(machine: &mut Emulator, steps: &[Step], results: &[Memory], mistakes: &[Mistake]) {
    let wanted = run(machine, steps, None, results).expect("runs");
    for &mistake in mistakes {
        if let Ok(got) = run(machine, steps, Some(mistake), results) {
            assert!(got != wanted, "{mistake:?} does not show");
        }
    }
    assert!(run(machine, steps, None, results).expect("runs") == wanted);
}

fn conv(c: usize, k: usize, pixels: usize) -> Conv2d {
    Conv2d::new((1, 1, pixels, c), k, (1, 1), 1, Padding::all(0), 1, DType::Bf16).expect("is valid")
}

const WGMMA: &str = "wgmma.cuh";
const HOPPER: &str = "hopper.cuh";
const WEIGHT: &str = "tensor/wgmma_backward_weight.cu";

#[test]
fn mistakes_in_the_product_of_pixels_show() {
    let Some(mut machine) = emulator() else { return };
    // Two tiles of one block, seven stages each in four buffers; neither rows nor columns nor channels fill them.
    let op = conv(440, 72, 150);
    let plan =
        Forward::with_tile(op, Element::Bf16, Tile::WIDE_WGMMA, Device { multiprocessors: 1 }).expect("fits");
    let (raw, affine) = (activation(&mut machine, op.x_desc().len()), floats(&mut machine, 2 * op.c()));
    let x = SourceArgs { affine: affine.address(), relu: 1, ..SourceArgs::raw(raw.address()) };
    let w = floats(&mut machine, op.w_desc().len());
    let y = machine.alloc(2 * op.y_desc().len()).expect("fits");
    let partials = machine.alloc(plan.n_tiles() * 3 * op.k() * 4).expect("fits");
    let scratch = machine.alloc(plan.scratch_bytes()).expect("fits");
    let operands = forward::Operands {
        x,
        w: w.address(),
        packed: 0,
        bias: 0,
        y: y.address(),
        partials: partials.address(),
        scratch: scratch.address(),
    };
    let mistakes = [
        (HOPPER, "const u32 next_rows = 8 * TILE_ROW;", "const u32 next_rows = 4 * TILE_ROW;"),
        (HOPPER, "((chunk ^ (row & 7)) << 4)", "(chunk << 4)"),
        (WGMMA, "part * Tile::PART_BYTES + step * 32", "part * Tile::PART_BYTES + step * 16"),
        (WGMMA, "            products_fence();\n", ""),
        (WGMMA, "            products_commit();\n", ""),
        (WGMMA, "            products_wait();\n", ""),
        (
            WGMMA,
            "            products_wait();\n            pipe.release();\n",
            "            pipe.release();\n            products_wait();\n",
        ),
        (WGMMA, "            barrier_wait(pipe.full(), pipe.parity);\n", ""),
        (WGMMA, "barrier_wait(pipe.full(), pipe.parity);", "barrier_wait(pipe.full(), pipe.parity ^ 1);"),
        (WGMMA, "                barrier_wait(pipe.empty(), pipe.parity ^ 1);\n", ""),
        (
            WGMMA,
            "barrier_expect(pipe.full(), STAGE_BYTES);",
            "barrier_expect(pipe.full(), STAGE_BYTES - 128);",
        ),
        (WGMMA, "            fence_barriers();\n", ""),
    ];
    all_show(&mut machine, &plan.steps(&operands), &[y, partials], &mistakes);
}

#[test]
fn mistakes_in_the_product_of_channels_show() {
    let Some(mut machine) = emulator() else { return };
    // Five stages in four buffers, the last one not full.
    let op = conv(72, 136, 300);
    let plan = BackwardWeight::with_tile(op, Element::Bf16, Tile::WIDE_WGMMA, Device { multiprocessors: 1 })
        .expect("fits");
    let (raw, affine) = (activation(&mut machine, op.x_desc().len()), floats(&mut machine, 2 * op.c()));
    let x = SourceArgs { affine: affine.address(), relu: 1, ..SourceArgs::raw(raw.address()) };
    let [dz, y] = [0; 2].map(|_| activation(&mut machine, op.y_desc().len()));
    let coeffs = floats(&mut machine, 3 * op.k());
    let dy = GradSourceArgs { dz: dz.address(), coeffs: coeffs.address(), y: y.address() };
    let dw = machine.alloc(4 * op.w_desc().len()).expect("fits");
    let scratch = machine.alloc(plan.scratch_bytes()).expect("fits");
    let operands =
        backward_weight::Operands { x, dy, dw: dw.address(), accumulate: false, scratch: scratch.address() };
    let mistakes = [
        (WEIGHT, "multiply_async<true>", "multiply_async<false>"),
        (WEIGHT, "step * 16 * TILE_ROW", "step * 8 * TILE_ROW"),
        (WEIGHT, "                fence_stores();\n", ""),
        (
            WEIGHT,
            "            if constexpr (RIGHT == AFFINE) Tile::wait(); // everybody has evaluated its part of x\n",
            "",
        ),
        (WEIGHT, "pixel < last ? fmaf(a, d.x, fmaf(b, v.x, c)) : 0.0f", "fmaf(a, d.x, fmaf(b, v.x, c))"),
        (WEIGHT, "warp % 4 * 2 + (matrix & 1)", "warp % 4 * 2 + (matrix >> 1)"),
        (WEIGHT, "warp / 4 * Tile::PART_BYTES", "0"),
        (WEIGHT, "column + part * 64, pixel, pipe.full()", "column, pixel, pipe.full()"),
    ];
    all_show(&mut machine, &plan.steps(&operands), &[dw], &mistakes);
}
