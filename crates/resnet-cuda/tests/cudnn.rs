//! What cuDNN accepts for an H200 and an A100, from their descriptions: no device and no driver are needed.
//!
//! `cargo xtask cuda-wheels --cudnn` fetches the libraries. Without them these tests print `SKIPPED`;
//! `RESNET_TEST_REQUIRE_CUDNN=1` makes that a failure.

#![cfg(target_os = "linux")]

mod fake;

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use resnet_core::lower::{Step, lower};
use resnet_core::op::{Conv2d, Op, Padding};
use resnet_core::{DType, LowerOptions};
use resnet_cuda::Search;
use resnet_cuda::choice::graphs::Narrow;
use resnet_cuda::choice::task::Task;
use resnet_cuda::cudnn::convolution::Convolutions;
use resnet_cuda::cudnn::names::DataType;
use resnet_cuda::cudnn::pattern::{Before, End};
use resnet_cuda::cudnn::plan::Rounding;
use resnet_cuda::cudnn::{Cudnn, CudnnError, Pattern, Target, device};
use resnet_cuda::search::Environment;
use tempfile::TempDir;

/// A driver that does nothing, for the engines that want to see one. Made once, because a driver is loaded once.
fn idle_driver() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("temporary folder");
        fake::rustc("idle.rs", &folder.path().join("libcuda.so.1"), |command| {
            command.arg("-Clink-arg=-Wl,-soname,libcuda.so.1");
        });
        folder
    });
    folder.path()
}

fn cudnn() -> Option<Cudnn> {
    let mut search = Search::usual(&Environment::of_process());
    search.folders.push(idle_driver().to_owned());
    match Cudnn::load(&search) {
        Ok(cudnn) => Some(cudnn),
        Err(error) => {
            assert!(std::env::var_os("RESNET_TEST_REQUIRE_CUDNN").is_none(), "{error}");
            eprintln!("SKIPPED: {error}; `cargo xtask cuda-wheels --cudnn` fetches it");
            None
        }
    }
}

/// c, size, k, window, stride: the kinds of convolution that ResNet-50 and ResNet-18 are made of.
const SHAPES: [(usize, usize, usize, usize, usize); 8] = [
    (64, 56, 64, 1, 1),
    (64, 56, 64, 3, 1),
    (64, 56, 256, 1, 1),
    (128, 56, 128, 3, 2),
    (256, 56, 512, 1, 2),
    (256, 14, 256, 3, 1),
    (512, 7, 2048, 1, 1),
    (8, 224, 64, 7, 2),
];

fn conv((c, size, k, window, stride): (usize, usize, usize, usize, usize)) -> Conv2d {
    let padding = Padding::all(window / 2);
    Conv2d::new((256, size, size, c), k, (window, window), stride, padding, 1, DType::Bf16).expect("is valid")
}

/// The convolutions of a training step of 256 pictures, as the backend asks for them.
fn tasks(arch: &str, dtype: DType) -> Vec<Task> {
    let graph = resnet_core::zoo::arch(arch).expect("is known").build().expect("is valid");
    let options = LowerOptions { dtype, ..LowerOptions::train(256) };
    let program = lower(&graph, options, &|_| false).expect("lowers");
    let ops: Vec<Op> = program.forward.iter().chain(&program.backward).flat_map(Step::ops).collect();
    Task::likely(&ops)
}

/// Every convolution of a step has an engine that may be taken, and its plan can be made, for each device and type.
/// Gradients of weights in f32 from operands of 16 bits are not among them: not every version has an engine for those.
#[test]
fn convolutions_of_residual_networks_have_plans() {
    let Some(cudnn) = cudnn() else { return };
    for (name, json, arch, dtype) in [
        ("H200", device::H200, "resnet50", DType::Bf16),
        ("H100", device::H100, "resnet50", DType::F16),
        ("A100", device::A100, "resnet18", DType::Bf16),
        ("A100", device::A100, "resnet50", DType::F16),
        ("H200", device::H200, "resnet18", DType::F32),
    ] {
        let target = Target::described(&cudnn, json).expect("is a description");
        let convolutions = Convolutions::new(target);
        let (mut planned, mut without) = (HashSet::new(), Vec::new());
        for task in tasks(arch, dtype) {
            let what = format!("{task} on {name}, {cudnn:?}");
            // Fused graphs have their own test.
            let pattern = task.patterns(Narrow { gradients: true, ..Narrow::default() })[0];
            if !planned.insert((pattern, task.op)) {
                continue;
            }
            let found = convolutions.candidates(pattern, &task.op, Rounding::None);
            let ready =
                found.unwrap_or_default().into_iter().find(|candidate| !candidate.is_compiled_at_run_time());
            match ready {
                Some(candidate) => {
                    let plan = convolutions.prepare(&candidate).unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert!(plan.workspace_bytes <= 1 << 30, "{what}");
                }
                None => without.push(task),
            }
        }
        assert!(without.is_empty(), "{name} {arch} {dtype:?}, {cudnn:?}: no engine for {without:#?}");
        assert!(planned.len() > 20, "{}", planned.len());
    }
}

