//! The rows of the table of times.

use resnet_core::DType;

use crate::Target;
use crate::timing::OWN_CHOICES;

/// What numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Bf16,
    F16,
    /// f32 whose products are rounded to tf32.
    Tf32,
    F32,
}

impl Precision {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
            Precision::Tf32 => "tf32",
            Precision::F32 => "f32",
        }
    }

    pub(crate) fn dtype(self) -> DType {
        match self {
            Precision::Bf16 => DType::Bf16,
            Precision::F16 => DType::F16,
            Precision::Tf32 | Precision::F32 => DType::F32,
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) arch: &'static str,
    pub(crate) channels: usize,
    pub(crate) size: usize,
    pub(crate) classes: usize,
    pub(crate) batch: usize,
    pub(crate) precision: Precision,
    pub(crate) infer: bool,
    /// What PyTorch's best is to be beaten by.
    pub(crate) goal: f64,
    /// PyTorch's ways for this row.
    pub(crate) ways: &'static [&'static str],
    /// Whether each choice of our kernels is timed, and not only the usual one.
    pub(crate) choices: bool,
}

const ALL: &[&str] = &["eager", "graph", "default", "reduce-overhead", "max-autotune"];
const SOME: &[&str] = &["eager", "graph", "reduce-overhead"];

const RESNET50: Case = Case {
    arch: "resnet50",
    channels: 3,
    size: 224,
    classes: 1000,
    batch: 256,
    precision: Precision::Bf16,
    infer: false,
    goal: 1.25,
    ways: ALL,
    choices: true,
};
const RESNET18: Case = Case { arch: "resnet18", channels: 1, size: 96, classes: 10, goal: 1.5, ..RESNET50 };

/// The rows, the most important first: time may not suffice for all.
const CASES: [Case; 7] = [
    RESNET50,
    RESNET18,
    Case { infer: true, goal: 1.3, choices: false, ..RESNET50 },
    Case { infer: true, batch: 1, goal: 1.0, ways: SOME, choices: false, ..RESNET50 },
    Case { precision: Precision::F16, goal: 1.3, ways: SOME, ..RESNET50 },
    Case { precision: Precision::Tf32, batch: 128, goal: 1.1, ways: SOME, choices: false, ..RESNET50 },
    Case { precision: Precision::F32, batch: 128, goal: 1.1, ways: SOME, choices: false, ..RESNET50 },
];

const TINY: Case = Case {
    arch: "resnet20-cifar",
    size: 8,
    classes: 10,
    batch: 2,
    goal: 1.0,
    ways: &["eager"],
    choices: false,
    ..RESNET50
};

/// For a rehearsal.
const SMALL: [Case; 4] = [
    Case { choices: true, ..TINY },
    Case { precision: Precision::F16, ..TINY },
    Case { precision: Precision::Tf32, ..TINY },
    Case { infer: true, precision: Precision::F32, ..TINY },
];

impl Case {
    pub(crate) fn title(&self) -> String {
        let mode = if self.infer { "inference" } else { "training" };
        let Case { arch, channels, size, batch, precision, .. } = self;
        format!("{arch} {channels}×{size}² batch {batch} {} {mode}", precision.name())
    }

    /// Whether a way is timed for this row.
    pub(crate) fn has(&self, way: &str) -> bool {
        if way == OWN_CHOICES { self.choices } else { self.ways.contains(&way) }
    }
}

/// The rows for a device, or for a rehearsal.
pub(crate) fn of(target: Target) -> &'static [Case] {
    match target {
        Target::Device(_) => &CASES,
        Target::Emulator => &SMALL,
    }
}
