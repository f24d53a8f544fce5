//! Where to compute: the flags that every computing command takes.

use resnet::backend::{Choice, Kind};
use resnet_core::DType;

/// The flags that choose a backend.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub(crate) struct DeviceArgs {
    /// Where to compute: cpu or cuda
    #[arg(long, value_name = "NAME", default_value_t = Kind::default())]
    pub(crate) backend: Kind,

    /// Threads to compute with on the CPU. Default: all that this process may use
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Number of the CUDA device
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) device: usize,
}

impl DeviceArgs {
    /// The backend these flags choose.
    pub(crate) fn choice(&self) -> Choice {
        match self.backend {
            Kind::Cpu => Choice::Cpu { threads: self.threads },
            Kind::Cuda => Choice::Cuda { ordinal: self.device },
        }
    }
}

/// Element type of the activations, as people write it.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Activations and compute weights in bfloat16, everything else in single precision.
    Bf16,
    /// The same in IEEE half precision, more exact and with less range.
    F16,
}

impl Precision {
    pub(crate) fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::Bf16,
            Precision::F16 => DType::F16,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }
}
