//! Whole steps by kind of op.

use std::collections::BTreeMap;
use std::fmt::Write;

use resnet::profile::Timed;
use resnet_benches::Case;
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{Executor, LowerOptions, Params, TrainingStep, init};
use resnet_cpu::{CpuBackend, Peak};

use crate::{floor, median};

/// Ops of one kind in one step.
#[derive(Default)]
struct Kind {
    calls: usize,
    seconds: f64,
    floor: f64,
    flops: f64,
    bytes: f64,
}

/// Runs a case and adds its table to the text.
pub(crate) fn table(
    text: &mut String,
    case: &Case,
    peak: &Peak,
    threads: Option<usize>,
    steps: usize,
) -> anyhow::Result<()> {
    let kinds = measure(case, peak, threads, steps)?;
    let sum = |f: fn(&Kind) -> f64| kinds.values().map(f).sum::<f64>();
    let (seconds, least) = (sum(|k| k.seconds), sum(|k| k.floor));
    writeln!(text, "\n## {case}\n")?;
    writeln!(
        text,
        "{:.1} ms in ops per step; the floors add up to {:.1} ms, which is {:.0} %.\n",
        1e3 * seconds,
        1e3 * least,
        100.0 * least / seconds
    )?;
    text.push_str("| op | calls | ms | share | GFLOP/s | of peak | GB/s | floor ms | time / floor |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    let mut rows: Vec<_> = kinds.iter().collect();
    rows.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    for (name, kind) in rows {
        let rate = |amount: f64| amount / kind.seconds / 1e9;
        let (flops, share) = match kind.flops > 0.0 {
            true => {
                let share = 100.0 * kind.flops / kind.seconds / peak.flops;
                (format!("{:.0}", rate(kind.flops)), format!("{share:.0} %"))
            }
            false => ("–".to_owned(), "–".to_owned()),
        };
        let (bytes, least, times) = match kind.floor > 0.0 {
            true => (
                format!("{:.1}", rate(kind.bytes)),
                format!("{:.2}", 1e3 * kind.floor),
                format!("{:.1}", kind.seconds / kind.floor),
            ),
            false => ("–".to_owned(), "–".to_owned(), "–".to_owned()),
        };
        writeln!(
            text,
            "| {name} | {} | {:.2} | {:.1} % | {flops} | {share} | {bytes} | {least} | {times} |",
            kind.calls,
            1e3 * kind.seconds,
            100.0 * kind.seconds / seconds,
        )?;
    }
    Ok(())
}

fn measure(
    case: &Case,
    peak: &Peak,
    threads: Option<usize>,
    steps: usize,
) -> anyhow::Result<BTreeMap<String, Kind>> {
    const N_WARM_UP: usize = 2;
    let mut backend = Timed::new(CpuBackend::new(threads)?);
    let graph = case.network()?;
    let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
    let values = init::initial_values(&graph, 0);
    let mut params = Params::new(&mut backend, &graph, &values, case.trains.then_some(&rule))?;
    drop(values);
    let options = if case.trains { LowerOptions::train(case.batch) } else { LowerOptions::infer(case.batch) };
    let mut net = Executor::new(&mut backend, &graph, options, 0.0)?;
    net.set_scalars(&mut backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
    let mut training = TrainingStep::new(rule);
    let n_bytes = case.batch * case.size * case.size * case.channels;
    let pixels: Vec<u8> = (0..n_bytes).map(|i| (i * 7919 % 251) as u8).collect();
    let labels: Vec<u32> = (0..case.batch).map(|i| (i % case.classes) as u32).collect();

    // Seconds of each step, and what it was, by op and shape.
    let mut calls: BTreeMap<(&str, String), (Vec<f64>, Kind)> = BTreeMap::new();
    for step in 0..N_WARM_UP + steps {
        backend.reset();
        if case.trains {
            training.run(&mut backend, &mut net, &mut params, &pixels, &labels)?;
        } else {
            net.load_pixels(&mut backend, &pixels)?;
            net.forward(&mut backend, &mut params)?;
            net.logits(&mut backend)?;
        }
        if step < N_WARM_UP {
            continue;
        }
        for (call, spent) in backend.report() {
            let (seconds, kind) = calls.entry((call.method, call.shape)).or_default();
            seconds.push(spent.time.as_secs_f64());
            let (flops, bytes) = (spent.work.flops as f64, spent.work.bytes as f64);
            *kind =
                Kind { calls: spent.n_calls, seconds: 0.0, floor: floor(peak, flops, bytes), flops, bytes };
        }
    }
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for ((method, shape), (seconds, of)) in calls {
        // A convolution's kind has its window and stride, the head of its shape.
        let name = match (method.starts_with("conv2d"), shape.split_once(',')) {
            (true, Some((window, _))) => format!("{method}, {window}"),
            _ => method.to_owned(),
        };
        let kind = kinds.entry(name).or_default();
        kind.calls += of.calls;
        kind.seconds += median(seconds);
        kind.floor += of.floor;
        kind.flops += of.flops;
        kind.bytes += of.bytes;
    }
    Ok(kinds)
}
