//! `cargo xtask parity`: the worst error of every op against the f64 reference, for each backend there is.
//!
//! Two backends agree where both are within the derived bounds of the same reference.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use resnet_conformance::{OpError, worst_errors};
use resnet_core::Backend;
use resnet_cpu::CpuBackend;
use resnet_cuda::CudaBackend;

/// Print the worst error of every op against the f64 reference, for each backend there is.
///
/// `relative` is the largest error of an element over the largest element of its tensor.
/// `of bound` is the largest error of an element over what rounding alone may do to that element: above 1 is a defect.
#[derive(Parser)]
#[command(name = "cargo xtask parity", bin_name = "cargo xtask parity")]
struct Args {
    /// Random cases per op
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Threads of the CPU backend; as many as the machine has where it is not given
    #[arg(long)]
    threads: Option<usize>,
    /// Number of the CUDA device
    #[arg(long, default_value_t = 0)]
    device: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut columns = Vec::new();
    let mut problems = Vec::new();
    match CpuBackend::new(args.threads) {
        Ok(backend) => columns.push(measure(backend, args.cases)),
        Err(error) => problems.push(error.to_string()),
    }
    match CudaBackend::new(args.device) {
        Ok(backend) => columns.push(measure(backend, args.cases)),
        Err(error) => println!("Left out. {error}.\n"),
    }
    print(&columns, args.cases);
    problems.extend(columns.iter().flat_map(Column::failures));
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One backend's errors.
struct Column {
    name: &'static str,
    about: String,
    ops: Vec<OpError>,
}

fn measure<B: Backend>(mut backend: B, cases: u32) -> Column {
    let (name, about) = (backend.name(), backend.describe());
    Column { name, about, ops: worst_errors(&mut backend, cases) }
}

impl Column {
    fn failures(&self) -> impl Iterator<Item = String> {
        let failed =
            |error: &OpError| error.failure.as_ref().map(|why| format!("{}: {}: {why}", self.name, error.op));
        self.ops.iter().filter_map(failed)
    }
}

fn print(columns: &[Column], cases: u32) {
    for column in columns {
        println!("{}: {}", column.name, column.about);
    }
    println!("\nWorst error against the f64 reference, {cases} cases per op:\n");
    let heads: String =
        columns.iter().map(|column| format!(" {0} relative | {0} of bound |", column.name)).collect();
    println!("| op |{heads}\n|---|{}", "--:|".repeat(2 * columns.len()));
    let rows = columns.first().map_or(&[][..], |column| &column.ops);
    for (i, row) in rows.iter().enumerate() {
        let cells: String = columns
            .iter()
            .filter_map(|column| column.ops.get(i))
            .map(|error| format!(" {:.1e} | {:.3} |", error.worst_relative, error.worst_over_bound))
            .collect();
        println!("| `{}` |{cells}", row.op);
    }
}
