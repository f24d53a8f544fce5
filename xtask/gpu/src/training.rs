//! Five training steps on the device, on the CPU and in f64, from the same weights and the same pictures.
//!
//! Rounding differs between backends, and training magnifies it; by how much depends on the network and the step.
//! So the limit is derived from this very training: [`resnet_conformance::noisy`] repeats it in f64 eight times with random errors of the
//! size of roundings, and says how far rounding alone throws each loss and each weight, and which distance is no chance any more.
//! The CPU is held to the same limits as the device, so a limit that is too narrow shows.

use anyhow::{Context, Result};
use resnet_conformance::bound::U;
use resnet_conformance::noisy::{Computation, Named, Spread, UNLIKELY, Verdict};
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::zoo::{self, ResNetSpec};
use resnet_core::{Backend, DType, Executor, Graph, LowerOptions, Params, TrainingStep, init};
use resnet_cpu::{CpuBackend, Kernel};
use resnet_cuda::CudaBackend;

use crate::Target;
use crate::report::Outcome;

const STEPS: usize = 5;

pub(crate) fn open(target: Target) -> Result<CudaBackend> {
    Ok(match target {
        Target::Device(ordinal) => CudaBackend::new(ordinal)?,
        Target::Emulator => CudaBackend::emulated()?,
    })
}

/// A network at another size, from the zoo.
pub(crate) fn spec(arch: &str, channels: usize, size: usize, classes: usize) -> Result<ResNetSpec> {
    Ok(zoo::arch(arch)?.channels(channels).size(size, size).classes(classes))
}

/// Pixels and labels of a batch that needs no data: they fill, and are the same everywhere.
pub(crate) fn synthetic(graph: &Graph, batch: usize, classes: usize) -> (Vec<u8>, Vec<u32>) {
    let n_bytes = batch * graph.input_shape().len();
    let pixels = (0..n_bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
    (pixels, (0..batch).map(|i| (i % classes) as u32).collect())
}

/// Five steps of a network over activations of one type.
struct FiveSteps {
    spec: ResNetSpec,
    batch: usize,
    dtype: DType,
}

impl Computation for FiveSteps {
    /// The loss before each step, then every weight after the last.
    fn run<B: Backend>(&self, backend: &mut B) -> resnet_core::Result<Vec<Named>> {
        let Self { spec, batch, dtype } = self;
        let graph = spec.build()?;
        let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
        let values = init::initial_values(&graph, 0);
        let mut params = Params::<B>::new(backend, &graph, &values, Some(&rule))?;
        let options = LowerOptions { dtype: *dtype, ..LowerOptions::train(*batch) };
        let mut net = Executor::new(backend, &graph, options, 0.0)?;
        let (pixels, labels) = synthetic(&graph, *batch, spec.classes);
        let mut seen = Vec::new();
        let mut training = TrainingStep::new(rule);
        for step in 1..=STEPS {
            net.set_scalars(backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
            training.run(backend, &mut net, &mut params, &pixels, &labels)?;
            seen.push((format!("loss of step {step}"), vec![f64::from(net.metrics(backend)?.loss())]));
        }
        let widen = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        let names = graph.params().iter().map(|param| param.name.clone());
        seen.extend(names.zip(params.values(backend)?.into_iter().map(widen)));
        Ok(seen)
    }
}

pub(crate) fn compare(target: Target) -> Result<(Outcome, String)> {
    // Pictures and batch are as large as f64 in plain loops can do nine times in seconds.
    let (size, batch) = match target {
        Target::Device(_) => (16, 4),
        Target::Emulator => (8, 2),
    };
    let spec = spec("resnet20-cifar", 3, size, 10)?;
    let mut text = format!(
        "{} with {}×{}×{}, batch {batch}, SGD with momentum: the loss before each step, and the weights after the last.\n\
         \"By rounding\" is the root mean square of what random errors of a rounding's size did to eight runs in f64; \
         {UNLIKELY} times that is no chance.\n",
        spec.arch, spec.channels, spec.height, spec.width
    );
    let mut failed = vec![];
    for (name, dtype) in [("f32", DType::F32), ("bf16", DType::Bf16)] {
        let steps = FiveSteps { spec: spec.clone(), batch, dtype };
        let spread = Spread::of(&steps)?;
        let cpu = steps.run(&mut CpuBackend::with_kernel(None, Kernel::Strict)?).context("on the CPU")?;
        let device = steps.run(&mut open(target)?).context("on the device")?;
        text.push_str(&format!(
            "\n| {name} | in f64 | CPU | device | CPU, off by | device, off by | by rounding | allowed |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
        ));
        let judged = [&cpu, &device].map(|got| spread.judge(got, U, U));
        for t in 0..STEPS {
            let [of_cpu, of_device] = [&judged[0][t], &judged[1][t]];
            text.push_str(&format!(
                "| {} | {:.6} | {:.6} | {:.6} | {:.1e} | {:.1e} | {:.1e} | {:.1e} |\n",
                of_cpu.name,
                spread.exact()[t].1[0],
                cpu[t].1[0],
                device[t].1[0],
                of_cpu.off,
                of_device.off,
                of_device.typical,
                of_device.allowed
            ));
        }
        for (who, verdicts) in ["CPU", "device"].into_iter().zip(&judged) {
            let worst = verdicts[STEPS..].iter().max_by(|a, b| used(a).total_cmp(&used(b)));
            let worst = worst.context("a network has weights")?;
            text.push_str(&format!(
                "\n{who}: of {} tensors of weights, `{}` uses most of what is allowed: off by {:.1e} of {:.1e}.\n",
                verdicts.len() - STEPS,
                worst.name,
                worst.off,
                worst.allowed
            ));
            let broken = verdicts.iter().filter(|verdict| !verdict.holds());
            failed.extend(broken.map(|verdict| {
                format!(
                    "{who}, {name}, {}: off by {:.1e}, {:.1e} allowed",
                    verdict.name, verdict.off, verdict.allowed
                )
            }));
        }
    }
    Ok((if failed.is_empty() { Outcome::Passed } else { Outcome::Failed(failed.join("; ")) }, text))
}

/// The share of what is allowed; a NaN uses more than everything.
fn used(verdict: &Verdict) -> f64 {
    let share = verdict.off / verdict.allowed;
    if share.is_nan() { f64::INFINITY } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that is no number fails, and so does one that is off by more than rounding explains.
    #[test]
    fn what_rounding_does_not_explain_fails() {
        let run = |loss: f64| vec![("loss of step 1".to_owned(), vec![loss])];
        let spread = Spread::new(run(2.0), vec![run(2.0 + 1e-6), run(2.0 - 1e-6)]);
        let holds = |loss: f64| spread.judge(&run(loss), U, U)[0].holds();
        assert!(holds(2.0 + 1e-5) && !holds(2.0 + 2e-5) && !holds(f64::NAN));
        assert_eq!(used(&spread.judge(&run(f64::NAN), U, U)[0]), f64::INFINITY);
    }
}
