//! The memory that the standard cases are planned to take. Plans are made, tensors are not.
#![allow(clippy::unwrap_used)] // a failure is a failed test

use resnet_benches::{CASES, Case};
use resnet_core::{Backend, DType, Executor, LowerOptions, Plan};
use resnet_cpu::{CpuBackend, Kernel};

/// MiB of activations and their gradients, in f32 and in bf16, in the order of [`CASES`].
const PINNED_MIB: [[f64; 2]; 6] =
    [[72.0, 36.4], [778.5, 393.8], [1085.7, 544.4], [151.5, 75.8], [8.4, 4.2], [269.5, 134.8]];

/// A plan that has become smaller by more than this share needs a new pin, or the old one guards nothing.
const SLACK: f64 = 0.02;

/// The peak of PyTorch 2.15's training step of ResNet-50 at 224 pixels with 16 pictures, channels-last, in MiB, and the share of it
/// that this project's may take. What the backend needs for itself comes on top; how much depends on the machine.
const TORCH_RESNET50_MIB: f64 = 2565.0;
const SHARE_OF_TORCH: f64 = 0.6;

fn plan(case: &Case, dtype: DType) -> Plan {
    // The layout of tensors is the same for all kernels.
    let backend = CpuBackend::with_kernel(Some(1), Kernel::Portable).unwrap();
    let graph = case.network().unwrap();
    let options = if case.trains { LowerOptions::train(case.batch) } else { LowerOptions::infer(case.batch) };
    let options = LowerOptions { dtype, ..options };
    Executor::planned(&backend, &graph, options).unwrap().1
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[test]
fn plans_do_not_grow() {
    let mut wrong = vec![];
    for (case, pinned) in CASES.iter().zip(PINNED_MIB) {
        for (dtype, pinned) in [DType::F32, DType::Bf16].into_iter().zip(pinned) {
            let plan = plan(case, dtype);
            let planned = mib(plan.activation_bytes());
            println!("{case}, {dtype:?}: {planned:.1} MiB, {:.1} unshared", mib(plan.unshared_bytes));
            // Pins have one decimal.
            if planned > pinned + 0.05 {
                wrong.push(format!("{case}, {dtype:?}: {planned:.1} MiB planned, {pinned} pinned"));
            } else if planned < (1.0 - SLACK) * pinned {
                wrong.push(format!(
                    "{case}, {dtype:?}: {planned:.1} MiB planned; pin that in place of {pinned}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn resnet50_trains_in_six_tenths_of_pytorchs_memory() {
    let case = CASES.iter().find(|case| case.trains && case.arch == "resnet50").unwrap();
    let backend = CpuBackend::with_kernel(Some(1), Kernel::Portable).unwrap();
    let plan = plan(case, DType::F32);
    // Value, gradient and momentum of each parameter, running statistics counted as if they had them too.
    let weights: usize =
        case.network().unwrap().params().iter().map(|param| 3 * backend.buffer_bytes(&param.desc())).sum();
    let planned = mib(plan.activation_bytes() + plan.table_bytes + weights);
    println!("{case}: {planned:.0} MiB with weights");
    assert!(planned <= SHARE_OF_TORCH * TORCH_RESNET50_MIB, "{planned:.0} MiB");
}
