//! One file per command.

mod bench;
mod compare;
mod data;
mod eval;
mod export;
mod forward;
mod import;
mod predict;
mod summary;
mod train;

/// What can be asked for.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    Train(Box<train::TrainArgs>),
    Eval(Box<eval::EvalArgs>),
    Predict(Box<predict::PredictArgs>),
    Compare(Box<compare::CompareArgs>),
    Data(data::DataCommand),
    Summary(summary::SummaryArgs),
    Forward(forward::ForwardArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Bench(bench::BenchArgs),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Train(args) => train::run(*args),
            Command::Eval(args) => eval::run(*args),
            Command::Predict(args) => predict::run(*args),
            Command::Compare(args) => compare::run(*args),
            Command::Data(args) => data::run(args),
            Command::Summary(args) => summary::run(args),
            Command::Forward(args) => forward::run(args),
            Command::Import(args) => import::run(args),
            Command::Export(args) => export::run(args),
            Command::Bench(args) => bench::run(args),
        }
    }
}
