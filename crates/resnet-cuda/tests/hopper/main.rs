//! Kernels of Hopper's instructions without Hopper.
//!
//! - [`parts`]: the emulator's instructions one by one, against what the PTX manual says of them, written here a second time.
//! - [`mutants`]: convolutions with one mistake each, every one of which must show.

mod mutants;
mod parts;

use resnet_cuda::compile::Unit;
use resnet_cuda::machine::emulator::{Emulator, compiler};
use resnet_cuda::machine::{Machine, Memory};
use resnet_cuda::tensor::Element;
use resnet_cuda::tensor::kernel::{Direction, Kernel, Prologue};
use resnet_cuda::tensor::tile::Tile;

/// An emulator, or one loud line where there is no C++ compiler.
fn emulator() -> Option<Emulator> {
    if compiler().is_none() {
        assert!(std::env::var_os("RESNET_TEST_REQUIRE_EMULATOR").is_none(), "there is no C++ compiler");
        eprintln!("SKIPPED: no C++ compiler, so no emulator");
        return None;
    }
    Some(Emulator::new().expect("there is a compiler"))
}

fn kernel(direction: Direction) -> Kernel {
    Kernel { direction, element: Element::Bf16, tile: Tile::WIDE_WGMMA }
}

/// The headers that kernels of this family may include.
fn headers() -> &'static [(&'static str, &'static str)] {
    kernel(Direction::Forward(Prologue::Raw)).unit().headers
}

fn parts() -> Unit {
    Unit { name: "parts.cu", text: include_str!("parts.cu"), headers: headers(), macros: vec![] }
}

fn upload(machine: &mut Emulator, bytes: &[u8]) -> Memory {
    let memory = machine.alloc(bytes.len()).expect("fits");
    machine.upload(&memory, 0, bytes).expect("copied");
    memory
}

fn download(machine: &mut Emulator, memory: &Memory) -> Vec<u8> {
    let mut bytes = vec![0; memory.bytes()];
    machine.download(memory, 0, &mut bytes).expect("copied");
    bytes
}
