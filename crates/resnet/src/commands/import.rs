//! `resnet import`: weights of other libraries.

use std::path::PathBuf;

use resnet_import::{Options, Source, import};

use crate::args::{NetworkArgs, label};

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

    /// auto, torchvision, timm, keras, paddle, d2l or hugging-face
    #[arg(long, value_name = "LIBRARY", default_value_t)]
    from: Source,

    /// What stands before every name and is no common wrapper, such as cp.resnet.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,

    /// Epsilon of the normalisations, where the file does not say it and it is not the library's
    #[arg(long, value_name = "EPS")]
    norm_eps: Option<f32>,

    /// Take what fits; what is missing starts fresh
    #[arg(long)]
    lenient: bool,

    /// Do not compare the file with the digest in its name
    #[arg(long)]
    no_checksum: bool,

    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) fn run(args: ImportArgs) -> anyhow::Result<()> {
    let options = Options {
        prefix: args.prefix,
        norm_eps: args.norm_eps,
        strict: !args.lenient,
        checksum: !args.no_checksum,
        ..args.network.import_options(args.from)?
    };
    let imported = import(&args.file, &options)?;
    imported.save(&args.output)?;
    for note in &imported.report.notes {
        eprintln!("{note}");
    }
    eprintln!("{}: {}, in {}", label(&imported.spec), imported.report, args.output.display());
    Ok(())
}
