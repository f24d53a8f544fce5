//! How long a step takes, ours beside PyTorch's.
//!
//! The step is the whole step on pictures that lie on the device: normalisation, forward, loss, backward, update.
//! Ours is recorded as a graph and replayed; PyTorch runs in each of its ways, and its best counts.
//! Ours is timed again between PyTorch's ways, and the median counts, so that a device that warms up or slows down does so for both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use resnet_core::op::{LossScale, Optimizer, StepScalars};
use resnet_core::{Backend, DType, Executor, LowerOptions, Params, Pass, RecordingKey, TrainingStep, init};
use resnet_cuda::CudaBackend;
use resnet_cuda::choice::Choice;
use resnet_cuda::choice::ways::Tuning;

use crate::Target;
use crate::programs::{Clock, Programs};
use crate::report::{Outcome, Report};
use crate::torch;
use crate::training::{open, spec, synthetic};

/// What numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Bf16,
    F16,
    /// f32 whose products are rounded to tf32.
    Tf32,
    F32,
}

impl Precision {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
            Precision::Tf32 => "tf32",
            Precision::F32 => "f32",
        }
    }

    fn dtype(self) -> DType {
        match self {
            Precision::Bf16 => DType::Bf16,
            Precision::F16 => DType::F16,
            Precision::Tf32 | Precision::F32 => DType::F32,
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) arch: &'static str,
    pub(crate) channels: usize,
    pub(crate) size: usize,
    pub(crate) classes: usize,
    pub(crate) batch: usize,
    pub(crate) precision: Precision,
    pub(crate) infer: bool,
    /// What PyTorch's best is to be beaten by.
    pub(crate) goal: f64,
    /// PyTorch's ways for this row.
    pub(crate) ways: &'static [&'static str],
    /// Whether each choice of our kernels is timed, and not only the usual one.
    pub(crate) choices: bool,
}

const ALL: &[&str] = &["eager", "graph", "default", "reduce-overhead", "max-autotune"];
const SOME: &[&str] = &["eager", "graph", "reduce-overhead"];

const RESNET50: Case = Case {
    arch: "resnet50",
    channels: 3,
    size: 224,
    classes: 1000,
    batch: 256,
    precision: Precision::Bf16,
    infer: false,
    goal: 1.25,
    ways: ALL,
    choices: true,
};
const RESNET18: Case = Case { arch: "resnet18", channels: 1, size: 96, classes: 10, goal: 1.5, ..RESNET50 };

/// The rows, the most important first: time may not suffice for all.
const CASES: [Case; 7] = [
    RESNET50,
    RESNET18,
    Case { infer: true, goal: 1.3, choices: false, ..RESNET50 },
    Case { infer: true, batch: 1, goal: 1.0, ways: SOME, choices: false, ..RESNET50 },
    Case { precision: Precision::F16, goal: 1.3, ways: SOME, choices: false, ..RESNET50 },
    Case { precision: Precision::Tf32, batch: 128, goal: 1.1, ways: SOME, choices: false, ..RESNET50 },
    Case { precision: Precision::F32, batch: 128, goal: 1.1, ways: SOME, choices: false, ..RESNET50 },
];

const TINY: Case = Case {
    arch: "resnet20-cifar",
    size: 8,
    classes: 10,
    batch: 2,
    goal: 1.0,
    ways: &["eager"],
    choices: false,
    ..RESNET50
};

/// For a rehearsal.
const SMALL: [Case; 4] = [
    Case { choices: true, ..TINY },
    Case { precision: Precision::F16, ..TINY },
    Case { precision: Precision::Tf32, ..TINY },
    Case { infer: true, precision: Precision::F32, ..TINY },
];

impl Case {
    pub(crate) fn title(&self) -> String {
        let mode = if self.infer { "inference" } else { "training" };
        let Case { arch, channels, size, batch, precision, .. } = self;
        format!("{arch} {channels}×{size}² batch {batch} {} {mode}", precision.name())
    }
}

pub(crate) fn table(
    report: &mut Report,
    target: Target,
    only: Option<&str>,
    programs: &Programs,
    python: &Path,
    clock: &Clock,
) {
    let cases = match target {
        Target::Device(_) => &CASES[..],
        Target::Emulator => &SMALL[..],
    };
    for case in cases.iter().filter(|case| only.is_none_or(|text| case.title().contains(text))) {
        let title = case.title();
        if clock.left() < Duration::from_secs(10) {
            report.add(&title, Outcome::left_out("the time was over"), "");
            continue;
        }
        report.step(&title, || side_by_side(target, case, programs, python, clock));
    }
}

/// How kernels are chosen where a row compares choices; the first is the usual one.
const CHOICES: [(&str, Option<(Choice, bool)>); 4] = [
    ("as it is", None),
    ("own kernels", Some((Choice::Tensor, false))),
    ("cuDNN", Some((Choice::Cudnn, false))),
    ("cuDNN or own, gradients of weights may be 16 bits", Some((Choice::Auto, true))),
];

