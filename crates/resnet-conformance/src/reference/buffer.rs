//! Memory of the reference: numbers in host order, whatever the role.

use resnet_core::{DType, Error, HostData, HostDataMut, Result, Role, TensorDesc};

use crate::number::Number;

/// A buffer of the reference. Pixels, labels and indices are numbers too; f64 holds them exactly.
#[derive(Clone, Debug)]
pub struct Buffer<T = f64> {
    values: Vec<T>,
}

impl<T: Number> Buffer<T> {
    /// A buffer that holds these numbers, in the host order of the tensor they stand for.
    pub fn from_values(values: Vec<T>) -> Self {
        Self { values }
    }

    /// The numbers, unrounded. A buffer may be longer than the tensor in it.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    pub(super) fn zeros(bytes: usize) -> Result<Self> {
        let n = bytes.div_ceil(size_of::<T>());
        let mut values = Vec::new();
        values.try_reserve_exact(n).map_err(|_| Error::OutOfMemory {
            backend: "reference",
            requested_bytes: bytes,
            free_bytes: 0,
        })?;
        values.resize(n, T::exact(0.0));
        Ok(Self { values })
    }

    /// The first `n` numbers, for the argument `arg` of the method `op`.
    pub(super) fn read(&self, op: &'static str, arg: &'static str, n: usize) -> Result<&[T]> {
        self.values.get(..n).ok_or_else(|| self.short(op, arg, n))
    }

    /// As [`Buffer::read`], to write.
    pub(super) fn write(&mut self, op: &'static str, arg: &'static str, n: usize) -> Result<&mut [T]> {
        if self.values.len() < n {
            return Err(self.short(op, arg, n));
        }
        Ok(&mut self.values[..n])
    }

    fn short(&self, op: &'static str, arg: &'static str, n: usize) -> Error {
        Error::Length { op, arg, found: self.values.len() * size_of::<T>(), needed: n * size_of::<T>() }
    }
}

/// How many numbers a tensor takes. Sums are two per channel.
pub(super) fn numbers(desc: &TensorDesc) -> usize {
    match desc.role {
        Role::Sums => 2 * desc.c,
        _ => desc.len(),
    }
}

pub(super) fn upload<T: Number>(desc: &TensorDesc, src: HostData<'_>, dst: &mut Buffer<T>) -> Result<()> {
    check(desc, src.len(), type_name(&src))?;
    let dst = dst.write("upload", "dst", desc.len())?;
    match src {
        HostData::F32(src) => {
            let dtype = if desc.role == Role::Activation { desc.dtype } else { DType::F32 };
            dst.iter_mut().zip(src).for_each(|(d, &s)| *d = T::exact(f64::from(s)).stored(dtype));
        }
        HostData::U8(src) => dst.iter_mut().zip(src).for_each(|(d, &s)| *d = T::exact(f64::from(s))),
        HostData::U32(src) => dst.iter_mut().zip(src).for_each(|(d, &s)| *d = T::exact(f64::from(s))),
    }
    Ok(())
}

pub(super) fn download<T: Number>(desc: &TensorDesc, src: &Buffer<T>, dst: HostDataMut<'_>) -> Result<()> {
    let name = match &dst {
        HostDataMut::F32(_) => "f32",
        HostDataMut::U8(_) => "u8",
        HostDataMut::U32(_) => "u32",
    };
    check(desc, dst.len(), name)?;
    let src = src.read("download", "src", desc.len())?;
    match dst {
        HostDataMut::F32(dst) => dst.iter_mut().zip(src).for_each(|(d, s)| *d = s.value() as f32),
        HostDataMut::U8(dst) => dst.iter_mut().zip(src).for_each(|(d, s)| *d = s.value() as u8),
        HostDataMut::U32(dst) => dst.iter_mut().zip(src).for_each(|(d, s)| *d = s.value() as u32),
    }
    Ok(())
}

fn type_name(src: &HostData<'_>) -> &'static str {
    match src {
        HostData::F32(_) => "f32",
        HostData::U8(_) => "u8",
        HostData::U32(_) => "u32",
    }
}

/// Refuses host data of another length or type than the tensor's, and any access to sums.
fn check(desc: &TensorDesc, len: usize, name: &str) -> Result<()> {
    let wanted = match desc.role {
        Role::Activation | Role::Weight | Role::Table => "f32",
        Role::Pixels | Role::Index => "u8",
        Role::Labels => "u32",
        Role::Sums => "no host data, as sums are private to a backend",
    };
    if name != wanted || len != desc.len() {
        return Err(Error::Mismatch {
            tensor: desc.to_string(),
            found: format!("{len} × {name}"),
            wanted: format!("{} × {wanted}", desc.len()),
        });
    }
    Ok(())
}
