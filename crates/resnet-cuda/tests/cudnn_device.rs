//! Convolutions by cuDNN on a device, from the calls of both libraries on: a driver that computes what the emulator computes, and a cuDNN that
//! executes graphs in plain loops (`tests/fake/cudnn.rs` says what its engines do).
//! What is tested here: graphs mean what they should, every call's order and arguments, workspace, which engine is taken and which is not, captured
//! steps, and what happens when cuDNN refuses.
#![cfg(target_os = "linux")]

mod common;
mod fake;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use common::directions::all_directions;
use resnet_conformance::laws::network::trains;
use resnet_conformance::strategy::networks::tiny;
use resnet_core::lower::{Step, lower};
use resnet_core::op::{BatchNorm, Combine, Conv2d, Op, Padding};
use resnet_core::zoo::{Block, ResNetSpec, Shortcut, Variant, Width};
use resnet_core::{
    Accumulate, Backend, DType, GradNorm, GradOut, GradSource, GradSums, LowerOptions, Source, TensorDesc,
};
use resnet_cuda::choice::Choice;
use resnet_cuda::choice::ways::Tuning;
use resnet_cuda::machine::device::Gpu;
use resnet_cuda::tensor::Element;
use resnet_cuda::tensor::kernel::{Direction, Kernel, Prologue, helpers};
use resnet_cuda::tensor::tile::Tile;
use resnet_cuda::{CudaBackend, Search, probe};
use tempfile::TempDir;

/// A folder with all libraries. One for the process, because a driver is loaded once.
fn libraries() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    MADE.get_or_init(|| {
        common::require_emulator();
        let dir = tempfile::tempdir().expect("temporary folder");
        // Of the kernels on tensor cores those that these tests take; trying the others fails and is noted.
        let kernel = |direction, tile| Kernel { direction, element: Element::Bf16, tile }.unit();
        let units = [
            kernel(Direction::Forward(Prologue::Raw), Tile::SMALL),
            kernel(Direction::Forward(Prologue::Affine), Tile::SMALL),
            kernel(Direction::Forward(Prologue::Raw), Tile::TALL),
            kernel(Direction::BackwardData(Prologue::Raw), Tile::SMALL),
            kernel(Direction::BackwardData(Prologue::Grad), Tile::SMALL),
            kernel(Direction::BackwardWeight(Prologue::Raw, Prologue::Raw), Tile::SMALL),
            kernel(Direction::BackwardWeight(Prologue::Raw, Prologue::Affine), Tile::SMALL),
            kernel(Direction::BackwardWeight(Prologue::Grad, Prologue::Raw), Tile::SMALL),
            kernel(Direction::BackwardWeight(Prologue::Grad, Prologue::Affine), Tile::SMALL),
            kernel(Direction::Forward(Prologue::Raw), Tile::TALL_WGMMA),
            kernel(Direction::Forward(Prologue::Affine), Tile::TALL_WGMMA),
            kernel(Direction::BackwardData(Prologue::Raw), Tile::TALL_WGMMA),
            kernel(Direction::BackwardData(Prologue::Grad), Tile::TALL_WGMMA),
            kernel(Direction::BackwardWeight(Prologue::Raw, Prologue::Raw), Tile::TALL_WGMMA),
            kernel(Direction::BackwardWeight(Prologue::Raw, Prologue::Affine), Tile::TALL_WGMMA),
            kernel(Direction::BackwardWeight(Prologue::Grad, Prologue::Raw), Tile::TALL_WGMMA),
            kernel(Direction::BackwardWeight(Prologue::Grad, Prologue::Affine), Tile::TALL_WGMMA),
            helpers(),
        ];
        fake::device(dir.path(), &units);
        fake::library("cudnn.rs", "libcudnn.so.9", dir.path());
        // Only looked for: cuDNN ends the process without it.
        fake::library("idle.rs", "libcublasLt.so.13", dir.path());
        dir
    })
    .path()
}

