//! `resnet summary`: what a network consists of.

use resnet_core::graph::Summary;
use resnet_core::weights::few;
use resnet_core::zoo;

use crate::args::{NetworkArgs, WeightsArgs, label};
use crate::view::output;

/// Show a network layer by layer.
///
/// Shapes, parameters, multiply-accumulates and connections; as a table, as JSON or as a drawing.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet summary --arch resnet18
  resnet summary --arch resnet50 --variant v2 --channels 1 --size 96 --classes 10
  resnet summary --arch paddle18 --json | jq .total_params
  resnet summary --arch resnet20-cifar --dot | dot -Tsvg > resnet20.svg
  resnet summary --weights resnet50-0676ba61.pth
  resnet summary --list")]
pub(crate) struct SummaryArgs {
    /// All of it as JSON
    #[arg(long)]
    json: bool,

    /// A drawing in the DOT language, for Graphviz
    #[arg(long, conflicts_with = "json")]
    dot: bool,

    /// The names of all networks, one a line
    #[arg(long, conflicts_with_all = ["json", "dot", "arch", "weights"])]
    list: bool,

    #[command(flatten)]
    weights: WeightsArgs,

    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) fn run(args: SummaryArgs) -> anyhow::Result<()> {
    if args.list {
        return output::lines(zoo::names());
    }
    let (spec, opened) = args.weights.spec(&args.network, "resnet18")?;
    let graph = spec.build()?;
    if args.dot {
        return output::lines([graph.to_dot().trim_end()]);
    }
    let summary = Summary::of(&graph, Some(label(&spec)), spec.conventions.count_statistics);
    if args.json {
        return output::lines([serde_json::to_string_pretty(&summary)?]);
    }
    let mut lines = vec![summary.to_string().trim_end().to_owned()];
    if let Some(opened) = opened {
        lines.push(format!("\npictures  {}", opened.model.preprocessing));
        if opened.has_class_names {
            lines.push(format!("classes   {}", few(opened.model.classes.iter())));
        }
    }
    output::lines(lines)
}
