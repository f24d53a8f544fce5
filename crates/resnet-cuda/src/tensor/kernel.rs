//! A kernel by its properties: its source with macros, its name, its threads and its shared memory.

use super::{Element, Step, tile::Tile};
use crate::args::Packed;
use crate::compile::Unit;
use crate::machine::Launch;

/// How an operand is evaluated as it arrives in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prologue {
    /// Not at all.
    Raw,
    /// Scale and shift, and the ReLU, where there are any.
    Affine,
    /// `A·dz + B·y + C`.
    Grad,
}

impl Prologue {
    fn name(self) -> &'static str {
        match self {
            Prologue::Raw => "raw",
            Prologue::Affine => "affine",
            Prologue::Grad => "grad",
        }
    }

    fn source_name(self) -> &'static str {
        match self {
            Prologue::Raw => "RAW",
            Prologue::Affine => "AFFINE",
            Prologue::Grad => "GRAD",
        }
    }
}

/// A direction, with the prologues of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Forward: raw or affine.
    Forward(Prologue),
    /// Towards the input: raw or gradient.
    BackwardData(Prologue),
    /// Gradient of the weights: of dy, raw or gradient, and of x, raw or affine.
    BackwardWeight(Prologue, Prologue),
}

/// One kernel of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// What it computes.
    pub direction: Direction,
    /// With what.
    pub element: Element,
    /// In which parts.
    pub tile: Tile,
}

/// What a block may have of shared memory on Hopper.
const HOPPER_SHARED: usize = 227 << 10;

/// Bytes of the two barriers of a buffer.
const BARRIERS: usize = 16;