/// One stream is captured at a time.
fn alone() -> MutexGuard<'static, ()> {
    static DEVICE: Mutex<()> = Mutex::new(());
    DEVICE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn backend(choice: Choice, tuning: Tuning) -> CudaBackend {
    let search = Search { folders: vec![libraries().to_owned()], system: false };
    let device = probe(&search, 0).expect("all is there");
    let gpu = Gpu::open(&search, device, None).expect("opens");
    CudaBackend::on(Box::new(gpu)).expect("kernels load").with_choice(choice).with_tuning(tuning)
}

fn off() -> Tuning {
    Tuning { on: false, folder: None, narrow_gradients: false, narrow_norms: false }
}

fn on(folder: &TempDir) -> Tuning {
    Tuning { on: true, folder: Some(folder.path().to_owned()), narrow_gradients: false, narrow_norms: false }
}

fn conv(c: usize, k: usize, window: usize, stride: usize, groups: usize, dtype: DType) -> Conv2d {
    let x = (2, 7, 6, c);
    Conv2d::new(x, k, (window, window), stride, Padding::all(window / 2), groups, dtype).expect("is valid")
}

fn ways(backend: &CudaBackend) -> Vec<String> {
    backend.chosen().into_iter().map(|chosen| format!("{} | {}", chosen.task, chosen.way)).collect()
}

/// Both give the same bits for whole numbers, whenever they are asked; statistics divide, and may round.
fn same(backend: &mut CudaBackend, plain: &mut CudaBackend, op: &Conv2d) {
    let (exact, rounded) = all_directions(backend, op);
    let (wanted, statistics) = all_directions(plain, op);
    assert_eq!(exact, wanted, "{op:?}");
    assert_eq!(all_directions(backend, op), (exact, rounded.clone()), "{op:?} is not repeated");
    for (got, wanted) in rounded.iter().zip(statistics) {
        let far = (got - wanted).abs() / wanted.abs().max(1.0);
        assert!(far <= 256.0 * f32::EPSILON, "{got} and {wanted}, {op:?}");
    }
}

/// Small whole numbers are exact in every type, so cuDNN's graphs must give the very bits of this crate's kernels.
#[test]
fn cudnn_computes_what_ordinary_units_compute() {
    let _alone = alone();
    let mut cudnn = backend(Choice::Cudnn, off());
    let mut plain = backend(Choice::Simt, off());
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for op in [
            // A stem, whose channels are filled up. Towards them other kernels are taken, which the fake device has in one narrow type.
            conv(if dtype == DType::F16 { 8 } else { 3 }, 16, 7, 2, 1, dtype),
            conv(8, 16, 3, 1, 1, dtype),  // the inside of a block
            conv(16, 8, 3, 2, 1, dtype),  // its first
            conv(16, 24, 1, 2, 1, dtype), // a projection
            conv(16, 16, 3, 1, 4, dtype), // groups
        ] {
            same(&mut cudnn, &mut plain, &op);
        }
    }
    let ways = ways(&cudnn);
    for (task, engine) in [
        ("forward f32 2×7×6×3 to 16, 7×7 stride 2 padding 3", "cuDNN engine 1 for forward"),
        ("forward bf16 2×7×6×3 to 16, 7×7 stride 2 padding 3", "cuDNN engine 60 for forward"),
        (
            "forward f16 2×7×6×16 to 16, 3×3 stride 1 padding 1 in 4 groups, bias",
            "cuDNN engine 60 for forward with bias",
        ),
        ("backward-data bf16 2×7×6×16 to 24, 1×1 stride 2 padding 0", "cuDNN engine 60 for backward-data"),
        ("backward-weight bf16 2×7×6×3 to 16, 7×7 stride 2 padding 3", "cuDNN engine 60 for backward-weight"),
    ] {
        assert!(ways.contains(&format!("{task} | {engine}")), "{task}: {ways:#?}");
    }
    assert!(!ways.iter().any(|way| way.contains("f32") && !way.contains("engine 1 ")), "{ways:#?}");
    // Towards three channels cuDNN would have to write more than there is room for.
    assert!(!ways.iter().any(|way| way.starts_with("backward-data bf16 2×7×6×3 ")), "{ways:#?}");
    assert!(cudnn.describe().contains("convolutions: cudnn, cuDNN 9.19.0: "), "{}", cudnn.describe());
}

