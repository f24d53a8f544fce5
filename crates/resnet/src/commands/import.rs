//! `resnet import`: weights of other libraries.

use std::path::PathBuf;

use resnet_import::{Error, Options, import};

use crate::args::{NetworkArgs, SourceArgs, label, tell};
use crate::view::output;

/// Read weights of PyTorch, timm, Keras, Paddle or Hugging Face.
///
/// Container and library are recognised from the content. The network is read off names and shapes; nothing in the file is run.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet import resnet50-0676ba61.pth -o resnet50.safetensors
  resnet import model.weights.h5 --from keras -o model.safetensors
  resnet import checkpoint.pth --classes 10 -o start.safetensors       a fresh classifier on a trained trunk
  resnet import old.pth --variant v1 -o old.safetensors                where names do not tell v1 from v1.5

A Keras network whose layers have no stable names is imported from a file that keras_to_safetensors.py writes.")]
pub(crate) struct ImportArgs {
    /// A .pth, .pt, .safetensors, .h5, .keras, .pdparams, or a TensorFlow.js folder
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Safetensors file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    source: SourceArgs,

    /// Take what fits; what is missing starts fresh
    #[arg(long)]
    lenient: bool,

    /// The whole report as JSON, also where the file is refused: every tensor that is missing, unexpected or misshapen
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) fn run(args: ImportArgs) -> anyhow::Result<()> {
    let options = Options { strict: !args.lenient, ..args.source.options(&args.network)? };
    let imported = import(&args.file, &options);
    if let (true, Err(Error::Mismatch { report })) = (args.json, &imported) {
        output::lines([serde_json::to_string_pretty(report)?])?;
    }
    let imported = imported?;
    imported.save(&args.output)?;
    if args.json {
        let json = serde_json::json!({
            "report": imported.report,
            "network": imported.spec,
            "preprocessing": imported.preprocessing,
            "classes": imported.classes,
            "output": args.output,
        });
        return output::lines([serde_json::to_string_pretty(&json)?]);
    }
    tell(&imported.report);
    eprintln!("pictures: {}", imported.preprocessing);
    eprintln!("{}: {}, in {}", label(&imported.spec), imported.report, args.output.display());
    Ok(())
}
