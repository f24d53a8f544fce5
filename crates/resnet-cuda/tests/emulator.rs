//! The emulator itself: what it must catch.

mod common;

use resnet_cuda::args::Packed;
use resnet_cuda::compile::Unit;
use resnet_cuda::kernels;
use resnet_cuda::machine::emulator::Emulator;
use resnet_cuda::machine::{Launch, Machine, Memory};

fn emulator() -> Emulator {
    common::require_emulator();
    let mut machine = Emulator::new().expect("there is a compiler");
    let combine = kernels::UNITS.into_iter().find(|unit| unit.name == "combine.cu").expect("is a unit");
    machine.load(&combine).expect("compiles");
    machine
}

resnet_cuda::args! {
    struct Source { raw: u64, affine: u64, residual: u64, residual_affine: u64, relu: u32, unused: u32, }
    struct Twice { x: u64, n: u32, unused: u32, }
    struct CombineArgs { x: Source, z: u64, partials: u64, rows: u32, c: u32, rows_per_tile: u32, vector: u32, }
}

fn floats(machine: &mut Emulator, values: &[f32]) -> Memory {
    let memory = machine.alloc(4 * values.len()).expect("fits");
    machine.upload(&memory, 0, bytemuck::cast_slice(values)).expect("copied");
    memory
}

#[test]
fn a_kernel_runs() {
    let mut machine = emulator();
    let x = floats(&mut machine, &[1.0, -2.0, 3.0, 4.0, -5.0, 6.0]);
    let affine = floats(&mut machine, &[2.0, 3.0, 0.5, 0.25]);
    let z = machine.alloc(24).expect("fits");
    let source = Source {
        raw: x.address(),
        affine: affine.address(),
        residual: 0,
        residual_affine: 0,
        relu: 1,
        unused: 0,
    };
    let args =
        CombineArgs { x: source, z: z.address(), partials: 0, rows: 3, c: 2, rows_per_tile: 8, vector: 0 };
    let launch = |args: &CombineArgs| Launch {
        kernel: "combine_f32".into(),
        grid: [1, 1, 1],
        block: [2, 8, 1],
        shared_bytes: 0,
        args: Packed::of(args),
    };
    machine.launch(&launch(&args)).expect("runs");
    let mut out = [0.0f32; 6];
    machine.download(&z, 0, bytemuck::cast_slice_mut(&mut out)).expect("copied");
    assert_eq!(out, [2.5, 0.0, 6.5, 12.25, 0.0, 18.25]);
    // Half a buffer.
    let short = machine.alloc(12).expect("fits");
    let error =
        machine.launch(&launch(&CombineArgs { z: short.address(), ..args })).expect_err("writes outside");
    assert!(
        error.to_string().contains("combine_f32 wrote outside a buffer of 12 bytes, at byte 12"),
        "{error}"
    );
}

/// Numbers behind a buffer that are read, changed and written back show too: here the fourth of a vector of three.
#[test]
fn what_is_changed_in_place_behind_a_buffer_shows() {
    let mut machine = emulator();
    let twice = Unit {
        name: "twice.cu",
        text: "#include \"types.cuh\"\n\
               struct Args { float* x; unsigned n, unused; };\n\
               KERNEL(twice, Args, 32) { if (threadIdx.x < args.n) args.x[threadIdx.x] *= 2.0f; }\n",
        headers: &kernels::HEADERS,
        macros: vec![],
    };
    machine.load(&twice).expect("compiles");
    let x = floats(&mut machine, &[1.0, 2.0, 3.0]);
    let launch = |n: u32| Launch {
        kernel: "twice".into(),
        grid: [1, 1, 1],
        block: [32, 1, 1],
        shared_bytes: 0,
        args: Packed::of(&Twice { x: x.address(), n, unused: 0 }),
    };
    machine.launch(&launch(3)).expect("stays inside");
    let error = machine.launch(&launch(4)).expect_err("writes outside").to_string();
    // The first byte of the NaN stays; what makes it quiet is in the third.
    assert!(error.contains("twice wrote outside a buffer of 12 bytes, at byte 14"), "{error}");
}
