//! Times the convolutions of ResNet-18 or ResNet-50 one by one: three directions, as a training step runs them.
//!
//! ```text
//! cargo run --release -p resnet-cpu --example layers -- [pixels,…] [batch] [threads] [f32|bf16] [resnet18|resnet50]
//! ```
//!
//! `RESNET_CPU_KERNEL` chooses the kernels, for example `im2col`.
//! Inputs are read as sources (normalisation and ReLU on load), gradients through the normalisation's backward pass, and
//! outputs end in their epilogues (batch sums; mask and gradient sums), so the times include what other frameworks do in
//! passes of their own. GF/s count every tap, also those on padding. Times are those that the threads computed, the least mean of three rounds.

use std::sync::OnceLock;
use std::time::Instant;

use resnet_core::op::{Conv2d, Op, Padding};
use resnet_core::{
    Accumulate, Backend, DType, GradNorm, GradOut, GradSource, GradSums, HostData, Result, Source, TensorDesc,
};
use resnet_cpu::{Buffer, CpuBackend};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let pixels: Vec<usize> =
        args.first().map_or("28,96", String::as_str).split(',').filter_map(|v| v.parse().ok()).collect();
    let number = |i: usize| args.get(i).and_then(|v| v.parse().ok());
    let batch = number(1).unwrap_or(256);
    let threads = number(2).unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let dtype = if args.get(3).is_some_and(|v| v == "bf16") { DType::Bf16 } else { DType::F32 };
    let layers = if args.get(4).is_some_and(|v| v == "resnet50") { resnet50 } else { resnet18 };
    let mut backend = CpuBackend::new(Some(threads))?;
    println!("{}, batch {batch}, {dtype:?}", backend.describe());
    for px in pixels {
        println!(
            "\n{px:>3} px  {:<24} {:>6}   {:>16} {:>16} {:>16}",
            "layer", "GF", "forward", "data", "weight"
        );
        let mut total = [0.0; 3];
        for (name, count, op) in layers(batch, px, dtype)? {
            let times = time_layer(&mut backend, threads, &op)?;
            let gf = 2e-9 * op.macs() as f64;
            let cell = |t: f64| format!("{:>7.2} ms {:>4.0}/s", 1e3 * t, gf / t);
            let [f, d, w] = times.map(cell);
            println!("    {count} × {name:<24} {gf:>6.2}   {f:>16} {d:>16} {w:>16}");
            for (sum, t) in total.iter_mut().zip(times) {
                *sum += count as f64 * t;
            }
        }
        let [f, d, w] = total.map(|t| 1e3 * t);
        println!("    sum of the network {:>17}   {f:>13.1} ms {d:>13.1} ms {w:>13.1} ms", "");
    }
    Ok(())
}

/// Name, how often it occurs, and the convolution.
type Layer = (String, usize, Conv2d);

/// The distinct convolutions of ResNet-50 (v1.5) on three channels.
fn resnet50(n: usize, px: usize, dtype: DType) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    let mut push =
        |name: &str, count: usize, h: usize, c: usize, k: usize, r: usize, stride: usize| -> Result<usize> {
            let op = Conv2d::new((n, h, h, c), k, (r, r), stride, Padding::all(r / 2), 1, dtype)?;
            layers.push((format!("{name} {c}→{k} {r}×{r}/{stride} @{h}"), count, op));
            Ok(op.p())
        };
    let mut h = push("stem", 1, px, 3, 64, 7, 2)?.div_ceil(2);
    let mut input = 64;
    for (stage, width, blocks) in [(1, 64, 3), (2, 128, 4), (3, 256, 6), (4, 512, 3)] {
        let (name, stride) = (stage.to_string(), if stage == 1 { 1 } else { 2 });
        push(&format!("{name} proj"), 1, h, input, 4 * width, 1, stride)?;
        push(&format!("{name} first"), 1, h, input, width, 1, 1)?;
        h = push(&format!("{name} down"), 1, h, width, width, 3, stride)?;
        push(&name, blocks - 1, h, 4 * width, width, 1, 1)?;
        push(&name, blocks - 1, h, width, width, 3, 1)?;
        push(&name, blocks, h, width, 4 * width, 1, 1)?;
        input = 4 * width;
    }
    Ok(layers)
}

