//! After the first two steps a step neither allocates nor meets a page fault, in training and in inference.
//!
//! One test in a program of its own: the allocator counts for the whole process.
//! Trainer and loader are held to the same in `resnet-train/tests/steady_state.rs`.
#![allow(clippy::unwrap_used)] // a failure is a failed test

use std::alloc::System;

use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{DType, Executor, Graph, LowerOptions, Params, TrainingStep, init, zoo};
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
const WARM_UP_STEPS: usize = 2;
const STEPS: usize = 4;
const RULE: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };

#[test]
fn a_step_allocates_nothing() {
    let emulated = Kernel::AmxEmulated;
    // The zero-padded shortcuts of CIFAR's network, projections, bottlenecks, and one picture at a time.
    let cases = [
        ("resnet20-cifar", 32, Kernel::Auto),
        ("resnet18", 32, Kernel::Auto),
        ("resnet18", 32, Kernel::Strict),
        ("resnet50", 32, Kernel::Auto),
        ("resnet20-cifar", 8, emulated),
    ];
    for (arch, extent, kernel) in cases {
        let graph = zoo::arch(arch).unwrap().size(extent, extent).build().unwrap();
        for dtype in [DType::F32, DType::Bf16] {
            let case = format!("{arch}, {dtype:?}, {kernel}");
            trains(&graph, kernel, dtype, &case);
            for batch in [BATCH, 1] {
                infers(&graph, kernel, dtype, batch, &case);
            }
        }
    }
}

/// With the norm of the gradients, which clips them.
fn trains(graph: &Graph, kernel: Kernel, dtype: DType, case: &str) {
    let mut backend = CpuBackend::with_kernel(Some(2), kernel).unwrap();
    let values = init::initial_values(graph, 0);
    let mut params = Params::<CpuBackend>::new(&mut backend, graph, &values, Some(&RULE)).unwrap();
    let options = LowerOptions { dtype, ..LowerOptions::train(BATCH) };
    let mut net = Executor::new(&mut backend, graph, options, 0.1).unwrap();
    let mut training = TrainingStep::new(RULE).with_norm(&mut backend).unwrap();
    let scalars = StepScalars { lr: 0.01, max_norm: 1.0, ..StepScalars::default() };
    let pixels = vec![7; BATCH * graph.input_shape().len()];
    let labels = vec![1; BATCH];
    allocates_nothing(&format!("{case}, training"), || {
        net.set_scalars(&mut backend, &scalars).unwrap();
        training.run(&mut backend, &mut net, &mut params, &pixels, &labels).unwrap();
        net.metrics(&mut backend).unwrap();
        training.norm(&mut backend).unwrap();
    });
}

fn infers(graph: &Graph, kernel: Kernel, dtype: DType, batch: usize, case: &str) {
    let mut backend = CpuBackend::with_kernel(Some(2), kernel).unwrap();
    let values = init::initial_values(graph, 0);
    let mut params = Params::<CpuBackend>::new(&mut backend, graph, &values, None).unwrap();
    let options = LowerOptions { dtype, ..LowerOptions::infer(batch) };
    let mut net = Executor::new(&mut backend, graph, options, 0.0).unwrap();
    let pixels = vec![7; batch * graph.input_shape().len()];
    let mut logits = Vec::new();
    allocates_nothing(&format!("{case}, inference of {batch}"), || {
        net.load_pixels(&mut backend, &pixels).unwrap();
        net.forward(&mut backend, &mut params).unwrap();
        net.logits_into(&mut backend, &mut logits).unwrap();
    });
}

fn allocates_nothing(case: &str, mut step: impl FnMut()) {
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
    println!("{case}: {} allocations, {faults:?} page faults in {STEPS} steps", counted.allocations);
    assert_eq!(counted.allocations + counted.reallocations, 0, "{case}: {counted:?}");
    // The system may move a page once in a while; memory that is mapped and given back would show as thousands.
    assert!(faults.is_none_or(|faults| faults <= STEPS as u64), "{case}: {faults:?} page faults");
}
