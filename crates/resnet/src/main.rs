//! The `resnet` command: parse, run one command, say what went wrong.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod exit;
mod runs;
mod signals;
mod view;

use clap::Parser;

/// Train, evaluate, explain and use residual networks.
#[derive(Parser, Debug)]
#[command(name = "resnet", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = after_help())]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn after_help() -> String {
    let kernels = resnet::backend::cpu_kernels().map(|(variable, names)| {
        let (first, second) = names.split_at(names.len() / 2);
        let (first, second) = (first.join(", "), second.join(", "));
        format!(
            "\n\nEnvironment:\n  {variable}   kernels of the CPU, `auto` if it is not set; the README says what they are:\n    \
             {first},\n    {second}"
        )
    });
    format!(
        "Start here:
  resnet train                        train ResNet-18 on the embedded sample of Fashion-MNIST
  resnet predict RUN PICTURE…         what the trained network sees
  resnet summary --arch resnet50      a network, layer by layer{}

`resnet COMMAND --help` has examples. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 and 143 stopped by a signal.",
        kernels.unwrap_or_default()
    )
}

fn main() -> std::process::ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
