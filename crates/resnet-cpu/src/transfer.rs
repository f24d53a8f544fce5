//! Between dense host data and buffers: activations turn from picture-major to pixel-major and back.

use resnet_core::{Error, HostData, HostDataMut, Result, Role, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::element::{Element, by_dtype, refuse};

/// Host to buffer.
pub(crate) fn upload(desc: &TensorDesc, src: HostData<'_>, dst: &mut Buffer) -> Result<()> {
    refuse(desc.dtype)?;
    check("upload", "dst", dst, desc)?;
    let len = desc.len();
    match (desc.role, src) {
        (_, ref src) if src.len() != len => Err(mismatch(desc, src.len(), kind(src))),
        (Role::Activation, HostData::F32(src)) => {
            by_dtype!(desc.dtype, E => {
                pixel_major(desc, src, dst.elements_mut(len), E::narrow);
                Ok(())
            })
        }
        (Role::Weight | Role::Table, HostData::F32(src)) => {
            dst.f32_mut(len).copy_from_slice(src);
            Ok(())
        }
        (Role::Index, HostData::U8(src)) => {
            pixel_major(desc, src, dst.u8_mut(len), |v| v);
            Ok(())
        }
        (Role::Pixels, HostData::U8(src)) => {
            dst.u8_mut(len).copy_from_slice(src);
            Ok(())
        }
        (Role::Labels, HostData::U32(src)) => {
            dst.u32_mut(len).copy_from_slice(src);
            Ok(())
        }
        (_, src) => Err(mismatch(desc, src.len(), kind(&src))),
    }
}

/// Buffer to host.
pub(crate) fn download(desc: &TensorDesc, src: &Buffer, dst: HostDataMut<'_>) -> Result<()> {
    refuse(desc.dtype)?;
    check("download", "src", src, desc)?;
    let len = desc.len();
    let (found, found_kind) = (
        dst.len(),
        match &dst {
            HostDataMut::F32(_) => "f32",
            HostDataMut::U8(_) => "u8",
            HostDataMut::U32(_) => "u32",
        },
    );
    match (desc.role, dst) {
        _ if found != len => return Err(mismatch(desc, found, found_kind)),
        (Role::Activation, HostDataMut::F32(dst)) => {
            by_dtype!(desc.dtype, E => {
                picture_major(desc, src.elements(len), dst, E::widen);
                Ok(())
            })?;
        }
        (Role::Weight | Role::Table, HostDataMut::F32(dst)) => dst.copy_from_slice(src.f32(len)),
        (Role::Index, HostDataMut::U8(dst)) => picture_major(desc, src.u8(len), dst, |v| v),
        (Role::Pixels, HostDataMut::U8(dst)) => dst.copy_from_slice(src.u8(len)),
        (Role::Labels, HostDataMut::U32(dst)) => dst.copy_from_slice(src.u32(len)),
        _ => return Err(mismatch(desc, found, found_kind)),
    }
    Ok(())
}

/// `n × h × w × c` to `h × w × n × c`.
fn pixel_major<S: Copy, D>(desc: &TensorDesc, src: &[S], dst: &mut [D], convert: impl Fn(S) -> D) {
    let (n, c, pixels) = (desc.n, desc.c, desc.h * desc.w);
    for (i, picture) in src.chunks_exact(pixels * c).enumerate() {
        for (pixel, values) in picture.chunks_exact(c).enumerate() {
            let dst = &mut dst[(pixel * n + i) * c..][..c];
            dst.iter_mut().zip(values).for_each(|(d, v)| *d = convert(*v));
        }
    }
}

/// `h × w × n × c` to `n × h × w × c`.
fn picture_major<S: Copy, D>(desc: &TensorDesc, src: &[S], dst: &mut [D], convert: impl Fn(S) -> D) {
    let (n, c, pixels) = (desc.n, desc.c, desc.h * desc.w);
    for (i, picture) in dst.chunks_exact_mut(pixels * c).enumerate() {
        for (pixel, values) in picture.chunks_exact_mut(c).enumerate() {
            let src = &src[(pixel * n + i) * c..][..c];
            values.iter_mut().zip(src).for_each(|(v, s)| *v = convert(*s));
        }
    }
}

fn kind(data: &HostData<'_>) -> &'static str {
    match data {
        HostData::F32(_) => "f32",
        HostData::U8(_) => "u8",
        HostData::U32(_) => "u32",
    }
}

fn mismatch(desc: &TensorDesc, found: usize, kind: &str) -> Error {
    let wanted = match desc.role {
        Role::Sums => "nothing: sums are private to the backend".to_owned(),
        Role::Activation | Role::Weight | Role::Table => format!("{} f32", desc.len()),
        Role::Pixels | Role::Index => format!("{} u8", desc.len()),
        Role::Labels => format!("{} u32", desc.len()),
    };
    Error::Mismatch { tensor: desc.to_string(), found: format!("{found} {kind}"), wanted }
}
