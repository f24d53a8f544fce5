//! How long a step takes, ours beside PyTorch's.
//!
//! The step is the whole step on pictures that lie on the device: normalisation, forward, loss, backward, update.
//! Ours is recorded as a graph and replayed; PyTorch runs in each of its ways, and its best counts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{Accumulate, Backend, DType, Executor, LowerOptions, Params, init};

use crate::Target;
use crate::programs::{Clock, Programs};
use crate::report::{Outcome, Report};
use crate::torch;
use crate::training::{open, spec, synthetic};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) arch: &'static str,
    pub(crate) channels: usize,
    pub(crate) size: usize,
    pub(crate) classes: usize,
    pub(crate) batch: usize,
    pub(crate) bf16: bool,
    pub(crate) infer: bool,
    /// What PyTorch's best is to be beaten by.
    pub(crate) goal: f64,
}

const fn case(
    arch: &'static str,
    channels: usize,
    size: usize,
    classes: usize,
    batch: usize,
    goal: f64,
) -> Case {
    Case { arch, channels, size, classes, batch, bf16: true, infer: false, goal }
}

/// The cases, the most important first: time may not suffice for all.
const CASES: [Case; 5] = [
    case("resnet50", 3, 224, 1000, 256, 1.25),
    case("resnet18", 1, 96, 10, 256, 1.5),
    Case { infer: true, goal: 1.3, ..case("resnet50", 3, 224, 1000, 256, 1.3) },
    Case { infer: true, goal: 1.0, ..case("resnet50", 3, 224, 1000, 1, 1.0) },
    Case { bf16: false, ..case("resnet50", 3, 224, 1000, 128, 1.1) },
];

/// For a rehearsal.
const SMALL: [Case; 2] = [
    case("resnet20-cifar", 3, 8, 10, 2, 1.0),
    Case { infer: true, bf16: false, ..case("resnet20-cifar", 3, 8, 10, 2, 1.0) },
];

pub(crate) fn table(report: &mut Report, target: Target, programs: &Programs, python: &Path, clock: &Clock) {
    let cases = match target {
        Target::Device(_) => &CASES[..],
        Target::Emulator => &SMALL[..],
    };
    for case in cases {
        let mode = if case.infer { "inference" } else { "training" };
        let dtype = if case.bf16 { "bf16" } else { "f32" };
        let title =
            format!("{} {}×{}² batch {} {dtype} {mode}", case.arch, case.channels, case.size, case.batch);
        if clock.left() < Duration::from_secs(10) {
            report.add(&title, Outcome::left_out("the time was over"), "");
            continue;
        }
        report.step(&title, || side_by_side(target, case, programs, python, clock));
    }
}

fn side_by_side(
    target: Target,
    case: &Case,
    programs: &Programs,
    python: &Path,
    clock: &Clock,
) -> Result<(Outcome, String)> {
    let ours = ours(target, case)?;
    let theirs = torch::all(target, case, programs, python, clock);
    let rate = |seconds: f64| case.batch as f64 / seconds;
    let mut text = format!(
        "| | ms per step | pictures per second |\n|---|--:|--:|\n| resnet | {:.3} | {:.0} |\n",
        1e3 * ours,
        rate(ours)
    );
    let mut best: Option<f64> = None;
    for (way, seconds) in &theirs {
        match seconds {
            Ok(seconds) => {
                best = Some(best.map_or(*seconds, |best| best.min(*seconds)));
                text.push_str(&format!(
                    "| PyTorch, {way} | {:.3} | {:.0} |\n",
                    1e3 * seconds,
                    rate(*seconds)
                ));
            }
            Err(why) => text.push_str(&format!("| PyTorch, {way} | {} | |\n", why.replace(['\n', '|'], " "))),
        }
    }
    let outcome = match best {
        Some(best) => {
            let ratio = best / ours;
            text.push_str(&format!("\n{ratio:.2} × PyTorch's best; {:.2} × is the aim.\n", case.goal));
            Outcome::Passed
        }
        None => Outcome::left_out("PyTorch gave no time to compare with"),
    };
    Ok((outcome, text))
}

/// Seconds of one step of ours: replayed for about two seconds, after two runs that compile and record.
fn ours(target: Target, case: &Case) -> Result<f64> {
    let spec = spec(case.arch, case.channels, case.size, case.classes)?;
    let backend = &mut open(target)?;
    let graph = spec.build()?;
    let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
    let values = init::initial_values(&graph, 0);
    let mut params = Params::new(backend, &graph, &values, (!case.infer).then_some(&rule))?;
    let mut options =
        if case.infer { LowerOptions::infer(case.batch) } else { LowerOptions::train(case.batch) };
    options.dtype = if case.bf16 { DType::Bf16 } else { DType::F32 };
    let mut net = Executor::new(backend, &graph, options, 0.0)?;
    net.set_scalars(backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
    let (pixels, labels) = synthetic(&graph, case.batch, case.classes);
    net.put_pixels(backend, &pixels)?;
    if !case.infer {
        net.put_labels(backend, &labels, None)?;
    }
    let key = backend.new_recording();
    let mut step = |backend: &mut resnet_cuda::CudaBackend| {
        backend.recorded(key, |backend| {
            net.ingest(backend)?;
            net.forward(backend, &mut params)?;
            if !case.infer {
                net.loss_of_labels(backend, false, case.batch, Accumulate::Set)?;
                net.backward(backend, &mut params, Accumulate::Set)?;
                backend.update(&rule, net.scalars(), None, &mut params.list)?;
            }
            Ok(())
        })
    };
    for _ in 0..3 {
        step(backend)?;
        backend.synchronize()?;
    }
    let enough = Duration::from_secs(if target == Target::Emulator { 0 } else { 2 });
    let start = Instant::now();
    let mut n = 0;
    // Ten steps are queued between two looks at the clock, so the host never holds the device back.
    while n == 0 || start.elapsed() < enough {
        let steps = if target == Target::Emulator { 1 } else { 10 };
        for _ in 0..steps {
            step(backend)?;
        }
        backend.synchronize()?;
        n += steps;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(n))
}
