//! Times the convolutions of a network one by one: three directions, as a training step runs them.
//!
//! `RESNET_CPU_KERNEL` chooses the kernels, for example `im2col`.
//! Times are those that the threads computed, so they hold on a busy machine too: the least mean of three rounds.
//! GFLOP/s count every tap, also those on padding.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use resnet_benches::layer::{Direction, Layer};
use resnet_benches::{convolutions, label};
use resnet_core::{Backend, DType, Result, zoo};
use resnet_cpu::CpuBackend;

/// Time the convolutions of a network one by one, by the time that the threads computed.
#[derive(Parser)]
struct Args {
    /// The network
    #[arg(long, default_value = "resnet18")]
    arch: String,
    /// Channels of a picture
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// Sizes in pixels
    #[arg(long, value_delimiter = ',', default_value = "28,96")]
    size: Vec<usize>,
    /// Pictures in a batch
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Threads; as many as the machine has where it is not given
    #[arg(long)]
    threads: Option<usize>,
    /// Type of the activations
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let dtype = match args.precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::Bf16,
    };
    let mut backend = CpuBackend::new(Some(threads))?;
    println!("{}, {}, batch {}, {dtype:?}", backend.describe(), args.arch, args.batch);
    for size in args.size {
        let graph = zoo::arch(&args.arch)?.channels(args.channels).size(size, size).build()?;
        let [forward, data, weight] = Direction::ALL.map(Direction::name);
        println!("\n{size:>3} px  {:<24} {:>6}   {forward:>16} {data:>16} {weight:>16}", "layer", "GFLOP");
        let mut total = [0.0; 3];
        for (op, count) in convolutions(&graph, args.batch, dtype)? {
            let mut layer = Layer::new(&mut backend, &op)?;
            let mut times = [0.0; 3];
            for (direction, time) in Direction::ALL.into_iter().zip(&mut times) {
                *time = least(threads, || layer.run(&mut backend, direction))?;
            }
            let gf = 2e-9 * op.macs() as f64;
            let cell = |t: f64| format!("{:>7.2} ms {:>4.0}/s", 1e3 * t, gf / t);
            let [f, d, w] = times.map(cell);
            println!("    {count} × {:<24} {gf:>6.2}   {f:>16} {d:>16} {w:>16}", label(&op));
            for (sum, t) in total.iter_mut().zip(times) {
                *sum += count as f64 * t;
            }
        }
        let [f, d, w] = total.map(|t| 1e3 * t);
        println!("    sum of the network {:>17}   {f:>13.1} ms {d:>13.1} ms {w:>13.1} ms", "");
    }
    Ok(())
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
