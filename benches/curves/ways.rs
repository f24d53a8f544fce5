//! In which ways either side is run.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use resnet_core::Backend;
use resnet_cpu::{CpuBackend, Kernel};
use resnet_train::recipe::{Precision, Recipe};

/// How this project computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// f32 with what the backend takes of its own accord
    F32,
    /// f32 with plain sums
    Strict,
    /// f32 as two pieces of bf16, on tiles of AMX; left out where there are none
    High,
    /// Activations in bf16
    Bf16,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::F32 => "f32",
            Way::Strict => "f32, strict",
            Way::High => "f32, high",
            Way::Bf16 => "bf16",
        })
    }
}

impl Way {
    /// The kernels it asks for.
    pub(crate) fn kernel(self) -> Kernel {
        match self {
            Way::F32 | Way::Bf16 => Kernel::Auto,
            Way::Strict => Kernel::Strict,
            Way::High => Kernel::High,
        }
    }

    /// The recipe in its precision.
    pub(crate) fn of(self, recipe: &Recipe) -> Recipe {
        let mut recipe = recipe.clone();
        recipe.train.precision = if self == Way::Bf16 { Precision::Bf16 } else { Precision::F32 };
        recipe
    }
}

/// The ways without those that are here the same as plain f32, which is said.
pub(crate) fn without_twins(ways: &[Way]) -> Result<Vec<Way>> {
    let described = |kernel| Ok::<_, anyhow::Error>(CpuBackend::with_kernel(Some(1), kernel)?.describe());
    let mut kept = vec![];
    for &way in ways {
        if way == Way::High && described(Kernel::High)? == described(Kernel::Auto)? {
            eprintln!(
                "high is left out: this machine has no tiles of AMX, and without them it is the same as f32"
            );
        } else if !kept.contains(&way) {
            kept.push(way);
        }
    }
    anyhow::ensure!(!kept.is_empty(), "--ways: nothing is left to run");
    Ok(kept)
}

/// How PyTorch computes. Each way adds up in another order, and none is more right than another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) memory_format: &'static str,
    pub(crate) threads: usize,
}

impl Order {
    /// Both memory formats with all threads, and with one thread where there are more.
    pub(crate) fn all(threads: usize) -> Vec<Order> {
        let mut all = vec![
            Order { memory_format: "channels_last", threads },
            Order { memory_format: "contiguous_format", threads },
        ];
        if threads > 1 {
            all.push(Order { memory_format: "channels_last", threads: 1 });
        }
        all
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Order { memory_format, threads } = self;
        let format = if *memory_format == "channels_last" { "channels-last" } else { "NCHW" };
        write!(f, "PyTorch, {format}, {threads} thread{}", if *threads == 1 { "" } else { "s" })
    }
}
