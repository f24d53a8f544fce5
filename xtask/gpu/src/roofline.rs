//! Where a step's time goes, stage by stage, beside what it could take: the larger of its operations over the device's peak and of its
//! bytes over the device's bandwidth, op by op. Bytes are those of an op that reads each operand once and writes its result once.
//!
//! Every op is waited for, so times are somewhat longer than in an undisturbed step, more so for small ones.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use resnet::profile::Timed;
use resnet_core::op::{Combine, Op, Optimizer, StepScalars};
use resnet_core::{Accumulate, Backend, DType, Executor, LowerOptions, Params, Source, TensorDesc, init};
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
    let mut step = |backend: &mut Timed<CudaBackend>| -> Result<()> {
        net.ingest(backend)?;
        net.forward(backend, &mut params)?;
        net.loss_of_labels(backend, false, batch, Accumulate::Set)?;
        net.backward(backend, &mut params, Accumulate::Set)?;
        backend.update(&rule, net.scalars(), None, &mut params.list)?;
        Ok(())
    };
    step(backend)?;
    backend.reset();
    for _ in 0..steps {
        step(backend)?;
    }

    let mut stages = BTreeMap::<usize, Stage>::new();
    let mut rest = Duration::ZERO;
    for (call, spent) in backend.report() {
        match height(&call.shape) {
            Some(h) => stages.entry(h).or_default().seconds += spent.time.as_secs_f64() / steps as f64,
            None => rest += spent.time / steps,
        }
    }
    let program = net.program();
    for step in program.forward.iter().chain(&program.backward) {
        if let Some((h, flops, bytes)) = work(&step.op()) {
            stages.entry(h).or_default().floor += f64::max(flops / PEAK_FLOPS, bytes / bandwidth);
        }
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
        1e3 * rest.as_secs_f64()
    ));
    Ok((Outcome::Passed, text))
}

/// The height at the end of a shape as [`Timed`] writes it: `3×3 s1, 64→64, 28×28` or `64×28×28`.
fn height(shape: &str) -> Option<usize> {
    let mut extents = shape.rsplit(", ").next()?.rsplit('×');
    let (_w, h) = (extents.next()?.parse::<usize>().ok()?, extents.next()?);
    h.parse().ok()
}

/// Height, operations and bytes of an op on images.
fn work(op: &Op) -> Option<(usize, f64, f64)> {
    let bytes = |descs: &[TensorDesc]| descs.iter().map(|d| 2.0 * d.len() as f64).sum::<f64>();
    Some(match op {
        Op::Conv2d(op) | Op::Conv2dBackwardData(op) | Op::Conv2dBackwardWeight(op) => {
            let macs = op.y_desc().len() * op.r() * op.s() * op.c() / op.groups();
            (op.p(), 2.0 * macs as f64, bytes(&[op.x_desc(), op.w_desc(), op.y_desc()]))
        }
        Op::Combine(op) | Op::CombineBackward(op) => (op.desc().h, 0.0, bytes(&[op.desc(), op.desc()])),
        Op::MaxPool(op) => (op.x_desc().h, 0.0, bytes(&[op.x_desc(), op.y_desc()])),
        Op::AvgPool(op) => (op.x_desc().h, 0.0, bytes(&[op.x_desc(), op.y_desc()])),
        _ => return None,
    })
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