/// Whether a graph has an engine on a device; `None` where it differs from version to version.
fn expected(pattern: Pattern, hopper: bool, data: DataType, strided: bool, version: usize) -> Option<bool> {
    let new = version >= 92_600;
    match pattern {
        Pattern::BackwardWeight { narrow: false, .. } => None,
        // All prologues of a weight gradient were compiled in advance, for f16 only.
        Pattern::BackwardWeight { x: Before::NarrowNorm, .. } => {
            if new {
                Some(data == DataType::Half)
            } else {
                None
            }
        }
        // A data gradient has a prologue from Hopper on, without strides, by engines that old versions show to a real driver only.
        Pattern::BackwardData { through_norm: true, .. } if strided || !hopper => Some(false),
        Pattern::BackwardData { through_norm: true, .. } => new.then_some(true),
        // Old versions want what is between operations of a prologue in the tensors' type.
        Pattern::Forward(Before::Norm, _) => new.then_some(true),
        Pattern::BackwardData { end: End::Nothing, .. } | Pattern::BackwardWeight { .. } => Some(true),
        // Nor are there ends for a stride everywhere.
        Pattern::BackwardData { .. } if strided => new.then_some(true),
        _ if hopper => Some(true),
        _ => new.then_some(true),
    }
}

/// Which fused graphs have an engine that may be taken, for each device, in f16 and bf16. Where cuDNN gains or loses one, it is seen here.
#[test]
fn fused_graphs_are_accepted() {
    let Some(cudnn) = cudnn() else { return };
    let mut wrong = Vec::new();
    for (name, json, shapes) in [
        ("H200", device::H200, [0, 1, 3, 4].as_slice()),
        ("H100", device::H100, &[6]),
        ("A100", device::A100, &[2, 3]),
    ] {
        let target = Target::described(&cudnn, json).expect("is a description");
        for (&shape, pattern) in
            shapes.iter().flat_map(|shape| Pattern::all().into_iter().map(move |p| (shape, p)))
        {
            let shape = SHAPES[shape];
            for data in [DataType::Half, DataType::Bfloat16] {
                let expected = expected(pattern, name != "A100", data, shape.4 > 1, cudnn.version());
                let graph = pattern.graph(&cudnn, &conv(shape), data).expect("described");
                let found = target.engines(graph).unwrap_or_default();
                let accepted = found.iter().any(|engine| engine.numerics.allowed(true, Rounding::None));
                if expected.is_some_and(|expected| expected != accepted) {
                    wrong.push(format!("{pattern} {data:?} {shape:?} on {name}: {accepted}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{cudnn:?}, whether there is an engine:\n{}", wrong.join("\n"));
}

/// In f32 nothing is expected of fused graphs, but they are asked for with tf32, so asking must be safe.
#[test]
fn fused_graphs_in_f32_are_answered() {
    let Some(cudnn) = cudnn() else { return };
    let target = Target::described(&cudnn, device::H100).expect("is a description");
    let accepted = |pattern: &Pattern| {
        let graph = pattern.graph(&cudnn, &conv(SHAPES[3]), DataType::Float).expect("described");
        target.engines(graph).is_ok_and(|engines| !engines.is_empty())
    };
    let accepted: Vec<Pattern> = Pattern::all().into_iter().filter(accepted).collect();
    assert!(accepted.contains(&Pattern::FORWARD), "{accepted:?}");
}

#[test]
fn a_plan_survives_as_text() {
    let Some(cudnn) = cudnn() else { return };
    let target = Target::described(&cudnn, device::H200).expect("is a description");
    let graph = Pattern::FORWARD.graph(&cudnn, &conv(SHAPES[1]), DataType::Bfloat16).expect("described");
    let operands = graph.operands().to_vec();
    let engines = target.engines(graph).expect("asked");
    let engine = engines.iter().find(|engine| !engine.compiled_at_run_time).expect("is there");
    let plan = target.plan(engine).expect("planned");
    let json = plan.json().expect("told");
    let again = target.plan_from_json(&json, &operands).unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(again.workspace_bytes().expect("told"), plan.workspace_bytes().expect("told"));
    assert_eq!(again.json().expect("told"), json);
}

#[test]
fn refusals_carry_what_cudnn_says() {
    let Some(cudnn) = cudnn() else { return };
    let error = Target::described(&cudnn, "no JSON").err().expect("refused");
    let CudnnError::Call { what, status, .. } = &error else { panic!("{error}") };
    assert_eq!(*what, "device properties");
    assert!(status.starts_with("CUDNN_STATUS"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let nowhere = Search { folders: vec!["no/such/folder".into()], system: false };
    let error = Cudnn::load(&nowhere).expect_err("is not there");
    assert!(matches!(error, CudnnError::NoCublasLt { .. }), "{error}");
    assert!(
        error.to_string().contains("no/such/folder") && error.to_string().contains("pip install"),
        "{error}"
    );
}
