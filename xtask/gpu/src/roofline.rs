//! Where a step's time goes, stage by stage, beside what it could take: the larger of its operations over the device's peak and of its
//! bytes over the device's bandwidth, op by op, as
//! [`resnet::profile`] counts them: every tensor that an op names is read or written once.
//!
//! Every op is waited for, so times are somewhat longer than in an undisturbed step, more so for small ones.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use resnet::profile::Timed;
use resnet_core::op::{Combine, Optimizer, StepScalars};
use resnet_core::{Backend, DType, Executor, LowerOptions, Params, Pass, Source, TrainingStep, init};
use resnet_cuda::CudaBackend;

use crate::Target;
use crate::report::Outcome;
use crate::training::{open, spec, synthetic};

/// Products and sums per second of 16-bit tensor cores, dense: H100 SXM and H200, data sheets of NVIDIA.
const PEAK_FLOPS: f64 = 989e12;

/// Time and floor of what works on images of one height.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    seconds: f64,
    floor: f64,
}

pub(crate) fn table(target: Target) -> Result<(Outcome, String)> {
    let (spec, batch, steps) = match target {
        Target::Device(_) => (spec("resnet50", 3, 224, 1000)?, 256, 5),
        Target::Emulator => (spec("resnet20-cifar", 3, 8, 10)?, 2, 1),
    };
    let mut inner = open(target)?;
    let bandwidth = bandwidth(&mut inner, target)?;
    let backend = &mut Timed::new(inner);
    let graph = spec.build()?;
    let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
    let values = init::initial_values(&graph, 0);
    let mut params = Params::new(backend, &graph, &values, Some(&rule))?;
    let options = LowerOptions { dtype: DType::Bf16, ..LowerOptions::train(batch) };
    let mut net = Executor::new(backend, &graph, options, 0.0)?;
    net.set_scalars(backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
    let (pixels, labels) = synthetic(&graph, batch, spec.classes);
    net.put_pixels(backend, &pixels)?;
    net.put_labels(backend, &labels, None)?;
    let mut training = TrainingStep::new(rule);
    let mut step = |backend: &mut Timed<CudaBackend>| -> Result<()> {
        Ok(training.compute(backend, &mut net, &mut params, Pass::whole(batch), Executor::ingest)?)
    };
    step(backend)?;
    backend.reset();
    for _ in 0..steps {
        step(backend)?;
    }

    let mut stages = BTreeMap::<usize, Stage>::new();
    let mut rest = 0.0;
    for (call, spent) in backend.report() {
        let seconds = spent.time.as_secs_f64() / f64::from(steps);
        let Some(h) = height(&call.shape) else {
            rest += seconds;
            continue;
        };
        let stage = stages.entry(h).or_default();
        stage.seconds += seconds;
        let floor = f64::max(spent.work.flops as f64 / PEAK_FLOPS, spent.work.bytes as f64 / bandwidth);
        stage.floor += floor / f64::from(steps);
    }
    let mut text = format!(
        "{}, batch {batch}, bf16, training. {:.0} TFLOP/s of tensor cores by the data sheet of an H100 or H200, {:.2} TB/s measured here \
         by copying.\n\n| images of height | ms | floor, ms | share |\n|--:|--:|--:|--:|\n",
        spec.arch,
        PEAK_FLOPS / 1e12,
        bandwidth / 1e12
    );
    let mut all = Stage::default();
    for (h, stage) in stages.iter().rev() {
        let Stage { seconds, floor } = *stage;
        text.push_str(&format!(
            "| {h} | {:.3} | {:.3} | {:.0} % |\n",
            1e3 * seconds,
            1e3 * floor,
            100.0 * floor / seconds
        ));
        (all.seconds, all.floor) = (all.seconds + seconds, all.floor + floor);
    }
    text.push_str(&format!(
        "| all | {:.3} | {:.3} | {:.0} % |\n\nNormalisations' tables, the loss and the update take {:.3} ms besides.\n",
        1e3 * all.seconds,
        1e3 * all.floor,
        100.0 * all.floor / all.seconds,
        1e3 * rest
    ));
    Ok((Outcome::Passed, text))
}

/// The height at the end of a shape as [`Timed`] writes it: `3×3 s1, 64→64, 28×28` or `64×28×28`.
fn height(shape: &str) -> Option<usize> {
    let mut extents = shape.rsplit(", ").next()?.rsplit('×');
    let (_w, h) = (extents.next()?.parse::<usize>().ok()?, extents.next()?);
    h.parse().ok()
}

/// Bytes per second of reading and writing a tensor that is larger than any cache.
fn bandwidth(backend: &mut CudaBackend, target: Target) -> Result<f64> {
    let n = if target == Target::Emulator { 1 } else { 256 };
    let op = Combine::new(n, 56, 56, 256, DType::Bf16)?;
    let desc = op.desc();
    let bytes = backend.buffer_bytes(&desc);
    let (x, mut z) = (backend.alloc(bytes)?, backend.alloc(bytes)?);
    backend.combine(&op, Source::raw(&x), &mut z, None)?;
    backend.synchronize()?;
    let rounds = if target == Target::Emulator { 1 } else { 20 };
    let start = Instant::now();
    for _ in 0..rounds {
        backend.combine(&op, Source::raw(&x), &mut z, None)?;
    }
    backend.synchronize()?;
    Ok(2.0 * bytes as f64 * f64::from(rounds) / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::height;

    #[test]
    fn shapes_end_in_their_extents() {
        assert_eq!(height("3×3 s1, 64→64, 28×14"), Some(28));
        assert_eq!(height("1×1 s1, 64→64 /32, 7×7"), Some(7));
        assert_eq!(height("64×112×56"), Some(112));
        assert_eq!(height("161 tensors"), None);
    }
}
