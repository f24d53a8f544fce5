//! Five training steps on the CPU and on the device, from the same weights and the same pictures.
//!
//! Rounding differs between backends, and training magnifies it; by how much depends on the network and the step.
//! So the limit is measured here: the CPU trains with two orders of its sums, and the distance of those two runs says how far runs part
//! that differ in rounding alone. The device may be [`FACTOR`] times as far from the CPU as the two are from each other by that step.

use anyhow::{Context, Result};
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::zoo::{self, ResNetSpec};
use resnet_core::{Backend, DType, Executor, Graph, LowerOptions, Params, TrainingStep, init};
use resnet_cpu::{CpuBackend, Kernel};
use resnet_cuda::CudaBackend;

use crate::Target;
use crate::report::Outcome;

const STEPS: usize = 5;

/// Two distances of the same kind are compared, one drawn for each order of sums. The device orders every op's sums otherwise, where
/// the CPU's two runs share all but the convolutions'; a wrong kernel is off by far more.
const FACTOR: f64 = 8.0;
/// The first loss is rounded once or twice, whatever the order: it may differ by some units in its last place.
const FLOOR: f64 = 1e-6;

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

pub(crate) fn compare(target: Target) -> Result<(Outcome, String)> {
    let (spec, batch) = match target {
        Target::Device(_) => (spec("resnet18", 1, 28, 10)?, 32),
        Target::Emulator => (spec("resnet20-cifar", 3, 8, 10)?, 2),
    };
    let on_cpu = |kernel, dtype| {
        losses(&mut CpuBackend::with_kernel(None, kernel)?, &spec, batch, dtype).context("on the CPU")
    };
    let mut text = format!(
        "{} with {}×{}×{}, batch {batch}, SGD with momentum: the loss before each step.\n",
        spec.arch, spec.channels, spec.height, spec.width
    );
    let mut failed = vec![];
    for (name, dtype, other) in [("f32", DType::F32, Kernel::Auto), ("bf16", DType::Bf16, Kernel::Portable)] {
        let cpu = on_cpu(Kernel::Strict, dtype)?;
        let reordered = on_cpu(other, dtype)?;
        let device = losses(&mut open(target)?, &spec, batch, dtype).context("on the device")?;
        let limits = limits(&cpu, &reordered);
        text.push_str(&format!(
            "\n| step | CPU, {name} | CPU, other order | device | apart | allowed |\n|--:|--:|--:|--:|--:|--:|\n"
        ));
        for i in 0..STEPS {
            let apart = distance(cpu[i], device[i], cpu[0]);
            text.push_str(&format!(
                "| {} | {:.6} | {:.6} | {:.6} | {apart:.1e} | {:.1e} |\n",
                i + 1,
                cpu[i],
                reordered[i],
                device[i],
                limits[i]
            ));
            if apart > limits[i] {
                failed.push(format!("{name}, step {}: {apart:.1e} apart, {:.1e} allowed", i + 1, limits[i]));
            }
        }
    }
    text.push_str("\nDistances are shares of the first loss.\n");
    Ok((if failed.is_empty() { Outcome::Passed } else { Outcome::Failed(failed.join("; ")) }, text))
}

/// How far a third run may be off at each step.
fn limits(run: &[f64], reordered: &[f64]) -> Vec<f64> {
    let mut most = FLOOR;
    let at = |i: usize| distance(run[i], reordered[i], run[0]);
    (0..run.len())
        .map(|i| {
            most = f64::max(most, FACTOR * at(i));
            most
        })
        .collect()
}

/// As a share of the first loss, because later ones may vanish; infinite where a loss is no number.
fn distance(wanted: f64, got: f64, first: f64) -> f64 {
    let apart = ((got - wanted) / first).abs();
    if apart.is_nan() { f64::INFINITY } else { apart }
}

/// Trains from the same start on the same pictures; the loss of each step.
fn losses<B: Backend>(backend: &mut B, spec: &ResNetSpec, batch: usize, dtype: DType) -> Result<Vec<f64>> {
    let graph = spec.build()?;
    let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
    let values = init::initial_values(&graph, 0);
    let mut params = Params::<B>::new(backend, &graph, &values, Some(&rule))?;
    let mut options = LowerOptions::train(batch);
    options.dtype = dtype;
    let mut net = Executor::new(backend, &graph, options, 0.0)?;
    let (pixels, labels) = synthetic(&graph, batch, spec.classes);
    let mut training = TrainingStep::new(rule);
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        net.set_scalars(backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
        training.run(backend, &mut net, &mut params, &pixels, &labels)?;
        losses.push(f64::from(net.metrics(backend)?.loss()));
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_is_infinitely_far() {
        assert_eq!(distance(2.0, 2.5, 1.0), 0.5);
        assert_eq!(distance(2.0, f64::NAN, 1.0), f64::INFINITY);
    }

    #[test]
    fn limits_grow_with_what_rounding_does() {
        let limits = limits(&[2.0, 1.0, 0.5, 0.5], &[2.0, 1.5, 0.5, 1.5]);
        assert_eq!(limits, [FLOOR, FACTOR * 0.25, FACTOR * 0.25, FACTOR * 0.5]);
    }
}
