//! Which trained network: a run, or a weights file and what it does not say itself.

use std::path::{Path, PathBuf};

use anyhow::Context;
use resnet_train::model::Model;

use super::weights::tell;
use super::{NetworkArgs, WeightsArgs};
use crate::exit::usage;

/// The flags that say which trained network, and complete what its file does not say.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// Mean of each channel, of pixels scaled to 0…1. Default: what the weights say, or their library's
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

    /// A file with the name of one class on each line. Default: what the weights say, or their library's
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub(crate) class_names: Option<PathBuf>,
}

impl ModelArgs {
    /// Reads the model at a path, a run directory or a weights file. Returns the file, too.
    pub(crate) fn read(&self, path: &Path) -> anyhow::Result<(PathBuf, Model)> {
        let (path, opened) = self.weights.open(path, &self.network)?;
        tell(&opened.report);
        let mut model = opened.model;
        self.complete(&mut model).with_context(|| path.display().to_string())?;
        Ok((path, model))
    }

    fn complete(&self, model: &mut Model) -> anyhow::Result<()> {
        if let Some(path) = &self.class_names {
            let text = std::fs::read_to_string(path)
                .map_err(|e| usage(format!("{}: cannot read: {e}", path.display())))?;
            let names: Vec<String> = text.lines().map(str::to_owned).collect();
            let n = model.spec.classes;
            if names.len() > n {
                return Err(usage(format!("{} class names for {n} classes", names.len())));
            }
            model.classes = names;
            model.classes.extend((model.classes.len()..n).map(|i| format!("class {i}")));
        }
        if let (Some(mean), Some(std)) = (&self.mean, &self.std) {
            let p = &mut model.preprocessing;
            (p.mean, p.std, p.scale) = (mean.clone(), std.clone(), 1.0 / 255.0);
            let spec = &model.spec;
            p.check(spec.channels, spec.height, spec.width).map_err(|e| usage(e.to_string()))?;
        }
        Ok(())
    }
}
