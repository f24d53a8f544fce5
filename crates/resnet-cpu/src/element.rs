//! The elements of activations: the one place that knows how they are loaded and stored.
//!
//! All arithmetic is f32. An element is widened when it is read, and what an op computed is rounded once when it is stored.
//! Sums are taken of the values as they were stored.

use std::any::TypeId;

use bytemuck::Pod;
use half::bf16;

use resnet_core::{DType, Error, Result};

use crate::direct::blocks::Cell;
use crate::kernels::{Isa, load};
use crate::threads::Scratch;

/// A type of elements: f32, or bf16.
pub(crate) trait Element: Pod + Send + Sync + std::fmt::Debug {
    /// The number, exactly.
    fn widen(self) -> f32;

    /// The nearest element, of two equally near ones the even one. A NaN stays a NaN.
    fn narrow(v: f32) -> Self;

    /// Elements that are f32 anyway.
    fn as_f32(elements: &[Self]) -> Option<&[f32]>;

    /// Elements that are f32 anyway.
    fn as_f32_mut(elements: &mut [Self]) -> Option<&mut [f32]>;

    /// A cell of a tensor that is f32 anyway.
    fn as_f32_cell<'a, 't>(cell: &'a mut Cell<'t, Self>) -> Option<&'a mut Cell<'t, f32>>;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(v: f32) -> Self {
        v
    }
    fn as_f32(elements: &[Self]) -> Option<&[f32]> {
        Some(elements)
    }
    fn as_f32_mut(elements: &mut [Self]) -> Option<&mut [f32]> {
        Some(elements)
    }
    fn as_f32_cell<'a, 't>(cell: &'a mut Cell<'t, Self>) -> Option<&'a mut Cell<'t, f32>> {
        Some(cell)
    }
}

impl Element for bf16 {
    // Plain operations on bits, unlike `half`'s, so that loops over them become vector instructions.
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn narrow(v: f32) -> Self {
        let bits = v.to_bits();
        let even = (bits >> 16) & 1;
        let nearest = bits.wrapping_add(0x7FFF + even);
        let quiet = bits | 0x0040_0000;
        bf16::from_bits((if v.is_nan() { quiet } else { nearest } >> 16) as u16)
    }
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
    fn as_f32_cell<'a, 't>(_: &'a mut Cell<'t, Self>) -> Option<&'a mut Cell<'t, f32>> {
        None
    }
}

/// Elements of one type as those of another, if it is the same.
pub(crate) fn same<E: Element, O: Element>(elements: &[E]) -> Option<&[O]> {
    (TypeId::of::<E>() == TypeId::of::<O>()).then(|| bytemuck::cast_slice(elements))
}

/// Lets `compute` leave an op's result in f32 and stores it: in place where elements are f32, from scratch where they are not.
/// With `keep` the f32 hold what is in the tensor, else anything.
pub(crate) fn through<E: Element>(
    isa: Isa,
    out: &mut [E],
    keep: bool,
    scratch: &mut Scratch,
    compute: impl FnOnce(&mut [f32], &mut Scratch),
) {
    if let Some(out) = E::as_f32_mut(out) {
        return compute(out, scratch);
    }
    let mut memory = std::mem::take(&mut scratch.work);
    let work = memory.take(out.len());
    if keep {
        load::convert(isa, out, work);
    }
    compute(work, scratch);
    load::convert(isa, work, out);
    scratch.work = memory;
}

/// As [`through`], for a cell: `compute` fills it, `finish` ends the rows of every pixel, `stored` sees them as they were stored.
pub(crate) fn through_cell<E: Element>(
    isa: Isa,
    cell: &mut Cell<'_, E>,
    keep: bool,
    scratch: &mut Scratch,
    compute: impl FnOnce(&mut Cell<'_, f32>, &mut Scratch),
    finish: impl Fn(usize, &mut [f32], &mut Scratch),
    mut stored: impl FnMut(usize, &[E]),
) {
    let pixels = cell.pixels.clone();
    if let Some(cell) = E::as_f32_cell(cell) {
        compute(cell, scratch);
        for pixel in pixels {
            finish(pixel, cell.at(pixel), scratch);
            stored(pixel, bytemuck::cast_slice(cell.at(pixel)));
        }
        return;
    }
    let mut memory = std::mem::take(&mut scratch.work);
    let mut work = cell.alike(memory.take(cell.len()));
    if keep {
        pixels.clone().for_each(|pixel| load::convert(isa, cell.at(pixel), work.at(pixel)));
    }
    compute(&mut work, scratch);
    for pixel in pixels {
        let values = work.at(pixel);
        finish(pixel, values, scratch);
        load::convert(isa, values, cell.at(pixel));
        stored(pixel, cell.at(pixel));
    }
    scratch.work = memory;
}

/// Floats of scratch that [`through`] takes for `len` elements.
pub(crate) fn work_len(dtype: DType, len: usize) -> usize {
    if dtype == DType::F32 { 0 } else { len }
}

/// Refuses a type of elements that there is no arithmetic for.
pub(crate) fn refuse(dtype: DType) -> Result<()> {
    match dtype {
        DType::F32 | DType::Bf16 => Ok(()),
        DType::F16 => Err(Error::Unsupported { backend: crate::NAME, what: "f16 activations".to_owned() }),
    }
}

/// Evaluates an expression with a name for the type of the elements, or refuses it.
macro_rules! by_dtype {
    ($dtype:expr, $E:ident => $run:expr) => {
        match $dtype {
            resnet_core::DType::F32 => {
                type $E = f32;
                $run
            }
            resnet_core::DType::Bf16 => {
                type $E = half::bf16;
                $run
            }
            other => $crate::element::refuse(other),
        }
    };
}
pub(crate) use by_dtype;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_and_even() {
        let mut bits = 0u32;
        loop {
            let v = f32::from_bits(bits);
            let (got, want) = (<bf16 as Element>::narrow(v), bf16::from_f32(v));
            assert!(got.to_bits() == want.to_bits() || v.is_nan() && got.is_nan(), "{v:e}");
            assert!(got.is_nan() || got.widen() == got.to_f32());
            match bits.checked_add(0x1357) {
                Some(next) => bits = next,
                None => break,
            }
        }
        for (v, want) in
            [(1.0 + 1.0 / 256.0, 1.0), (1.0 + 3.0 / 256.0, 1.0 + 1.0 / 64.0), (f32::MAX, f32::INFINITY)]
        {
            assert_eq!(<bf16 as Element>::narrow(v).widen(), want);
        }
    }
}
