//! After the first steps a step neither allocates nor meets a page fault.
//!
//! One test in a program of its own: the allocator counts for the whole process.
#![allow(clippy::unwrap_used)] // a failure is a failed test

use std::alloc::System;

use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{DType, Executor, LowerOptions, Params, TrainingStep, init, zoo};
use resnet_cpu::{CpuBackend, Kernel};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Pages that were mapped when they were touched, since the process began. Linux only.
fn page_faults() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold spaces; `minflt` is the tenth.
    stat.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok()
}

const BATCH: usize = 16;
const WARM_UP_STEPS: usize = 3;
const STEPS: usize = 4;

#[test]
fn a_step_allocates_nothing() {
    let emulated = Kernel::AmxEmulated;
    let cases = [
        ("resnet20-cifar", 32, Kernel::Auto, DType::F32),
        ("resnet20-cifar", 32, Kernel::Auto, DType::Bf16),
        ("resnet18", 32, Kernel::Auto, DType::F32),
        ("resnet18", 32, Kernel::Auto, DType::Bf16),
        ("resnet20-cifar", 8, emulated, DType::F32),
        ("resnet20-cifar", 8, emulated, DType::Bf16),
    ];
    for (arch, extent, kernel, dtype) in cases {
        let spec = zoo::ResNetSpec { height: extent, width: extent, ..zoo::arch(arch).unwrap() };
        let graph = spec.build().unwrap();
        let mut backend = CpuBackend::with_kernel(Some(2), kernel).unwrap();
        let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
        let values = init::initial_values(&graph, 0);
        let mut params = Params::<CpuBackend>::new(&mut backend, &graph, &values, Some(&rule)).unwrap();
        let mut net =
            Executor::new(&mut backend, &graph, LowerOptions { dtype, ..LowerOptions::train(BATCH) }, 0.0)
                .unwrap();
        net.set_scalars(&mut backend, &StepScalars { lr: 0.01, ..StepScalars::default() }).unwrap();
        let pixels = vec![7; BATCH * spec.height * spec.width * spec.channels];
        let labels = vec![1; BATCH];
        let mut training = TrainingStep::new(rule);
        let mut step = || {
            training.run(&mut backend, &mut net, &mut params, &pixels, &labels).unwrap();
            net.metrics(&mut backend).unwrap()
        };
        for _ in 0..WARM_UP_STEPS {
            step();
        }
        let faults = page_faults();
        let region = Region::new(ALLOCATOR);
        for _ in 0..STEPS {
            step();
        }
        let counted = region.change();
        let faults = faults.zip(page_faults()).map(|(before, after)| after - before);
        println!(
            "{arch}, {dtype:?}, {kernel}: {} allocations, {faults:?} page faults in {STEPS} steps",
            counted.allocations
        );
        assert_eq!(
            counted.allocations + counted.reallocations,
            0,
            "{arch}, {dtype:?}, {kernel}: {counted:?}"
        );
        // The system may move a page once in a while; memory that is mapped and given back would show as thousands.
        assert!(
            faults.is_none_or(|faults| faults <= STEPS as u64),
            "{arch}, {dtype:?}, {kernel}: {faults:?} page faults"
        );
    }
}
