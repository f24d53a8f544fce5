//! Bytes to normalised activations.

use resnet_core::op::Ingest;
use resnet_core::{Result, TensorDesc};

use crate::buffer::{Buffer, address, written};
use crate::engine::{Engine, Geometry, u32_of};

crate::args! {
    struct IngestArgs {
        pixels: u64,
        affine: u64,
        x: u64,
        count: u64,
        c: u32,
        unused: u32,
    }
}

pub(crate) fn ingest(
    engine: &mut Engine,
    op: &Ingest,
    pixels: &Buffer,
    affine: &Buffer,
    x: &mut Buffer,
) -> Result<()> {
    const OP: &str = "ingest";
    let desc = op.x_desc();
    let args = IngestArgs {
        pixels: address(OP, "pixels", pixels, &op.pixels_desc())?,
        affine: address(OP, "affine", affine, &TensorDesc::affine(desc.c))?,
        x: written(OP, "x", x, &desc)?,
        count: desc.len() as u64,
        c: u32_of(desc.c),
        unused: 0,
    };
    let geometry = Geometry::flat(desc.len().div_ceil(4), 256);
    engine.launch(format!("ingest_{}", desc.dtype), geometry, &args)
}
