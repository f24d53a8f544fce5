//! What cuDNN accepts for an H200 and an A100, from their descriptions: no device and no driver are needed.
//!
//! `cargo xtask cuda-wheels --cudnn` fetches the libraries. Without them these tests print `SKIPPED`;
//! `RESNET_TEST_REQUIRE_CUDNN=1` makes that a failure.

#![cfg(target_os = "linux")]

mod fake;

use std::path::Path;
use std::sync::OnceLock;

use resnet_core::DType;
use resnet_core::op::{Conv2d, Padding};
use resnet_cuda::Search;
use resnet_cuda::cudnn::names::DataType;
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

#[test]
fn plain_convolutions_have_engines_and_plans() {
    let Some(cudnn) = cudnn() else { return };
    for (name, json) in [("H200", device::H200), ("A100", device::A100)] {
        let target = Target::described(&cudnn, json).expect("is a description");
        for shape in SHAPES {
            for pattern in [Pattern::Forward, Pattern::BackwardData, Pattern::BackwardWeight] {
                for data in [DataType::Half, DataType::Bfloat16] {
                    let what = format!("{pattern:?} {data:?} {shape:?} on {name}, {cudnn:?}");
                    let graph =
                        pattern.graph(&cudnn, &conv(shape), data).unwrap_or_else(|e| panic!("{what}: {e}"));
                    let engines = target.engines(graph).unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert!(
                        engines.iter().any(|engine| engine.deterministic),
                        "{what}: no deterministic engine"
                    );
                    let ready = engines.iter().find(|engine| !engine.compiled_at_run_time);
                    let ready =
                        ready.unwrap_or_else(|| panic!("{what}: no engine is there without compiling"));
                    let plan =
                        target.plan(ready).unwrap_or_else(|e| panic!("{what}: engine {}: {e}", ready.index));
                    assert!(plan.workspace_bytes().expect("told") < 4 << 30, "{what}");
                }
            }
        }
    }
}

#[test]
fn fused_graphs_are_accepted() {
    let Some(cudnn) = cudnn() else { return };
    let target = Target::described(&cudnn, device::H200).expect("is a description");
    let mut none = Vec::new();
    for shape in SHAPES.into_iter().take(7) {
        for pattern in Pattern::ALL {
            // Towards the input with a stride there is no epilogue: cuDNN says so in its documentation.
            let strided =
                shape.4 > 1 && matches!(pattern, Pattern::BackwardDataMasked | Pattern::BackwardDataShortcut);
            for data in [DataType::Half, DataType::Bfloat16] {
                let graph = pattern.graph(&cudnn, &conv(shape), data).expect("described");
                match target.engines(graph) {
                    Ok(engines) if engines.is_empty() && !strided => {
                        none.push(format!("{pattern:?} {data:?} {shape:?}"))
                    }
                    Err(error) if !strided => none.push(format!("{pattern:?} {data:?} {shape:?}: {error}")),
                    _ => {}
                }
            }
        }
    }
    assert!(none.is_empty(), "{cudnn:?} has no engine for:\n{}", none.join("\n"));
}

#[test]
fn a_plan_survives_as_text() {
    let Some(cudnn) = cudnn() else { return };
    let target = Target::described(&cudnn, device::H200).expect("is a description");
    let graph = Pattern::Forward.graph(&cudnn, &conv(SHAPES[1]), DataType::Bfloat16).expect("described");
    let engines = target.engines(graph).expect("asked");
    let engine = engines.iter().find(|engine| !engine.compiled_at_run_time).expect("is there");
    let plan = target.plan(engine).expect("planned");
    let json = plan.json().expect("told");
    let again = target.plan_from_json(&json).unwrap_or_else(|error| panic!("{error}\n{json}"));
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
