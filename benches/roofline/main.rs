//! `cargo xtask bench --roofline`: where the time of a step goes, and how far each part is from what the machine can do.
//!
//! - `step.rs`: whole steps, by kind of op.
//! - `layers.rs`: single convolutions, plain sums against Winograd's.
#![forbid(unsafe_code)]

mod layers;
mod step;

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use resnet_benches::{CASES, Case};
use resnet_core::Backend;
use resnet_cpu::{CpuBackend, Peak};

/// Say where the time of a step goes on the CPU, and how far each part is from what the machine can do.
///
/// The machine's peak is measured first: f32 multiply-adds at the width that the backend uses, and reading and copying memory.
/// Then every op of a step is timed and set against its floor, and every convolution in its three directions.
#[derive(Parser)]
#[command(name = "cargo xtask bench --roofline", bin_name = "cargo xtask bench --roofline")]
struct Args {
    /// Write the tables to this Markdown file
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
    /// Only networks whose line has this in it, for example `resnet50` or `inference`
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Steps to measure of each network, after two that are not counted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads; as many as the machine has where it is not given
    #[arg(long)]
    threads: Option<usize>,
    /// Leave the table of single convolutions out
    #[arg(long)]
    no_layers: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.to_string().contains(&args.only)).collect();
    anyhow::ensure!(!cases.is_empty(), "--only {}: no case has this in its name", args.only);
    let mut backend = CpuBackend::new(args.threads)?;
    let peak = backend.peak();
    let mut text = head(&backend, &peak)?;
    drop(backend);
    for case in &cases {
        eprintln!("{case}");
        step::table(&mut text, case, &peak, args.threads, args.steps as usize)?;
    }
    if !args.no_layers {
        layers::explain(&mut text);
        for case in cases.iter().filter(|case| case.trains) {
            eprintln!("{case}, layer by layer");
            layers::table(&mut text, case, &peak, args.threads)?;
        }
    }
    let command: Vec<String> = std::env::args().skip(1).collect();
    writeln!(text, "\nCommand: `cargo xtask bench --roofline -- {}`", command.join(" "))?;
    println!("{text}");
    if let Some(path) = &args.md {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written to {}", path.display());
    }
    Ok(())
}

/// What the tables are and what they are measured by.
fn head(backend: &CpuBackend, peak: &Peak) -> anyhow::Result<String> {
    let mut text = String::from("# Where the time of a step goes on the CPU\n\n");
    writeln!(text, "{}\n", backend.describe())?;
    writeln!(text, "Peak, measured, all threads together: {peak}.\n")?;
    text.push_str(
        "GFLOP/s count the multiplications and additions of the definition, padded taps included, whatever algorithm computes \
         them; Winograd's needs two to four times fewer, so it may show more than the peak.\n\
         Bytes count every tensor that an op names once: what it must read and write if nothing stays in a cache from op to op.\n\
         The floor of an op is the larger of its operations over the peak and its bytes over the rate at which memory is read.\n\
         Tensors that fit the caches may be faster than that floor, and so may Winograd's algorithm.\n\
         The time is the median of the steps, op by op; ops of equal shape are timed together.\n",
    );
    Ok(text)
}

/// Seconds that a piece of work takes at least.
fn floor(peak: &Peak, flops: f64, bytes: f64) -> f64 {
    (flops / peak.flops).max(bytes / peak.read_bytes)
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}