#[test]
fn tf32_lets_cudnn_round_f32() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("temporary folder");
    // Grouped, so that this crate has ordinary units only: 17 units of time, and engine 1 takes 50.
    let op = conv(16, 16, 3, 1, 2, DType::F32);
    for (choice, way) in [(Choice::Tf32, "cuDNN engine 61 for forward"), (Choice::Auto, "ordinary units")] {
        let mut backend = backend(choice, on(&folder));
        backend.prepare(&step(op)).expect("prepared");
        let wanted = format!("forward f32 2×7×6×16 to 16, 3×3 stride 1 padding 1 in 2 groups | {way}");
        assert!(ways(&backend).contains(&wanted), "{:#?}", ways(&backend));
    }
}

/// Gradients of whole numbers below 256 are exact in 16 bits too.
#[test]
fn narrow_gradients_are_widened() {
    let _alone = alone();
    let mut narrow = backend(Choice::Cudnn, Tuning { narrow_gradients: true, ..off() });
    let mut plain = backend(Choice::Simt, off());
    for (c, dtype) in [(3, DType::Bf16), (8, DType::F16)] {
        let op = conv(c, 8, 1, 2, 1, dtype);
        let (exact, _) = all_directions(&mut narrow, &op);
        assert_eq!(exact, all_directions(&mut plain, &op).0, "{op:?}");
    }
    let ways = ways(&narrow);
    for task in ["backward-weight bf16 2×7×6×3 to 8", "backward-weight f16 2×7×6×8 to 8"] {
        let wanted = format!(
            "{task}, 1×1 stride 2 padding 0 | cuDNN engine 60 for backward-weight in the tensors' type"
        );
        assert!(ways.contains(&wanted), "{ways:#?}");
    }
}

fn step(op: Conv2d) -> [Op; 3] {
    let norm = BatchNorm::new(op.k(), op.n() * op.p() * op.q(), 1e-5, 0.1, true).expect("is valid");
    [Op::Conv2d(op), Op::BatchNorm(norm), Op::Conv2d(op)]
}