macro_rules! headers {
    ($($folder:literal / $name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../kernels/", $folder, "/", $name)))),*]
    };
}

/// What the sources in `kernels/tensor` may include.
pub(crate) const HEADERS: &[(&str, &str)] = headers!(
    "include" / "types.cuh",
    "include" / "source.cuh",
    "include" / "reduce.cuh",
    "include" / "columns.cuh",
    "tensor" / "warp.cuh",
    "tensor" / "gather.cuh",
    "tensor" / "forward.cuh",
    "tensor" / "backward_data.cuh",
    "tensor" / "backward_weight.cuh",
    "tensor" / "hopper.cuh",
    "tensor" / "wgmma.cuh",
);

macro_rules! unit {
    ($name:literal, $macros:expr) => {
        Unit {
            name: $name,
            text: include_str!(concat!("../../kernels/", $name)),
            headers: HEADERS,
            macros: $macros,
        }
    };
}

/// Packing of weights, staging of operands and the end of split sums.
pub fn helpers() -> Unit {
    unit!("tensor/prepare.cu", Vec::new())
}

impl Kernel {
    /// Every kernel that a plan may choose.
    pub fn all() -> Vec<Kernel> {
        use Prologue::{Affine, Grad, Raw};
        let mut kernels = Vec::new();
        for element in Element::ALL {
            let tiles = Tile::ALL.into_iter().chain(Tile::WGMMA);
            for tile in tiles.filter(|tile| !tile.wgmma || element.bytes() == 2) {
                let directions = [
                    Direction::Forward(Raw),
                    Direction::Forward(Affine),
                    Direction::BackwardData(Raw),
                    Direction::BackwardData(Grad),
                ];
                kernels.extend(directions.map(|direction| Kernel { direction, element, tile }));
            }
            let tiles = [Tile::LARGE, Tile::SMALL].into_iter().chain(Tile::WGMMA);
            for tile in tiles.filter(|tile| !tile.wgmma || element.bytes() == 2) {
                for (left, right) in [(Raw, Raw), (Raw, Affine), (Grad, Raw), (Grad, Affine)] {
                    kernels.push(Kernel { direction: Direction::BackwardWeight(left, right), element, tile });
                }
            }
        }
        kernels
    }

    /// Its name: `forward_affine_bf16_128x64`, `wgmma_forward_affine_bf16_128x64`.
    pub fn name(&self) -> String {
        let Kernel { direction, element, tile } = self;
        let (direction, prologues) = match direction {
            Direction::Forward(left) => ("forward", left.name().to_owned()),
            Direction::BackwardData(left) => ("backward_data", left.name().to_owned()),
            Direction::BackwardWeight(left, right) => {
                ("backward_weight", format!("{}_{}", left.name(), right.name()))
            }
        };
        let element = match element {
            Element::Tf32 => "tf32",
            other => other.memory_name(),
        };
        let instructions = if tile.wgmma { "wgmma_" } else { "" };
        format!("{instructions}{direction}_{prologues}_{element}_{}x{}", tile.rows, tile.columns)
    }

    /// What to compile.
    pub fn unit(&self) -> Unit {
        let mut macros = vec![
            ("KERNEL_NAME", self.name()),
            ("KERNEL_ELEMENT", self.element.source_name().to_owned()),
            ("KERNEL_ROWS", self.tile.rows.to_string()),
            ("KERNEL_COLUMNS", self.tile.columns.to_string()),
            ("KERNEL_WARP_ROWS", self.tile.warp_rows.to_string()),
            ("KERNEL_WARP_COLUMNS", self.tile.warp_columns.to_string()),
            ("KERNEL_STAGES", self.stages().to_string()),
            ("KERNEL_LEFT", self.left().source_name().to_owned()),
        ];
        match self.direction {
            Direction::Forward(_) if self.tile.wgmma => unit!("tensor/wgmma_forward.cu", macros),
            Direction::BackwardData(_) if self.tile.wgmma => unit!("tensor/wgmma_backward_data.cu", macros),
            Direction::Forward(_) => unit!("tensor/forward.cu", macros),
            Direction::BackwardData(_) => unit!("tensor/backward_data.cu", macros),
            Direction::BackwardWeight(_, right) => {
                macros.push(("KERNEL_RIGHT", right.source_name().to_owned()));
                if self.tile.wgmma {
                    return unit!("tensor/wgmma_backward_weight.cu", macros);
                }
                unit!("tensor/backward_weight.cu", macros)
            }
        }
    }

    fn left(&self) -> Prologue {
        match self.direction {
            Direction::Forward(left) | Direction::BackwardData(left) | Direction::BackwardWeight(left, _) => {
                left
            }
        }
    }

    /// Buffers of the pipeline. With a second operand beside the left one they are larger; three of them fit into the 99 KiB that the
    /// smallest of these devices gives a block (compute capability 8.6). On Hopper as many as fit beside the tile, and not more than help.
    fn stages(&self) -> usize {
        if self.tile.wgmma {
            return ((HOPPER_SHARED - self.tile_bytes()) / (self.stage_bytes() + BARRIERS)).min(6);
        }
        if self.left() == Prologue::Grad { 3 } else { 4 }
    }

    /// Bytes of a buffer. 64 bytes along the sum for each row and column, in every direction; 128 on Hopper.
    fn stage_bytes(&self) -> usize {
        let Tile { rows, columns, wgmma, .. } = self.tile;
        let left = if self.left() == Prologue::Grad { 2 } else { 1 };
        (if wgmma { 128 } else { 64 }) * (left * rows + columns)
    }

    /// Bytes of the tile as floats.
    fn tile_bytes(&self) -> usize {
        match self.direction {
            Direction::BackwardWeight(..) => 0,
            _ => self.tile.rows * (self.tile.columns + 8) * size_of::<f32>(),
        }
    }

    /// Bytes of dynamic shared memory: the pipeline and afterwards, on Hopper beside it, the tile.
    pub fn shared_bytes(&self) -> u32 {
        let (pipeline, tile) = (self.stages() * self.stage_bytes(), self.tile_bytes());
        let bytes =
            if self.tile.wgmma { pipeline + tile + self.stages() * BARRIERS } else { pipeline.max(tile) };
        bytes as u32
    }

    /// One launch of it.
    pub(super) fn step(&self, grid: [u32; 3], args: Packed) -> Step {
        let launch = Launch {
            kernel: self.name().into(),
            grid,
            block: [self.threads(), 1, 1],
            shared_bytes: self.shared_bytes(),
            args,
        };
        Step { unit: self.unit(), launch }
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.tile.threads() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_blocks_fit_every_device() {
        let kernels = Kernel::all();
        let mut names: Vec<String> = kernels.iter().map(Kernel::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), kernels.len());
        for kernel in kernels {
            let (most, threads) = if kernel.tile.wgmma { (HOPPER_SHARED, 288) } else { (99 << 10, 256) };
            assert!(
                kernel.shared_bytes() <= most as u32,
                "{}: {} bytes",
                kernel.name(),
                kernel.shared_bytes()
            );
            assert!(kernel.threads() <= threads && kernel.stages() >= 3);
        }
    }
}
