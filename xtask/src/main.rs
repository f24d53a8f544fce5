//! Tasks of the project: `cargo xtask TASK`.
//!
//! This file parses and chooses; each task is one file or folder beside it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod arm;
mod bench;
mod ci;
mod cuda;
mod hand_over;
mod shell;
mod tidy;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Tasks of the project",
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// Arguments that another program parses, `--help` included.
#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    rest: Vec<OsString>,
}

#[derive(Subcommand)]
enum Task {
    /// Build the release binary with one backend (`--backend cpu` or `cuda`) and train: arguments of `resnet train`
    #[command(disable_help_flag = true)]
    Train(Rest),
    /// Build the release binary with one backend and compare networks: arguments of `resnet compare`
    #[command(disable_help_flag = true)]
    Compare(Rest),
    /// Time the kernels, or whole steps: beside PyTorch's (`--against torch`), with more threads, with real loading
    ///
    /// Without `--against`, `--threads` and `--loading` these are criterion's benches, and what follows `--` is criterion's.
    ///
    /// With `--against torch` every program runs the same step in turn, so that a machine that slows down slows all alike.
    /// PyTorch is installed on first use, with pip, into the target folder; it is large.
    /// The environment variable RESNET_TORCH_PYTHON names a Python that has torch and torchvision; then nothing is installed.
    Bench(Box<bench::Args>),
    /// Print the worst error of every op against the f64 reference, for each backend there is
    #[command(disable_help_flag = true)]
    Parity(Rest),
    /// List the published data sets, or fetch and verify one: `data list`, `data fashion-mnist`
    #[command(disable_help_flag = true)]
    Data(Rest),
    /// Fetch NVIDIA's run-time compiler from its Python wheels, for the tests of the CUDA backend
    ///
    /// They need no driver and no device. The wheels go into the target folder, where `test` and `ci` find them;
    /// the folder is printed, for RESNET_CUDA_LIBRARIES.
    CudaWheels(cuda::wheels::Args),
    /// Train a recipe in f32 (as it comes, strict, high) and in bf16 with several seeds, and lay the accuracies side by side
    Accuracy(bench::accuracy::Args),
    /// Train here and in PyTorch from the same weights on the same batches, and lay the losses over each other
    ///
    /// PyTorch is prepared as for `bench --against torch`.
    #[command(disable_help_flag = true)]
    Curves(Rest),
    /// Check the CUDA backend on this machine's GPU and time it beside PyTorch; `--rehearse` takes the emulator instead
    #[command(disable_help_flag = true)]
    GpuCheck(Rest),
    /// Pack what `gpu-check` needs for a machine with a GPU and without Rust or a network
    GpuPack(cuda::pack::Args),
    /// Run all tests: arguments of `cargo test`
    #[command(disable_help_flag = true)]
    Test(Rest),
    /// Check the rules of CONTRIBUTING.md that no other tool checks
    Tidy,
    /// Everything a change must pass, the cheapest check first
    ///
    /// Without a name all steps run, and the first that fails ends the run.
    Ci(ci::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done =
        std::env::set_current_dir(shell::root()).map_err(anyhow::Error::from).and_then(|()| match cli.task {
            Task::Train(args) => hand_over::resnet("train", args.rest),
            Task::Compare(args) => hand_over::resnet("compare", args.rest),
            Task::Bench(args) => bench::run(*args),
            Task::Parity(args) => hand_over::package("resnet-benches", "parity", args.rest),
            Task::Accuracy(args) => bench::accuracy::run(&args),
            Task::Curves(args) => bench::curves(args.rest),
            Task::Data(args) => hand_over::package("xtask-data", "xtask-data", args.rest),
            Task::CudaWheels(args) => cuda::wheels::run(args),
            Task::GpuCheck(args) => cuda::pack::check(args.rest),
            Task::GpuPack(args) => cuda::pack::pack(args),
            Task::Test(args) => hand_over::test(args.rest),
            Task::Tidy => tidy::run(),
            Task::Ci(args) => ci::run(args),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_task_can_be_parsed() {
        super::Cli::command().debug_assert();
    }
}
