//! Five training steps on the CPU and on the device, from the same weights and the same pictures.
//!
//! How far two correct backends may part is a question of each network's conditioning, and the conformance suite answers it for small ones.
//! Here whole networks run, and the limits are coarse: they catch a step that is wrong, not one that rounds.

use anyhow::{Context, Result};
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::zoo::{self, ResNetSpec};
use resnet_core::{Accumulate, Backend, DType, Executor, Graph, LowerOptions, Params, init};
use resnet_cpu::CpuBackend;
use resnet_cuda::CudaBackend;

use crate::Target;
use crate::report::Outcome;

const STEPS: usize = 5;

/// How far losses of f32 may part, as a share of the first loss: five steps multiply a rounding error by less than ten thousand.
const F32_LIMIT: f64 = 1e-3;
/// bf16 has 2⁻⁸ for each of some sixty tensors on the way.
const BF16_LIMIT: f64 = 0.1;

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
    let cpu = losses(&mut CpuBackend::new(None)?, &spec, batch, DType::F32).context("on the CPU")?;
    let f32 = losses(&mut open(target)?, &spec, batch, DType::F32).context("on the device in f32")?;
    let bf16 = losses(&mut open(target)?, &spec, batch, DType::Bf16).context("on the device in bf16")?;
    let mut text = format!(
        "{} with {}×{}×{}, batch {batch}, SGD with momentum: the loss before each step.\n\n\
         | step | CPU, f32 | device, f32 | device, bf16 |\n|--:|--:|--:|--:|\n",
        spec.arch, spec.channels, spec.height, spec.width
    );
    for i in 0..STEPS {
        text.push_str(&format!("| {} | {:.6} | {:.6} | {:.6} |\n", i + 1, cpu[i], f32[i], bf16[i]));
    }
    let (far, far_bf16) = (worst(&cpu, &f32), worst(&cpu, &bf16));
    text.push_str(&format!(
        "\nWorst difference from the CPU, as a share of the first loss: f32 {far:.1e}, bf16 {far_bf16:.1e}.\n"
    ));
    let within = far <= F32_LIMIT && far_bf16 <= BF16_LIMIT;
    let limits = format!("the losses part by more than {F32_LIMIT:.0e} (f32) or {BF16_LIMIT} (bf16)");
    Ok((if within { Outcome::Passed } else { Outcome::Failed(limits) }, text))
}

/// The worst difference as a share of the first loss, because later ones may vanish; infinite where a loss is no number.
fn worst(wanted: &[f64], got: &[f64]) -> f64 {
    let first = wanted.first().copied().unwrap_or(1.0);
    let apart = wanted.iter().zip(got).map(|(wanted, got)| ((got - wanted) / first).abs());
    apart.fold(0.0, |most, d| if d.is_nan() { f64::INFINITY } else { most.max(d) })
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
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        net.set_scalars(backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
        net.load_pixels(backend, &pixels)?;
        net.forward(backend, &mut params)?;
        net.loss(backend, &labels, None, batch, Accumulate::Set)?;
        net.backward(backend, &mut params, Accumulate::Set)?;
        backend.update(&rule, net.scalars(), None, &mut params.list)?;
        losses.push(f64::from(net.metrics(backend)?.loss()));
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_is_infinitely_far() {
        assert_eq!(worst(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(worst(&[1.0, 2.0], &[1.5, 2.0]), 0.5);
        assert_eq!(worst(&[1.0, 2.0], &[f64::NAN, 2.0]), f64::INFINITY);
    }
}
