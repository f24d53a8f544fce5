//! Which trained network: a run, or a weights file and what it does not say itself.

use std::path::{Path, PathBuf};

use anyhow::Context;
use resnet_core::Preprocessing;
use resnet_core::zoo::ResNetSpec;
use resnet_train::model::Model;

use super::NetworkArgs;
use crate::exit::usage;
use crate::runs;
use crate::weights_file::WeightsFile;

/// The flags that complete a weights file which was not written by a run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// Mean of each channel, of pixels scaled to 0…1. Default: what the model says
    #[arg(
        long,
        value_name = "M,…",
        value_delimiter = ',',
        help_heading = "Network",
        requires = "std",
        allow_negative_numbers = true
    )]
    pub(crate) mean: Option<Vec<f32>>,

    /// Standard deviation of each channel, alike
    #[arg(long, value_name = "S,…", value_delimiter = ',', help_heading = "Network", requires = "mean")]
    pub(crate) std: Option<Vec<f32>>,

    /// A file with the name of one class on each line. Default: what the model says
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub(crate) class_names: Option<PathBuf>,
}

impl ModelArgs {
    /// Reads the model at a path, a run directory or a weights file. Returns the file, too.
    pub(crate) fn read(&self, path: &Path) -> anyhow::Result<(PathBuf, Model)> {
        let path = runs::model_file(path)?;
        let mut file = WeightsFile::open(&path)?;
        let spec = file.spec(&self.network)?;
        let classes = self.classes(&file, &spec).with_context(|| path.display().to_string())?;
        let (mean, std) = self.normalisation(&file, &spec).with_context(|| path.display().to_string())?;
        let values = file.values(&spec.build()?)?;
        let preprocessing = Preprocessing::exact(spec.height, spec.width, mean, std);
        Ok((path, Model { spec, classes, preprocessing, values }))
    }

    /// As many names as there are classes; those that nobody named are numbered.
    fn classes(&self, file: &WeightsFile, spec: &ResNetSpec) -> anyhow::Result<Vec<String>> {
        let mut names: Vec<String> = match (&self.class_names, file.metadata("classes")) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| usage(format!("{}: cannot read: {e}", path.display())))?;
                text.lines().map(str::to_owned).collect()
            }
            (None, Some(json)) => serde_json::from_str(json).context("`classes` in its metadata")?,
            (None, None) => vec![],
        };
        if names.len() > spec.classes {
            return Err(usage(format!("{} class names for {} classes", names.len(), spec.classes)));
        }
        names.extend((names.len()..spec.classes).map(|i| format!("class {i}")));
        Ok(names)
    }

    fn normalisation(&self, file: &WeightsFile, spec: &ResNetSpec) -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
        let (mean, std) = match (&self.mean, &self.std, file.metadata("preprocessing")) {
            (Some(mean), Some(std), _) => (mean.clone(), std.clone()),
            (_, _, Some(json)) => stored_normalisation(json).context("`preprocessing` in its metadata")?,
            _ => {
                return Err(usage(
                    "does not say how pictures were normalised; give --mean and --std, one number per channel, such as \
                     --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
                ));
            }
        };
        if mean.len() != spec.channels || std.len() != spec.channels {
            return Err(usage(format!(
                "{} means and {} standard deviations for {} channels",
                mean.len(),
                std.len(),
                spec.channels
            )));
        }
        if std.iter().chain(&mean).any(|v| !v.is_finite()) || std.iter().any(|v| *v <= 0.0) {
            return Err(usage("means must be finite, standard deviations above 0"));
        }
        Ok((mean, std))
    }
}

/// Means and deviations of a model's metadata, the rest of which must be what this program knows.
fn stored_normalisation(json: &str) -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
    #[derive(serde::Deserialize)]
    struct Stored {
        mean: Vec<f32>,
        std: Vec<f32>,
    }
    serde_json::from_str::<Preprocessing>(json)?;
    let stored: Stored = serde_json::from_str(json)?;
    Ok((stored.mean, stored.std))
}