fn side_by_side(
    target: Target,
    case: &Case,
    programs: &Programs,
    python: &Path,
    clock: &Clock,
) -> Result<(Outcome, String)> {
    let enough = Duration::from_secs(if target == Target::Emulator { 0 } else { 1 });
    let rate = |seconds: f64| case.batch as f64 / seconds;
    let row =
        |what: &str, seconds: f64| format!("| {what} | {:.3} | {:.0} |\n", 1e3 * seconds, rate(seconds));
    let mut text = String::new();
    if case.choices {
        for (name, choice) in &CHOICES[1..] {
            match Stepper::new(target, case, *choice).and_then(|mut stepper| stepper.seconds(enough)) {
                Ok(seconds) => text.push_str(&row(&format!("resnet, {name}"), seconds)),
                Err(error) => {
                    let why = format!("{error:#}").replace(['\n', '|'], " ");
                    text.push_str(&format!("| resnet, {name} | {why} | |\n"));
                }
            }
        }
    }
    let mut stepper = Stepper::new(target, case, CHOICES[0].1)?;
    let mut ours = vec![stepper.seconds(enough)?];
    let mut best: Option<f64> = None;
    for &way in case.ways {
        let seconds = torch::one(target, case, way, programs, python, clock);
        ours.push(stepper.seconds(enough)?);
        match seconds {
            Ok(seconds) => {
                best = Some(best.map_or(seconds, |best| best.min(seconds)));
                text.push_str(&row(&format!("PyTorch, {}", torch::name(way)), seconds));
            }
            Err(error) => {
                let why = format!("{error:#}").replace(['\n', '|'], " ");
                text.push_str(&format!("| PyTorch, {} | {why} | |\n", torch::name(way)));
            }
        }
    }
    ours.sort_by(f64::total_cmp);
    let median = ours[ours.len() / 2];
    let mut text = format!(
        "| | ms per step | pictures per second |\n|---|--:|--:|\n{}{text}\nOurs was timed {} times, {:.3} to {:.3} ms.\n",
        row("resnet", median),
        ours.len(),
        1e3 * ours[0],
        1e3 * ours[ours.len() - 1]
    );
    for line in stepper.backend.chosen() {
        let ms = line.ms.map_or_else(String::new, |ms| format!(", {ms:.3} ms"));
        text.push_str(&format!("- {}: {}{ms}\n", line.task, line.way));
    }
    let outcome = match best {
        Some(best) => {
            let ratio = best / median;
            text.push_str(&format!("\n{ratio:.2} × PyTorch's best; {:.2} × is the aim.\n", case.goal));
            Outcome::Passed
        }
        None => Outcome::left_out("PyTorch gave no time to compare with"),
    };
    Ok((outcome, text))
}

/// A step of ours that can be timed again and again.
struct Stepper {
    backend: CudaBackend,
    net: Executor<CudaBackend>,
    params: Params<CudaBackend>,
    key: RecordingKey,
    training: TrainingStep<CudaBackend>,
    case: Case,
    target: Target,
}

const RULE: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };

impl Stepper {
    /// Everything on the device, and three steps run: kernels compiled, ways tuned, the step recorded.
    fn new(target: Target, case: &Case, choice: Option<(Choice, bool)>) -> Result<Self> {
        let spec = spec(case.arch, case.channels, case.size, case.classes)?;
        let mut backend = open(target)?;
        if case.precision == Precision::Tf32 {
            backend = backend.with_choice(Choice::Tf32);
        }
        if let Some((choice, narrow_gradients)) = choice {
            let tuning = Tuning { narrow_gradients, ..Tuning::of_environment()? };
            backend = backend.with_choice(choice).with_tuning(tuning);
        }
        let graph = spec.build()?;
        let values = init::initial_values(&graph, 0);
        let params = Params::new(&mut backend, &graph, &values, (!case.infer).then_some(&RULE))?;
        let mut options =
            if case.infer { LowerOptions::infer(case.batch) } else { LowerOptions::train(case.batch) };
        options.dtype = case.precision.dtype();
        let mut net = Executor::new(&mut backend, &graph, options, 0.0)?;
        let (pixels, labels) = synthetic(&graph, case.batch, case.classes);
        net.put_pixels(&mut backend, &pixels)?;
        if !case.infer {
            net.put_labels(&mut backend, &labels, None)?;
        }
        let mut training = TrainingStep::new(RULE);
        if case.precision == Precision::F16 && !case.infer {
            training = training.with_loss_scale(&mut backend, LossScale::default())?;
        }
        let key = backend.new_recording();
        let mut stepper = Self { backend, net, params, key, training, case: *case, target };
        for _ in 0..3 {
            stepper.step()?;
            stepper.backend.synchronize()?;
        }
        Ok(stepper)
    }

    fn step(&mut self) -> Result<()> {
        let Self { backend, net, params, key, training, case, .. } = self;
        if !case.infer {
            net.set_scalars(backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
        }
        backend.recorded(*key, |backend| {
            if case.infer {
                net.ingest(backend)?;
                net.forward(backend, params)
            } else {
                training.compute(backend, net, params, Pass::whole(case.batch), Executor::ingest)
            }
        })?;
        Ok(())
    }

    /// Seconds of one step. Ten are queued between two looks at the clock, so that the host never holds the device back.
    fn seconds(&mut self, enough: Duration) -> Result<f64> {
        let steps = if self.target == Target::Emulator { 1 } else { 10 };
        let start = Instant::now();
        let mut n = 0;
        while n == 0 || start.elapsed() < enough {
            for _ in 0..steps {
                self.step()?;
            }
            self.backend.synchronize()?;
            n += steps;
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(n))
    }
}