/// On the fake device's clock a kernel takes a unit for each word of its arguments, and twice that on ordinary units; engine 61 takes 8 and
/// engine 60 takes 50.
#[test]
fn the_fastest_is_taken_and_kept() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("temporary folder");
    let op = conv(16, 16, 3, 1, 1, DType::Bf16);
    let mut first = backend(Choice::Auto, on(&folder));
    first.prepare(&step(op)).expect("prepared");
    let task = "forward bf16 2×7×6×16 to 16, 3×3 stride 1 padding 1";
    // The product is 8 units with cuDNN, 15 on tensor cores, and 34 on ordinary units; weights are packed once and not in every step.
    // A prologue that is a pass of its own takes 9 more; one that is fused has an engine that takes 2 in all.
    let wanted = [
        format!("{task} | cuDNN engine 61 for forward"),
        format!("{task}, normalised | cuDNN engine 63 for normalised forward"),
    ];
    assert_eq!(ways(&first), wanted);
    let lines = [
        format!("{task}: cuDNN engine 61 for forward, 8.000 ms"),
        format!("{task}, normalised: cuDNN engine 63 for normalised forward, 2.000 ms"),
    ];
    assert_eq!(first.choices()[..2], lines);
    // Tiles whose kernels this device does not have.
    assert!(
        first.notes().iter().all(|note| note.contains("loading tensor/forward.cu")),
        "{:#?}",
        first.notes()
    );

    // Another run asks the file, also where nothing is timed.
    for tuning in [on(&folder), Tuning { on: false, ..on(&folder) }] {
        let mut second = backend(Choice::Auto, tuning);
        second.prepare(&step(op)).expect("prepared");
        assert_eq!((ways(&second), second.notes()), (wanted.to_vec(), &[] as &[String]));
    }
    // Without either, rules decide.
    let mut third = backend(Choice::Auto, off());
    third.prepare(&step(op)).expect("prepared");
    assert_eq!(ways(&third), [] as [&str; 0]);

    // A plan that this cuDNN does not know is sought anew, and said so.
    let file =
        std::fs::read_dir(folder.path()).expect("is there").next().expect("one file").expect("listed").path();
    let text = std::fs::read_to_string(&file).expect("is text");
    std::fs::write(&file, text.replace("fake plan", "stale plan")).expect("written");
    let mut fourth = backend(Choice::Auto, on(&folder));
    fourth.prepare(&step(op)).expect("prepared");
    assert_eq!(ways(&fourth), wanted);
    let notes = fourth.notes().join("\n");
    assert!(
        notes
            .contains("is not taken back: cudnnBackendFinalize of an execution plan: CUDNN_STATUS_BAD_PARAM"),
        "{notes}"
    );
    assert!(std::fs::read_to_string(&file).expect("is text").contains("fake plan"), "replaced");
}

/// A whole training step's tasks are tried, with sums and epilogues, and all candidates agree.
#[test]
fn a_training_step_is_tried() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("temporary folder");
    let op = conv(16, 16, 3, 1, 4, DType::F16);
    let mut backend = backend(Choice::Auto, on(&folder));
    let backward = [Op::Conv2dBackwardData(op), Op::Conv2dBackwardWeight(op)];
    let ops: Vec<Op> = step(op).into_iter().chain(backward).collect();
    let scratch = backend.prepare(&ops).expect("prepared");
    let ways = ways(&backend);
    let task = "f16 2×7×6×16 to 16, 3×3 stride 1 padding 1 in 4 groups";
    let wanted = [
        ("backward-data", ", through a normalisation", "63 for backward-data through a normalisation"),
        (
            "backward-data",
            ", through a normalisation, epilogue",
            "63 for backward-data through a normalisation",
        ),
        (
            "backward-data",
            ", through a normalisation, mask and sums",
            "63 for backward-data through a normalisation with mask and sums",
        ),
        (
            "backward-data",
            ", through a normalisation, shortcut, mask and sums",
            "63 for backward-data through a normalisation with shortcut, mask and sums",
        ),
        (
            "backward-data",
            ", through a normalisation, shortcut, mask and sums for two",
            "63 for backward-data through a normalisation with shortcut, mask and sums for two",
        ),
        ("backward-weight", ", normalised, through a normalisation", "61 for backward-weight"),
        ("backward-weight", ", through a normalisation", "61 for backward-weight"),
        ("forward", ", normalised, sums", "63 for normalised forward with statistics"),
        ("forward", ", sums", "62 for forward with statistics, directly"),
    ];
    let wanted =
        wanted.map(|(direction, form, way)| format!("{direction} {task}{form} | cuDNN engine {way}"));
    assert_eq!(ways, wanted);
    assert_eq!(backend.notes(), [] as [&str; 0]);
    // Scratch is that of what was chosen: preparing again, now from what is known, asks for nothing more.
    assert_eq!(backend.prepare(&ops).expect("prepared"), scratch);
    same(&mut backend, &mut crate::backend(Choice::Simt, off()), &op);
}

