//! What kernels must compute: conformance, tensor cores, memory checking. Each is a program of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::Target;
use crate::apart::LEAST;
use crate::programs::{Clock, Programs, run};
use crate::report::{Outcome, Report, block};

/// A program of tests on the device, the kernels it is to run with, and tests it leaves out.
struct Suite {
    program: &'static str,
    title: &'static str,
    /// `RESNET_CUDA_KERNEL`.
    kernel: &'static str,
    /// Tests it is about; all where none is named.
    only: &'static [&'static str],
    skip: &'static [&'static str],
}

const fn suite(program: &'static str, title: &'static str, kernel: &'static str) -> Suite {
    Suite { program, title, kernel, only: &[], skip: &[] }
}

/// Rounded to tf32, no convolution of f32 stays within f32's bounds; `choice-tests` holds it to numbers that tf32 has exactly.
const NOT_TF32: &[&str] = &["conv2d", "train", "grouped_is_one", "padding_is_zeros", "add_is_set"];

/// The most important first.
const SUITES: [Suite; 9] = [
    suite("gpu-tests", "Conformance suite on the device", "tensor"),
    suite("tensor-tests", "Tensor cores against f64", "tensor"),
    Suite {
        only: &["tensor_cores"],
        ..suite("choice-tests", "Tensor cores against ordinary units", "tensor")
    },
    suite("gpu-tests", "Conformance suite by cuDNN", "cudnn"),
    Suite { only: &["cudnn"], ..suite("choice-tests", "cuDNN against ordinary units", "cudnn") },
    Suite {
        only: &["bf16::"],
        ..suite("gpu-tests", "Conformance suite on Hopper's warpgroups, bf16", "wgmma")
    },
    Suite {
        only: &["warpgroups"],
        ..suite("choice-tests", "Hopper's warpgroups against ordinary units", "wgmma")
    },
    suite("gpu-tests", "Conformance suite on ordinary units", "simt"),
    Suite { skip: NOT_TF32, ..suite("gpu-tests", "Conformance suite with tf32, convolutions apart", "tf32") },
];

fn run_suite(
    programs: &Programs,
    target: Target,
    suite: &Suite,
    limit: Duration,
) -> Result<(Outcome, String)> {
    let mut command = Command::new(programs.file(suite.program)?);
    // One test at a time: a stream that is captured does not like what other threads do to its device.
    command.arg("--test-threads=1").args(suite.only);
    suite.skip.iter().for_each(|test| {
        command.args(["--skip", test]);
    });
    lend(&mut command, target);
    command.env("RESNET_CUDA_KERNEL", suite.kernel).env("RESNET_CUDA_TUNING", "off");
    let output = run(&mut command, limit)?;
    let summary =
        output.stdout.lines().find(|line| line.starts_with("test result:")).unwrap_or("no result").to_owned();
    if !output.success {
        return Ok((Outcome::Failed(summary), block(&output.tail(60))));
    }
    Ok((Outcome::Passed, summary))
}

/// Tells a test program what to run on, and that skipping is a failure.
fn lend(command: &mut Command, target: Target) {
    match target {
        Target::Device(ordinal) => {
            command.env("RESNET_TEST_MACHINE", format!("gpu{ordinal}")).env("RESNET_TEST_REQUIRE_GPU", "1");
        }
        Target::Emulator => {
            command.env("RESNET_TEST_MACHINE", "emulator").env("RESNET_TEST_REQUIRE_EMULATOR", "1");
            command.env("RESNET_CONFORMANCE_CASES", "2").env("RESNET_TENSOR_CASES", "2");
        }
    }
}

/// Longest for one suite on a device. The emulator takes its time.
fn limit(target: Target, clock: &Clock, share: f64) -> Duration {
    let left = clock.left_of(share);
    if target == Target::Emulator { left } else { left.min(Duration::from_secs(90)) }
}

/// All suites, within this share of the time.
pub(crate) fn run_all(report: &mut Report, target: Target, programs: &Programs, clock: &Clock, share: f64) {
    for suite in SUITES {
        if target == Target::Emulator && suite.kernel == "cudnn" {
            report.add(suite.title, Outcome::left_out("cuDNN runs on no emulator"), "");
            continue;
        }
        let limit = limit(target, clock, share);
        if limit < LEAST {
            report.add(suite.title, Outcome::left_out("the time for suites was over"), "");
            continue;
        }
        report.step(suite.title, || run_suite(programs, target, &suite, limit));
    }
}

/// NVIDIA's checker of memory accesses over the smallest cases; where it is not installed, guard words of our own around every tensor.
pub(crate) fn memory(
    programs: &Programs,
    target: Target,
    clock: &Clock,
    share: f64,
) -> Result<(Outcome, String)> {
    let limit = limit(target, clock, share);
    if limit < LEAST {
        return Ok((Outcome::left_out("the time was over"), String::new()));
    }
    let tests = programs.file("gpu-tests")?;
    let tool = if target == Target::Emulator { None } else { find_sanitizer() };
    let (mut command, filters, what) = match &tool {
        Some(tool) => {
            let mut command = Command::new(tool);
            command.args(["--tool", "memcheck", "--error-exitcode", "9"]).arg(tests);
            (command, ["conv2d", "combine", "max_pool", "gather"].as_slice(), "compute-sanitizer, memcheck")
        }
        None => {
            let filters = ["nothing_behind_a_tensor", "short_buffers", "gather"].as_slice();
            (Command::new(tests), filters, "guard words behind every tensor (compute-sanitizer is not here)")
        }
    };
    command.arg("--test-threads=1").args(filters);
    lend(&mut command, target);
    command.env("RESNET_CONFORMANCE_CASES", if target == Target::Emulator { "2" } else { "4" });
    let output = run(&mut command, limit)?;
    let outcome = if output.success { Outcome::Passed } else { Outcome::Failed("see below".to_owned()) };
    let said = block(&output.tail(if output.success { 3 } else { 60 }));
    Ok((outcome, format!("By {what}.\n\n{said}")))
}

fn find_sanitizer() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default();
    let toolkits = [std::env::var_os("CUDA_PATH").map(PathBuf::from), Some(PathBuf::from("/usr/local/cuda"))];
    let folders = path.into_iter().chain(toolkits.into_iter().flatten().map(|toolkit| toolkit.join("bin")));
    folders.map(|folder| folder.join("compute-sanitizer")).find(|file| file.is_file())
}
