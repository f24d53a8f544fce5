//! Between dense host data and buffers. Activations lie as on the host; 16-bit ones are converted on the host.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use resnet_core::{DType, Error, HostData, HostDataMut, Result, Role, TensorDesc};

use crate::buffer::{Buffer, address, written};
use crate::engine::Engine;

/// Host to buffer.
pub(crate) fn upload(
    engine: &mut Engine,
    desc: &TensorDesc,
    src: HostData<'_>,
    dst: &mut Buffer,
) -> Result<()> {
    written("upload", "dst", dst, desc)?;
    if src.len() != desc.len() {
        return Err(mismatch(desc, src.len(), kind(&src)));
    }
    let to = dst.memory();
    match (desc.role, src) {
        (Role::Activation, HostData::F32(src)) => match desc.dtype {
            DType::F32 => engine.machine.upload(to, 0, bytemuck::cast_slice(src)),
            DType::Bf16 => {
                let mut narrow = vec![bf16::ZERO; src.len()];
                narrow.convert_from_f32_slice(src);
                engine.machine.upload(to, 0, bytemuck::cast_slice(&narrow))
            }
            DType::F16 => {
                let mut narrow = vec![f16::ZERO; src.len()];
                narrow.convert_from_f32_slice(src);
                engine.machine.upload(to, 0, bytemuck::cast_slice(&narrow))
            }
        },
        (Role::Weight | Role::Table, HostData::F32(src)) => {
            engine.machine.upload(to, 0, bytemuck::cast_slice(src))
        }
        (Role::Pixels | Role::Index, HostData::U8(src)) => engine.machine.upload(to, 0, src),
        (Role::Labels, HostData::U32(src)) => engine.machine.upload(to, 0, bytemuck::cast_slice(src)),
        (_, src) => Err(mismatch(desc, src.len(), kind(&src))),
    }
}

/// Buffer to host.
pub(crate) fn download(
    engine: &mut Engine,
    desc: &TensorDesc,
    src: &Buffer,
    dst: HostDataMut<'_>,
) -> Result<()> {
    address("download", "src", src, desc)?;
    if dst.len() != desc.len() {
        return Err(mismatch(desc, dst.len(), kind_mut(&dst)));
    }
    let from = src.memory();
    match (desc.role, dst) {
        (Role::Activation, HostDataMut::F32(dst)) => match desc.dtype {
            DType::F32 => engine.machine.download(from, 0, bytemuck::cast_slice_mut(dst)),
            DType::Bf16 => {
                let mut narrow = vec![bf16::ZERO; dst.len()];
                engine.machine.download(from, 0, bytemuck::cast_slice_mut(&mut narrow))?;
                narrow.convert_to_f32_slice(dst);
                Ok(())
            }
            DType::F16 => {
                let mut narrow = vec![f16::ZERO; dst.len()];
                engine.machine.download(from, 0, bytemuck::cast_slice_mut(&mut narrow))?;
                narrow.convert_to_f32_slice(dst);
                Ok(())
            }
        },
        (Role::Weight | Role::Table, HostDataMut::F32(dst)) => {
            engine.machine.download(from, 0, bytemuck::cast_slice_mut(dst))
        }
        (Role::Pixels | Role::Index, HostDataMut::U8(dst)) => engine.machine.download(from, 0, dst),
        (Role::Labels, HostDataMut::U32(dst)) => {
            engine.machine.download(from, 0, bytemuck::cast_slice_mut(dst))
        }
        (_, dst) => Err(mismatch(desc, dst.len(), kind_mut(&dst))),
    }
}

fn kind(data: &HostData<'_>) -> &'static str {
    match data {
        HostData::F32(_) => "f32",
        HostData::U8(_) => "u8",
        HostData::U32(_) => "u32",
    }
}

fn kind_mut(data: &HostDataMut<'_>) -> &'static str {
    match data {
        HostDataMut::F32(_) => "f32",
        HostDataMut::U8(_) => "u8",
        HostDataMut::U32(_) => "u32",
    }
}

fn mismatch(desc: &TensorDesc, len: usize, kind: &str) -> Error {
    let wanted = match desc.role {
        Role::Activation | Role::Weight | Role::Table => "of f32",
        Role::Pixels | Role::Index => "of u8",
        Role::Labels => "of u32",
        Role::Sums => "that stay on the device: sums are private to the backend",
    };
    Error::Mismatch {
        tensor: desc.to_string(),
        found: format!("{len} elements of {kind}"),
        wanted: format!("{} {wanted}", desc.len()),
    }
}