fn training(op: Conv2d) -> Vec<Op> {
    let backward = [Op::Conv2dBackwardData(op), Op::Conv2dBackwardWeight(op)];
    let before = Combine::new(op.n(), op.h(), op.w(), op.c(), op.dtype()).expect("is valid");
    let norm = BatchNorm::new(op.c(), op.n() * op.h() * op.w(), 1e-5, 0.1, true).expect("is valid");
    // Of a block's value, and behind a normalisation.
    let forward =
        [Op::Combine(before), Op::Conv2d(op), Op::Combine(before), Op::BatchNorm(norm), Op::Conv2d(op)];
    forward.into_iter().chain(backward).collect()
}

/// Fused ways give the bits of this crate's kernels, sums and masks and shortcuts included, in every type that is fused.
#[test]
fn what_is_fused_computes_what_ordinary_units_compute() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("temporary folder");
    let narrow = Tuning { narrow_gradients: true, narrow_norms: true, ..on(&folder) };
    // In groups, because then this crate has ordinary units only to compare with.
    let inside = |dtype| conv(8, 16, 3, 1, 2, dtype);
    for (choice, tuning, op) in [
        (Choice::Auto, on(&folder), inside(DType::Bf16)),
        (Choice::Auto, on(&folder), conv(16, 8, 3, 2, 2, DType::Bf16)), // the first of a block
        (Choice::Cudnn, on(&folder), inside(DType::F16)),
        (Choice::Tf32, on(&folder), inside(DType::F32)),
        (Choice::Cudnn, narrow, conv(16, 24, 1, 1, 2, DType::F16)), // the last of a block
    ] {
        let mut fused = backend(choice, tuning.clone());
        fused.prepare(&training(op)).expect("prepared");
        same(&mut fused, &mut backend(Choice::Simt, off()), &op);
        let ways = ways(&fused).join("\n");
        let norms = if tuning.narrow_norms { "narrowly normalised" } else { "normalised" };
        let statistics = if tuning.narrow_norms { "statistics, directly" } else { "statistics" };
        for way in [
            format!("{norms} forward with {statistics}"),
            "backward-data through a normalisation with mask and sums".to_owned(),
            "backward-data through a normalisation with shortcut, mask and sums".to_owned(),
            "backward-data through a normalisation with shortcut, mask and sums for two".to_owned(),
        ] {
            assert!(ways.contains(&format!("cuDNN engine 63 for {way}")), "{way} in {ways}");
        }
        let weight = "cuDNN engine 63 for narrowly normalised backward-weight in the tensors' type";
        assert_eq!(ways.contains(weight), tuning.narrow_norms, "{ways}");
    }
}

/// Three training steps and an inference of a residual network with everything fused stay within the reference's bound.
#[test]
fn a_network_trains_through_what_is_fused() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("temporary folder");
    // Channels that fill vectors of 16 bytes.
    let spec = ResNetSpec {
        widths: [8, 16].map(|middle| Width { middle, out: middle }).to_vec(),
        stem_width: 8,
        ..tiny(Variant::V1, Block::Basic, Shortcut::Projection)
    };
    trains(|| backend(Choice::Cudnn, on(&folder)), DType::Bf16, spec.clone());

    // What it took is on disk.
    let options = LowerOptions { dtype: DType::Bf16, ..LowerOptions::train(4) };
    let program = lower(&spec.build().expect("is valid"), options, &|_| false).expect("lowers");
    let ops: Vec<Op> = program.forward.iter().chain(&program.backward).flat_map(Step::ops).collect();
    let mut again = backend(Choice::Cudnn, Tuning { on: false, ..on(&folder) });
    again.prepare(&ops).expect("prepared");
    let ways = ways(&again).join("\n");
    for way in [
        "normalised forward with statistics",
        "backward-data through a normalisation with mask and sums",
        "backward-data through a normalisation with shortcut, mask and sums",
        "backward-data through a normalisation with shortcut, mask and sums for two",
    ] {
        assert!(
            ways.lines().any(|line| line.ends_with(&format!(" | cuDNN engine 63 for {way}"))),
            "{way} in {ways}"
        );
    }
}

