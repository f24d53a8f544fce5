//! Convolutions on tensor cores, with kernels of our own: implicit matrix products of all three directions.
//!
//! They read a source or a gradient as the contract describes it, and let go of sums and gradients likewise, so nothing is
//! normalised, masked or summed in a pass of its own. What they compute and how is said in `kernels/tensor/*.cuh`.
//!
//! Here it is decided which kernel runs and with which arguments; nothing here touches a device.
//! A plan of a direction says how much scratch memory it wants and makes the list of launches.
//!
//! - [`tile`]: which part of the result a block has, by shape. The one place.
//! - [`kernel`]: a kernel by its properties: its source, name, threads and shared memory.
//! - [`args`]: what kernels take.
//! - [`forward`], [`backward_data`], [`backward_weight`]: the directions.
//!
//! # What is refused
//! [`Element::supports`] says no to grouped convolutions, and to tensors with 2³¹ elements or more, which the kernels could not index.
//! Channels that do not fill whole vectors of 16 bytes (a stem's one or three, a classifier's ten) are copied into scratch memory
//! first, evaluated and filled up with zeros. So is a source with a residual.

pub mod args;
pub mod backward_data;
pub mod backward_weight;
pub mod forward;
pub mod kernel;
mod stage;
pub mod tile;

use resnet_core::DType;
use resnet_core::op::Conv2d;

use crate::compile::Unit;
use crate::machine::Launch;

/// Element type of the operands of a matrix product. Sums are f32 for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Brain float tensors.
    Bf16,
    /// Half-precision tensors.
    F16,
    /// f32 tensors, rounded to 10 bits of mantissa as they are multiplied.
    Tf32,
}

impl Element {
    /// All of them.
    pub const ALL: [Element; 3] = [Element::Bf16, Element::F16, Element::Tf32];

    /// What tensors of 16 bits are multiplied as, with nothing more rounded; `None` for f32.
    pub(crate) fn of_narrow(dtype: DType) -> Option<Self> {
        match dtype {
            DType::Bf16 => Some(Element::Bf16),
            DType::F16 => Some(Element::F16),
            DType::F32 => None,
        }
    }

    /// Bytes of an element in memory.
    pub fn bytes(self) -> usize {
        match self {
            Element::Bf16 | Element::F16 => 2,
            Element::Tf32 => 4,
        }
    }

    /// Elements of 16 bytes.
    pub fn vector(self) -> usize {
        16 / self.bytes()
    }

    /// The type in the kernels' source.
    pub(crate) fn source_name(self) -> &'static str {
        match self {
            Element::Bf16 => "bf16",
            Element::F16 => "f16",
            Element::Tf32 => "float",
        }
    }

    /// The end of names of kernels that do no product: they are named after what lies in memory.
    pub(crate) fn memory_name(self) -> &'static str {
        match self {
            Element::Bf16 => "bf16",
            Element::F16 => "f16",
            Element::Tf32 => "f32",
        }
    }

    /// Channels filled up to whole vectors.
    pub(crate) fn padded(self, channels: usize) -> usize {
        channels.next_multiple_of(self.vector())
    }

    /// Whether the kernels can compute this convolution.
    pub fn supports(self, op: &Conv2d) -> bool {
        let x = op.n() * op.h() * op.w() * self.padded(op.c());
        let y = op.n() * op.p() * op.q() * self.padded(op.k());
        let w = self.padded(op.k()) * op.r() * op.s() * self.padded(op.c());
        op.groups() == 1 && [x, y, w].iter().all(|&elements| elements < 1 << 31)
    }
}

/// What the planner needs to know of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Multiprocessors: a grid should have a few blocks for each.
    pub multiprocessors: usize,
}

/// One launch and where its kernel comes from.
#[derive(Clone, Debug)]
pub struct Step {
    /// What to compile.
    pub unit: Unit,
    /// What to run.
    pub launch: Launch,
}

/// Cuts scratch memory into pieces, each aligned to 256 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scratch {
    at: usize,
}

impl Scratch {
    /// The offset of a piece of so many bytes.
    pub(crate) fn take(&mut self, bytes: usize) -> usize {
        let at = self.at;
        self.at = (at + bytes).next_multiple_of(256);
        at
    }

    /// How much was taken.
    pub(crate) fn bytes(self) -> usize {
        self.at
    }
}