/// The distinct convolutions of ResNet-18 on one channel, and how often each occurs.
fn resnet18(n: usize, px: usize, dtype: DType) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    let mut push =
        |name: &str, count: usize, h: usize, c: usize, k: usize, r: usize, stride: usize| -> Result<usize> {
            let op = Conv2d::new((n, h, h, c), k, (r, r), stride, Padding::all(r / 2), 1, dtype)?;
            layers.push((format!("{name} {c}→{k} {r}×{r}/{stride} @{h}"), count, op));
            Ok(op.p())
        };
    let stem = push("stem", 1, px, 1, 64, 7, 2)?;
    let mut h = stem.div_ceil(2);
    push("1", 4, h, 64, 64, 3, 1)?;
    for (stage, c) in [(2, 64), (3, 128), (4, 256)] {
        push(&format!("{stage} proj"), 1, h, c, 2 * c, 1, 2)?;
        let out = push(&format!("{stage} down"), 1, h, c, 2 * c, 3, 2)?;
        h = out;
        push(&format!("{stage}"), 3, h, 2 * c, 2 * c, 3, 1)?;
    }
    Ok(layers)
}

/// Seconds of forward, backward-data and backward-weight.
fn time_layer(b: &mut CpuBackend, threads: usize, op: &Conv2d) -> Result<[f64; 3]> {
    b.prepare(&[Op::Conv2d(*op), Op::Conv2dBackwardData(*op), Op::Conv2dBackwardWeight(*op)])?;
    let (c, k) = (op.c(), op.k());
    let x = filled(b, op.x_desc())?;
    let x_affine = filled(b, TensorDesc::affine(c))?;
    let x_moments = filled(b, TensorDesc::moments(c))?;
    let w = filled(b, op.w_desc())?;
    let mut y = filled(b, op.y_desc())?;
    let dz = filled(b, op.y_desc())?;
    let coeffs = filled(b, TensorDesc::coeffs(k))?;
    let mut dx = filled(b, op.x_desc())?;
    let mut dw = filled(b, op.w_desc())?;
    let mut y_sums = filled(b, TensorDesc::sums(k))?;
    let mut x_sums = filled(b, TensorDesc::sums(c))?;
    // The stem reads pictures as they are.
    let normalised = c > 3;
    let source =
        Source { raw: &x, affine: normalised.then_some(&x_affine), residual: None, relu: normalised };

    let forward = least(threads, || b.conv2d(op, source, &w, None, &mut y, Some(&mut y_sums)))?;
    let dy = GradSource { dz: &dz, norm: Some(GradNorm { coeffs: &coeffs, y: &y }) };
    let data = least(threads, || {
        let sums = GradSums { y: &x, moments: &x_moments, sums: &mut x_sums };
        let out = GradOut { mask: Some(source), sums: [Some(sums), None], ..GradOut::set(&mut dx) };
        b.conv2d_backward_data(op, dy, &w, out)
    })?;
    let weight = least(threads, || b.conv2d_backward_weight(op, source, dy, &mut dw, None, Accumulate::Set))?;
    Ok([forward, data, weight])
}

fn filled(b: &mut CpuBackend, desc: TensorDesc) -> Result<Buffer> {
    let mut buffer = b.alloc(b.buffer_bytes(&desc))?;
    if desc.role != resnet_core::Role::Sums {
        let data: Vec<f32> =
            (0..desc.len()).map(|i| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0).collect();
        b.upload(&desc, HostData::F32(&data), &mut buffer)?;
    }
    Ok(buffer)
}

/// The least mean of a few rounds. A round is so long that the steps in which a system counts do not show.
fn least(threads: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    const ROUND: f64 = 0.08;
    run()?;
    let mut least = f64::INFINITY;
    for _ in 0..3 {
        let (start, mut runs) = (seconds(threads), 0);
        while seconds(threads) - start < ROUND {
            run()?;
            runs += 1;
        }
        least = least.min((seconds(threads) - start) / f64::from(runs));
    }
    Ok(least)
}

/// Seconds that each thread has computed so far, which other programs on the machine do not lengthen as they do the clock's.
/// Where the system does not say, the clock's.
fn seconds(threads: usize) -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let nanoseconds = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    match tasks.map(nanoseconds).sum::<Option<f64>>() {
        Some(all) if all > 0.0 => 1e-9 * all / threads as f64,
        _ => START.get_or_init(Instant::now).elapsed().as_secs_f64(),
    }
}