/// The trial sees a halo that is not zero after the prologue, and sums that are not those of the result.
#[test]
fn a_wrong_halo_and_wrong_sums_are_found() {
    let _alone = alone();
    let shape = |k: usize| format!("bf16 2×7×6×8 to {k}, 3×3 stride 1 padding 1 in 2 groups");
    for (k, found) in [
        (
            48,
            [("forward", "normalised, sums", "normalised forward with statistics", "33", "results")]
                .as_slice(),
        ),
        (
            80,
            &[
                (
                    "backward-data",
                    "through a normalisation, mask and sums",
                    "backward-data through a normalisation with mask and sums",
                    "34",
                    "second sums",
                ),
                (
                    "backward-data",
                    "through a normalisation, shortcut, mask and sums for two",
                    "backward-data through a normalisation with shortcut, mask and sums for two",
                    "34",
                    "fourth sums",
                ),
            ],
        ),
    ] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut backend = backend(Choice::Cudnn, on(&folder));
        backend.prepare(&training(conv(8, k, 3, 1, 2, DType::Bf16))).expect("prepared");
        let (ways, notes) = (ways(&backend), backend.notes().join("\n"));
        for (direction, form, pattern, engine, what) in found {
            let task = format!("{direction} {}, {form}", shape(k));
            let why = format!("{task}: cuDNN engine {engine} for {pattern}: its {what} are");
            assert!(notes.contains(&why), "{why} in {notes}");
            let wanted = format!("{task} | cuDNN engine 63 for {pattern}");
            assert!(ways.contains(&wanted), "{wanted} in {ways:#?}");
        }
    }
}

#[test]
fn what_is_wrong_or_refused_is_left_out_and_said() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("temporary folder");
    for (k, why) in [
        (56, "engine 30 for forward: its results are"),
        (
            40,
            "engine 31 for forward: cudnnBackendFinalize of an execution plan: CUDNN_STATUS_NOT_SUPPORTED (engine 31 never works)",
        ),
        (
            72,
            "cudnnBackendExecute of an execution plan: CUDNN_STATUS_EXECUTION_FAILED (engine 32 fails when it runs)",
        ),
    ] {
        let mut backend = backend(Choice::Cudnn, on(&folder));
        backend.prepare(&[Op::Conv2d(conv(16, k, 1, 1, 8, DType::F16))]).expect("prepared");
        let (ways, notes) = (ways(&backend), backend.notes().join("\n"));
        assert!(notes.contains(why), "{k}: {notes}");
        assert!(
            !notes.contains("engine 5 ") && !notes.contains("engine 9 "),
            "they are not even tried: {notes}"
        );
        assert!(ways.iter().any(|way| way.ends_with("| cuDNN engine 61 for forward")), "{ways:#?}");
    }
}

/// Where nothing was tried before, a plan that fails is replaced when it does.
#[test]
fn a_plan_that_fails_when_it_runs_is_replaced() {
    let _alone = alone();
    let op = conv(16, 72, 1, 1, 8, DType::F16);
    let mut cudnn = backend(Choice::Cudnn, off());
    let (exact, _) = all_directions(&mut cudnn, &op);
    let (wanted, _) = all_directions(&mut backend(Choice::Simt, off()), &op);
    assert_eq!(exact, wanted);
    let notes = cudnn.notes().join("\n");
    assert!(
        notes.contains("engine 32 fails when it runs") && notes.contains("; ordinary units from now on"),
        "{notes}"
    );
}

