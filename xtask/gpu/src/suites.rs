//! What kernels must compute: conformance, tensor cores, memory checking. Each is a program of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::Target;
use crate::programs::{Clock, Programs, run};
use crate::report::{Outcome, Report, block};

/// Test programs on the device, and what they hold it to.
const SUITES: [(&str, &str); 3] = [
    ("gpu-tests", "Conformance suite on the device"),
    ("tensor-tests", "Tensor cores against f64"),
    ("choice-tests", "Tensor cores against ordinary units"),
];

fn suite(programs: &Programs, target: Target, name: &str, limit: Duration) -> Result<(Outcome, String)> {
    let mut command = Command::new(programs.file(name)?);
    // One test at a time: a stream that is captured does not like what other threads do to its device.
    command.arg("--test-threads=1");
    lend(&mut command, target);
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

pub(crate) fn run_all(report: &mut Report, target: Target, programs: &Programs, clock: &Clock) {
    for (program, title) in SUITES {
        report.step(title, || suite(programs, target, program, clock.left().min(Duration::from_secs(150))));
    }
    report.step("Memory checking", || sanitizer(programs, target, clock));
}

/// NVIDIA's checker of memory accesses, over the smallest cases.
fn sanitizer(programs: &Programs, target: Target, clock: &Clock) -> Result<(Outcome, String)> {
    if target == Target::Emulator {
        return Ok((Outcome::left_out("the emulator checks every allocation itself"), String::new()));
    }
    let Some(tool) = find_sanitizer() else {
        return Ok((
            Outcome::left_out("compute-sanitizer is not on the path nor in CUDA_PATH"),
            String::new(),
        ));
    };
    let mut command = Command::new(tool);
    command.args(["--tool", "memcheck", "--error-exitcode", "9"]).arg(programs.file("gpu-tests")?);
    command.args(["--test-threads=1", "conv2d", "combine", "max_pool"]);
    lend(&mut command, target);
    command.env("RESNET_CONFORMANCE_CASES", "4");
    let output = run(&mut command, clock.left().min(Duration::from_secs(90)))?;
    let outcome = if output.success { Outcome::Passed } else { Outcome::Failed("see below".to_owned()) };
    Ok((outcome, block(&output.tail(if output.success { 3 } else { 60 }))))
}

fn find_sanitizer() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default();
    let toolkits = [std::env::var_os("CUDA_PATH").map(PathBuf::from), Some(PathBuf::from("/usr/local/cuda"))];
    let folders = path.into_iter().chain(toolkits.into_iter().flatten().map(|toolkit| toolkit.join("bin")));
    folders.map(|folder| folder.join("compute-sanitizer")).find(|file| file.is_file())
}
