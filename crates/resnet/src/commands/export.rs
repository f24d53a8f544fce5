//! `resnet export`: files that other libraries load.

use std::path::PathBuf;

use resnet_import::export::{Library, OnnxOptions, write_library, write_onnx};
use resnet_import::write_file;

use crate::args::{NetworkArgs, WeightsArgs, label, tell};

/// Write a network for torchvision, timm or any ONNX runtime.
///
/// The file is refused where the library's network would give other results.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet export runs/run-1 --to onnx --fold -o model.onnx
  resnet export resnet50-0676ba61.pth --to onnx -o resnet50.onnx
  resnet export model.safetensors --to torchvision -o resnet50.safetensors
  resnet export resnetv2.safetensors --to timm -o resnetv2_50.safetensors")]
pub(crate) struct ExportArgs {
    /// A run directory or a weights file of any library
    #[arg(value_name = "FILE", required_unless_present = "weights", conflicts_with = "weights")]
    file: Option<PathBuf>,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// What the file is for
    #[arg(long, value_enum)]
    to: Target,

    /// Fold normalisations into the convolutions before them (ONNX)
    #[arg(long)]
    fold: bool,

    #[command(flatten)]
    weights: WeightsArgs,

    #[command(flatten)]
    network: NetworkArgs,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// An ONNX runtime
    Onnx,
    /// torchvision.models, as safetensors
    Torchvision,
    /// timm, as safetensors
    Timm,
}

pub(crate) fn run(args: ExportArgs) -> anyhow::Result<()> {
    if args.fold && args.to != Target::Onnx {
        return Err(crate::exit::usage(
            "--fold is for --to onnx: the other libraries have their normalisations",
        ));
    }
    let Some(file) = args.file.as_ref().or(args.weights.weights.as_ref()) else {
        return Err(crate::exit::usage("no weights; name a file"));
    };
    let (_, opened) = args.weights.open(file, &args.network)?;
    tell(&opened.report);
    let (spec, values, metadata) = (&opened.model.spec, &opened.model.values, opened.model.metadata()?);
    let library = match args.to {
        Target::Torchvision => Some(Library::Torchvision),
        Target::Timm => Some(Library::Timm),
        Target::Onnx => None,
    };
    if let Some(library) = library {
        library.check(spec)?;
    }
    let graph = spec.build()?;
    write_file(&args.output, |out| match library {
        Some(library) => write_library(out, spec, values, library, &metadata).map(drop),
        None => write_onnx(out, &graph, values, &OnnxOptions { fold_norms: args.fold, metadata }),
    })?;
    eprintln!("{}, in {}", label(spec), args.output.display());
    Ok(())
}
