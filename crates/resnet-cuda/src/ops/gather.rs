//! A batch out of pictures that lie on the device.

use resnet_core::op::Gather;
use resnet_core::{Result, TensorDesc};

use crate::buffer::{Buffer, address, written};
use crate::engine::{Engine, Geometry, u32_of};

crate::args! {
    struct GatherArgs {
        pictures: u64,
        picks: u64,
        affine: u64,
        x: u64,
        total: u64,
        count: u32,
        h: u32,
        w: u32,
        c: u32,
        padding: u32,
        unused: u32,
    }
}

pub(crate) fn gather(
    engine: &mut Engine,
    op: &Gather,
    pictures: &Buffer,
    picks: &Buffer,
    affine: &Buffer,
    x: &mut Buffer,
) -> Result<()> {
    const OP: &str = "gather";
    let desc = op.ingest().x_desc();
    let args = GatherArgs {
        pictures: address(OP, "pictures", pictures, &op.pictures_desc())?,
        picks: address(OP, "picks", picks, &op.picks_desc())?,
        affine: address(OP, "affine", affine, &TensorDesc::affine(desc.c))?,
        x: written(OP, "x", x, &desc)?,
        total: desc.len() as u64,
        count: u32_of(op.count()),
        h: u32_of(desc.h),
        w: u32_of(desc.w),
        c: u32_of(desc.c),
        padding: u32_of(op.padding()),
        unused: 0,
    };
    let geometry = Geometry::flat(desc.len().div_ceil(4), 256);
    engine.launch(format!("gather_{}", desc.dtype), geometry, &args)
}
