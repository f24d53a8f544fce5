//! How long a step takes, ours beside PyTorch's.
//!
//! The step is the whole step on pictures that lie on the device: normalisation, forward, loss, backward, update.
//! Ours is recorded as a graph and replayed; PyTorch runs in each of its ways, and its best counts.
//! Ours is timed again between PyTorch's ways, and the median counts, so that a device that warms up or slows down does so for both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use resnet_core::op::{LossScale, Optimizer, StepScalars};
use resnet_core::{Backend, Executor, LowerOptions, Params, Pass, RecordingKey, TrainingStep, init};
use resnet_cuda::CudaBackend;
use resnet_cuda::choice::Choice;
use resnet_cuda::choice::ways::Tuning;

use crate::Target;
use crate::cases::{Case, Precision};
use crate::programs::{Clock, Programs};
use crate::torch;
use crate::training::{open, spec, synthetic};

/// How kernels are chosen, and what cuDNN may narrow to 16 bits.
#[derive(Clone, Copy)]
struct Own {
    choice: Choice,
    gradients: bool,
    norms: bool,
}

const fn own(choice: Choice, gradients: bool, norms: bool) -> Own {
    Own { choice, gradients, norms }
}

/// Choices that a row compares with the usual one.
const CHOICES: [(&str, Own); 4] = [
    ("own kernels", own(Choice::Tensor, false, false)),
    ("cuDNN", own(Choice::Cudnn, false, false)),
    ("cuDNN or own, gradients of weights may be 16 bits", own(Choice::Auto, true, false)),
    ("cuDNN or own, those and normalisations may be 16 bits", own(Choice::Auto, true, true)),
];

/// The round of a row in which choices of our own kernels are timed, and none of PyTorch's ways.
pub(crate) const OWN_CHOICES: &str = "choices";

/// Seconds of a step, or why there are none.
pub(crate) type Seconds = std::result::Result<f64, String>;

/// What was measured of a row.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Measured {
    /// Ours, each time it was timed.
    pub(crate) ours: Vec<f64>,
    /// PyTorch, by its way.
    pub(crate) theirs: Vec<(String, Seconds)>,
    /// Ours with other choices of kernels.
    pub(crate) choices: Vec<(String, Seconds)>,
    /// Which kernels were chosen.
    pub(crate) chosen: Vec<String>,
}

/// Times ours, and PyTorch in some of its ways.
pub(crate) fn measure(
    target: Target,
    case: &Case,
    ways: &[String],
    programs: &Programs,
    python: &Path,
    clock: &Clock,
) -> Result<Measured> {
    let enough = Duration::from_secs(if target == Target::Emulator { 0 } else { 1 });
    let mut measured = Measured::default();
    let seconds = |seconds: Result<f64>| seconds.map_err(|error| format!("{error:#}"));
    if ways.iter().any(|way| way == OWN_CHOICES) {
        for (name, own) in CHOICES {
            let timed = Stepper::new(target, case, Some(own)).and_then(|mut stepper| stepper.seconds(enough));
            measured.choices.push((name.to_owned(), seconds(timed)));
        }
    }
    let mut stepper = Stepper::new(target, case, None)?;
    measured.ours.push(stepper.seconds(enough)?);
    for way in ways.iter().filter(|way| *way != OWN_CHOICES) {
        let timed = torch::one(target, case, way, programs, python, clock);
        measured.theirs.push((way.clone(), seconds(timed)));
        measured.ours.push(stepper.seconds(enough)?);
    }
    measured.chosen = stepper.backend.choices();
    Ok(measured)
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
    fn new(target: Target, case: &Case, own: Option<Own>) -> Result<Self> {
        let spec = spec(case.arch, case.channels, case.size, case.classes)?;
        let mut backend = open(target)?;
        if case.precision == Precision::Tf32 {
            backend = backend.with_choice(Choice::Tf32);
        }
        if let Some(Own { choice, gradients, norms }) = own {
            let tuning =
                Tuning { narrow_gradients: gradients, narrow_norms: norms, ..Tuning::of_environment()? };
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
