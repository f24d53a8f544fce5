//! `resnet export`: files that other libraries load.

use std::path::PathBuf;

use resnet_import::export::{Library, OnnxOptions, write_library, write_onnx};
use resnet_import::{Options, import, write_file};

use crate::args::label;

/// Write a network for torchvision, timm or any ONNX runtime.
///
/// The file is refused where the library's network would give other results.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet export runs/run-1/model.safetensors --to onnx --fold -o model.onnx
  resnet export model.safetensors --to torchvision -o resnet50.safetensors
  resnet export resnetv2.safetensors --to timm -o resnetv2_50.safetensors")]
pub(crate) struct ExportArgs {
    /// Weights that say which network they are for, or of another library
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// What the file is for
    #[arg(long, value_enum)]
    to: Target,

    /// Fold normalisations into the convolutions before them (ONNX)
    #[arg(long)]
    fold: bool,
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
    let imported = import(&args.file, &Options::default())?;
    let metadata = imported.metadata();
    let library = match args.to {
        Target::Torchvision => Some(Library::Torchvision),
        Target::Timm => Some(Library::Timm),
        Target::Onnx => None,
    };
    if let Some(library) = library {
        library.check(&imported.spec)?;
    }
    let graph = imported.spec.build()?;
    write_file(&args.output, |out| match library {
        Some(library) => write_library(out, &imported.spec, &imported.values, library, &metadata).map(drop),
        None => write_onnx(out, &graph, &imported.values, &OnnxOptions { fold_norms: args.fold, metadata }),
    })?;
    eprintln!("{}, in {}", label(&imported.spec), args.output.display());
    Ok(())
}
