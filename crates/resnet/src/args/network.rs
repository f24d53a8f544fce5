//! Which network: the flags that every command takes.

use resnet_core::Result;
use resnet_core::zoo::{self, ResNetSpec, Variant};
use resnet_import::{Options, Source};
use resnet_train::recipe::Size;

/// The flags that name a network.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Name of the network, such as resnet18, resnet50v2, resnet110-cifar, plain56-cifar, d2l18, keras18, paddle50.
    /// `resnet summary --list` shows all
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,

    /// Where norms, activations and strides stand: v1, v1.5, v2 or plain. Default: what the name says
    #[arg(long, value_name = "VARIANT")]
    pub(crate) variant: Option<Variant>,

    /// Number of classes
    #[arg(long, value_name = "N")]
    pub(crate) classes: Option<usize>,

    /// Channels of the pictures: 1 for grey, 3 for colour
    #[arg(long, value_name = "N")]
    pub(crate) channels: Option<usize>,

    /// Side of the pictures in pixels, or ROWSxCOLUMNS
    #[arg(long, value_name = "PX")]
    pub(crate) size: Option<Size>,
}

impl NetworkArgs {
    /// The network these flags name; `default` where they name none.
    pub(crate) fn spec(&self, default: &str) -> Result<ResNetSpec> {
        self.apply(zoo::arch(self.arch.as_deref().unwrap_or(default))?)
    }

    /// What an import of another library's file is told by these flags.
    pub(crate) fn import_options(&self, source: Source) -> Result<Options> {
        Ok(Options {
            source,
            arch: self.arch.as_deref().map(zoo::arch).transpose()?,
            variant: self.variant,
            classes: self.classes,
            channels: self.channels,
            size: self.size.map(|s| (s.height, s.width)),
            ..Options::default()
        })
    }

    /// A network changed by all flags but `--arch`.
    fn apply(&self, mut spec: ResNetSpec) -> Result<ResNetSpec> {
        if let Some(variant) = self.variant {
            spec = spec.variant(variant);
        }
        if let Some(classes) = self.classes {
            spec = spec.classes(classes);
        }
        if let Some(channels) = self.channels {
            spec = spec.channels(channels);
        }
        if let Some(size) = self.size {
            spec = spec.size(size.height, size.width);
        }
        Ok(spec)
    }
}

/// A network's name for people, with its variant where the name does not say it: `resnet50 (v2)`.
pub(crate) fn label(spec: &ResNetSpec) -> String {
    match zoo::arch(&spec.arch) {
        Ok(named) if named.variant == spec.variant => spec.arch.clone(),
        _ => format!("{} ({})", spec.arch, spec.variant),
    }
}