/// Hopper's products get their tensors described by the driver, which checks the descriptions.
#[test]
fn tensors_are_described_to_hoppers_products() {
    let _alone = alone();
    let mut wgmma = backend(Choice::Wgmma, off());
    same(&mut wgmma, &mut backend(Choice::Simt, off()), &conv(40, 24, 1, 1, 1, DType::Bf16));

    // On the clock of the fake device they are slow, but they are tried, and agree.
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut auto = backend(Choice::Auto, on(&folder));
    auto.prepare(&step(conv(16, 16, 1, 1, 1, DType::Bf16))).expect("prepared");
    let notes = auto.notes().join("\n");
    assert!(!notes.contains("wgmma 128×64"), "{notes}");
    assert!(notes.contains("tiles of wgmma 128×128: "), "this device lacks its kernels: {notes}");
}

/// A captured step makes no plan, asks for no memory, and gives the same bits whenever it is replayed.
#[test]
fn a_step_is_captured() {
    let _alone = alone();
    let op = conv(16, 24, 3, 1, 1, DType::F32);
    let mut backend = backend(Choice::Cudnn, off());
    backend
        .prepare(&[Op::Conv2d(op), Op::Conv2dBackwardData(op), Op::Conv2dBackwardWeight(op)])
        .expect("prepared");
    let mut buffer = |desc: &TensorDesc, value: f32| {
        let bytes = backend.buffer_bytes(desc);
        let mut buffer = backend.alloc(bytes).expect("fits");
        let values = vec![value; desc.len()];
        backend.upload(desc, resnet_core::HostData::F32(&values), &mut buffer).expect("copied");
        buffer
    };
    let (x, w) = (buffer(&op.x_desc(), 1.0), buffer(&op.w_desc(), 2.0));
    let (mut y, mut dx, mut dw) =
        (buffer(&op.y_desc(), 0.0), buffer(&op.x_desc(), 0.0), buffer(&op.w_desc(), 0.0));
    let key = backend.new_recording();
    let mut issued = 0;
    for _ in 0..4 {
        backend
            .recorded(key, |backend| {
                issued += 1;
                backend.conv2d(&op, Source::raw(&x), &w, None, &mut y, None)?;
                backend.conv2d_backward_data(&op, GradSource::raw(&y), &w, GradOut::set(&mut dx))?;
                let (x, dy) = (Source::raw(&x), GradSource::raw(&y));
                backend.conv2d_backward_weight(&op, x, dy, &mut dw, None, Accumulate::Add)
            })
            .expect("runs");
    }
    assert_eq!(issued, 2, "once to run, once to record");
    let mut read = |desc: &TensorDesc, buffer| {
        let mut values = vec![0.0; desc.len()];
        backend.download(desc, buffer, resnet_core::HostDataMut::F32(&mut values)).expect("copied");
        values
    };
    // Inside, all nine taps of sixteen channels of ones and twos; at a corner four of them.
    assert_eq!(read(&op.y_desc(), &y)[0], 4.0 * 16.0 * 2.0);
    assert!(read(&op.x_desc(), &dx).iter().all(|&v| v > 0.0));
    // Added four times: the centre tap of one channel pair sees every pixel.
    let sum: f32 = read(&op.y_desc(), &y).iter().step_by(op.k()).sum();
    assert_eq!(read(&op.w_desc(), &dw)[(op.r() / 2 * op.s() + op.s() / 2) * op.c()], 4.0 * sum);
    assert!(ways(&backend).iter().all(|way| way.contains("cuDNN engine 1 ")), "{:#?}", ways(&backend));
}

