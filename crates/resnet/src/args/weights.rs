//! Which weights, and whose: one way to open them for every command.

use std::path::{Path, PathBuf};

use resnet::Opened;
use resnet_core::zoo::ResNetSpec;
use resnet_import::{Options, Report, Source};

use super::NetworkArgs;
use crate::exit::usage;
use crate::runs;

/// The flags that say whose file it is, and what the file does not say itself.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Weights")]
pub(crate) struct SourceArgs {
    /// Library that wrote the weights: auto, torchvision, timm, keras, paddle, d2l or hugging-face
    #[arg(long, value_name = "LIBRARY", default_value_t)]
    pub(crate) from: Source,

    /// What stands before every name in the file and is no common wrapper, such as cp.resnet.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,

    /// Epsilon of the normalisations, where the file does not say it and it is not the library's
    #[arg(long, value_name = "EPS")]
    pub(crate) norm_eps: Option<f32>,

    /// Do not compare the file with the digest in its name
    #[arg(long)]
    pub(crate) no_checksum: bool,
}

impl SourceArgs {
    /// What an import is told by these flags and those of the network.
    pub(crate) fn options(&self, network: &NetworkArgs) -> resnet_core::Result<Options> {
        Ok(Options {
            prefix: self.prefix.clone(),
            norm_eps: self.norm_eps,
            checksum: !self.no_checksum,
            ..network.import_options(self.from)?
        })
    }
}

/// The flags that name a weights file of any library.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Weights")]
pub(crate) struct WeightsArgs {
    /// Weights: a run directory, safetensors, or a file of PyTorch, timm, Keras, Paddle or Hugging Face
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

impl WeightsArgs {
    /// Opens weights to use them as they are: the number of classes stays the file's.
    pub(crate) fn open(&self, path: &Path, network: &NetworkArgs) -> anyhow::Result<(PathBuf, Opened)> {
        let path = runs::model_file(path)?;
        let options = Options { classes: None, ..self.source.options(network)? };
        let opened = resnet::open(&path, &options)?;
        let found = opened.model.spec.classes;
        match network.classes {
            Some(wanted) if wanted != found => Err(usage(format!(
                "{}: fc.weight is for {found} classes, --classes wants {wanted}; a new classifier has to be trained: \
                 `resnet train --weights {}`",
                path.display(),
                path.display()
            ))),
            _ => Ok((path, opened)),
        }
    }

    /// The network of the weights, if any are named; else that of the flags, `default` where they name none.
    pub(crate) fn spec(
        &self,
        network: &NetworkArgs,
        default: &str,
    ) -> anyhow::Result<(ResNetSpec, Option<Opened>)> {
        let Some(path) = &self.weights else { return Ok((network.spec(default)?, None)) };
        let (_, opened) = self.open(path, network)?;
        tell(&opened.report);
        Ok((opened.model.spec.clone(), Some(opened)))
    }
}

/// What was found in another library's file and changed, a line each. A file of this project goes without saying whose it is.
pub(crate) fn tell(report: &Report) {
    if !report.described {
        eprintln!("{}", report.source);
    }
    report.notes.iter().for_each(|note| eprintln!("{note}"));
}
