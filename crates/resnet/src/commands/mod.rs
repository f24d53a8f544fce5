//! One file per command.

mod bench;
mod forward;
mod summary;

/// What can be asked for.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    Summary(summary::SummaryArgs),
    Forward(forward::ForwardArgs),
    Bench(bench::BenchArgs),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Summary(args) => summary::run(args),
            Command::Forward(args) => forward::run(args),
            Command::Bench(args) => bench::run(args),
        }
    }
}