/// So is one whose convolutions have prologues, masks and sums in their graphs.
#[test]
fn a_fused_step_is_captured() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("temporary folder");
    let op = conv(8, 16, 1, 1, 2, DType::Bf16);
    let mut backend = backend(Choice::Cudnn, on(&folder));
    backend.prepare(&training(op)).expect("prepared");
    let (c, k) = (op.c(), op.k());
    let mut buffer = |desc: &TensorDesc| {
        let bytes = backend.buffer_bytes(desc);
        let mut buffer = backend.alloc(bytes).expect("fits");
        let values: Vec<f32> = (0..desc.len()).map(|i| (i % 5) as f32 - 2.0).collect();
        backend.upload(desc, resnet_core::HostData::F32(&values), &mut buffer).expect("copied");
        buffer
    };
    let (x, w) = (buffer(&op.x_desc()), buffer(&op.w_desc()));
    let (affine, moments, coeffs) =
        (buffer(&TensorDesc::affine(c)), buffer(&TensorDesc::moments(c)), buffer(&TensorDesc::coeffs(k)));
    let [mut y, mut dx] = [op.y_desc(), op.x_desc()].map(|desc| buffer(&desc));
    let [mut sums, mut grad_sums] = [k, c].map(|c| {
        let bytes = backend.buffer_bytes(&TensorDesc::sums(c));
        backend.alloc(bytes).expect("fits")
    });
    let key = backend.new_recording();
    let (mut issued, mut seen) = (0, Vec::new());
    for _ in 0..4 {
        backend
            .recorded(key, |backend| {
                issued += 1;
                let normalised = Source { affine: Some(&affine), relu: true, ..Source::raw(&x) };
                backend.conv2d(&op, normalised, &w, None, &mut y, Some(&mut sums))?;
                let dy =
                    GradSource { norm: Some(GradNorm { coeffs: &coeffs, y: &y }), ..GradSource::raw(&y) };
                let to = GradSums { y: &x, moments: &moments, sums: &mut grad_sums };
                let out = GradOut { mask: Some(normalised), sums: [Some(to), None], ..GradOut::set(&mut dx) };
                backend.conv2d_backward_data(&op, dy, &w, out)
            })
            .expect("runs");
        let mut read = |desc: TensorDesc, buffer| {
            let mut values = vec![0.0; desc.len()];
            backend.download(&desc, buffer, resnet_core::HostDataMut::F32(&mut values)).expect("copied");
            values
        };
        seen.push([read(op.y_desc(), &y), read(op.x_desc(), &dx)]);
    }
    assert_eq!(issued, 2, "once to run, once to record");
    assert!(seen.iter().all(|step| *step == seen[0]) && seen[0].iter().flatten().any(|&v| v != 0.0));
    let ways = ways(&backend).join("\n");
    assert!(ways.contains("sums | cuDNN engine 63 for normalised forward with statistics"), "{ways}");
    assert!(ways.contains("63 for backward-data through a normalisation with mask and sums\n"), "{ways}");
}

#[test]
fn without_cudnn_kernels_of_this_crate_are_taken_unless_it_is_forced() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("temporary folder");
    for name in ["libcuda.so.1", "libnvrtc.so.13"] {
        std::fs::copy(libraries().join(name), folder.path().join(name)).expect("copied");
    }
    let open = |choice| {
        let search = Search { folders: vec![folder.path().to_owned()], system: false };
        let device = probe(&search, 0).expect("all is there");
        let gpu = Gpu::open(&search, device, None).expect("opens");
        CudaBackend::on(Box::new(gpu)).expect("kernels load").with_choice(choice).with_tuning(off())
    };
    let op = Op::Conv2d(conv(16, 16, 3, 1, 1, DType::Bf16));
    let mut auto = open(Choice::Auto);
    auto.prepare(&[op]).expect("does without");
    let notes = auto.notes().join("\n");
    assert!(
        notes.contains("convolutions run without cuDNN: cuDNN needs cuBLASLt, which was not found"),
        "{notes}"
    );
    let error = open(Choice::Cudnn).prepare(&[op]).expect_err("is forced").to_string();
    assert!(
        error.contains("RESNET_CUDA_KERNEL=cudnn") && error.contains("pip install nvidia-cublas"),
        "{error}"
    );
    // The emulator has none either.
    let error =
        common::emulated().with_choice(Choice::Cudnn).prepare(&[op]).expect_err("is forced").to_string();
    assert!(error.contains("cuDNN runs on NVIDIA devices, and this backend is emulated"), "{error}");
}
