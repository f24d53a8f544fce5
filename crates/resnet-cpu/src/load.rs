//! Sources resolved to slices: how an op reads its input rows, whatever they are made of.
//!
//! Forward and backward both read through [`Load`], so the mask of a ReLU agrees with its value bit for bit.

use std::ops::Range;

use resnet_core::{GradSource, Result, Source, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::element::{Element, same};
use crate::kernels::Isa;
use crate::kernels::load::{self, Affine, Coeffs};

/// Something that can be read as rows of `c` values.
pub(crate) trait Rows: Sync {
    /// Writes the values of some rows and channels, rows `out_stride` apart.
    fn eval<O: Element>(
        &self,
        isa: Isa,
        rows: Range<usize>,
        channels: Range<usize>,
        out: &mut [O],
        out_stride: usize,
    );

    /// Asks memory for rows that are read soon.
    fn prefetch(&self, isa: Isa, rows: Range<usize>);

    /// The rows as they lie in memory, where that is what they are worth, in f32.
    fn stored(&self, rows: Range<usize>) -> Option<&[f32]> {
        self.stored_as(rows)
    }

    /// The rows as they lie in memory, where that is what they are worth and their elements are of this type.
    fn stored_as<O: Element>(&self, rows: Range<usize>) -> Option<&[O]>;
}

/// A [`Source`] whose buffers were checked.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a, E> {
    c: usize,
    raw: &'a [E],
    affine: Option<Affine<'a>>,
    residual: Option<(&'a [E], Option<Affine<'a>>)>,
    relu: bool,
}

/// A [`GradSource`] whose buffers were checked.
#[derive(Clone, Copy)]
pub(crate) struct GradLoad<'a, E> {
    c: usize,
    dz: &'a [E],
    norm: Option<(Coeffs<'a>, &'a [E])>,
}

/// What the buffers of a source are called in an error.
pub(crate) struct SourceNames([&'static str; 4]);

pub(crate) const X: SourceNames = SourceNames(["x.raw", "x.affine", "x.residual.raw", "x.residual.affine"]);
pub(crate) const MASK: SourceNames =
    SourceNames(["dx.mask.raw", "dx.mask.affine", "dx.mask.residual.raw", "dx.mask.residual.affine"]);

impl<'a, E: Element> Load<'a, E> {
    /// Checks the buffers of a source that holds `desc`.
    pub(crate) fn open(
        op: &'static str,
        names: &SourceNames,
        source: Source<'a, Buffer>,
        desc: &TensorDesc,
    ) -> Result<Self> {
        let SourceNames([raw, affine, residual, residual_affine]) = *names;
        check(op, raw, source.raw, desc)?;
        let c = desc.c;
        Ok(Self {
            c,
            raw: source.raw.elements(desc.len()),
            affine: source.affine.map(|t| open_affine(op, affine, t, c)).transpose()?,
            residual: match source.residual {
                None => None,
                Some(r) => {
                    check(op, residual, r.raw, desc)?;
                    let t = r.affine.map(|t| open_affine(op, residual_affine, t, c)).transpose()?;
                    Some((r.raw.elements(desc.len()), t))
                }
            },
            relu: source.relu,
        })
    }
}

impl<'a> Load<'a, f32> {
    /// What is read for some rows, as it lies in memory.
    pub(crate) fn parts(&self, rows: &Range<usize>) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let numbers = rows.start * self.c..rows.end * self.c;
        let residual = self.residual.map(|(r, _)| r);
        std::iter::once(self.raw).chain(residual).map(move |x| &x[numbers.clone()])
    }

    /// Whether its values are positive where another's are, because both read the same.
    pub(crate) fn has_sign_of(&self, other: &Self) -> bool {
        let affine = |a: Option<Affine<'a>>| a.map(|a| (a.scale.as_ptr(), a.shift.as_ptr()));
        let residual = |x: &Self| x.residual.map(|(r, a)| (r.as_ptr(), affine(a)));
        self.raw.as_ptr() == other.raw.as_ptr()
            && affine(self.affine) == affine(other.affine)
            && residual(self) == residual(other)
    }
}

pub(crate) fn open_affine<'a>(
    op: &'static str,
    arg: &'static str,
    table: &'a Buffer,
    c: usize,
) -> Result<Affine<'a>> {
    check(op, arg, table, &TensorDesc::affine(c))?;
    let (scale, shift) = table.f32(2 * c).split_at(c);
    Ok(Affine { scale, shift })
}

impl<'a, E: Element> GradLoad<'a, E> {
    /// Checks the buffers of a gradient that holds `desc`.
    pub(crate) fn open(op: &'static str, source: GradSource<'a, Buffer>, desc: &TensorDesc) -> Result<Self> {
        check(op, "dy.dz", source.dz, desc)?;
        let c = desc.c;
        let norm = match source.norm {
            None => None,
            Some(norm) => {
                check(op, "dy.norm.coeffs", norm.coeffs, &TensorDesc::coeffs(c))?;
                check(op, "dy.norm.y", norm.y, desc)?;
                let table = norm.coeffs.f32(3 * c);
                let t = Coeffs { a: &table[..c], b: &table[c..2 * c], c: &table[2 * c..] };
                Some((t, norm.y.elements(desc.len())))
            }
        };
        Ok(Self { c, dz: source.dz.elements(desc.len()), norm })
    }
}

impl<'a> GradLoad<'a, f32> {
    /// What is read for some rows, as it lies in memory.
    pub(crate) fn parts(&self, rows: &Range<usize>) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let numbers = rows.start * self.c..rows.end * self.c;
        let y = self.norm.as_ref().map(|(_, y)| *y);
        std::iter::once(self.dz).chain(y).map(move |x| &x[numbers.clone()])
    }
}

impl Affine<'_> {
    /// Of some channels.
    pub(crate) fn of(&self, channels: &Range<usize>) -> Affine<'_> {
        Affine { scale: &self.scale[channels.clone()], shift: &self.shift[channels.clone()] }
    }
}

/// The part of `data` from the first channel of the first row to the last channel of the last row.
fn window<'a, E>(data: &'a [E], c: usize, rows: &Range<usize>, channels: &Range<usize>) -> &'a [E] {
    &data[rows.start * c + channels.start..(rows.end - 1) * c + channels.end]
}

impl<E: Element> Rows for Load<'_, E> {
    fn eval<O: Element>(
        &self,
        isa: Isa,
        rows: Range<usize>,
        channels: Range<usize>,
        out: &mut [O],
        out_stride: usize,
    ) {
        const NONE: Affine<'static> = Affine { scale: &[], shift: &[] };
        if rows.is_empty() {
            return;
        }
        let (c, width) = (self.c, channels.len());
        let x = window(self.raw, c, &rows, &channels);
        let t = self.affine.as_ref().map(|t| t.of(&channels));
        let some = t.unwrap_or(NONE);
        match (&self.residual, t.is_some(), self.relu) {
            (None, false, false) => load::plain::<_, _, false>(isa, x, c, width, out, out_stride),
            (None, false, true) => load::plain::<_, _, true>(isa, x, c, width, out, out_stride),
            (None, true, false) => load::affine::<_, _, false>(isa, x, c, some, out, out_stride),
            (None, true, true) => load::affine::<_, _, true>(isa, x, c, some, out, out_stride),
            (Some((r, None)), affine, relu) => {
                let r = window(r, c, &rows, &channels);
                let run = match (affine, relu) {
                    (false, false) => load::residual::<_, _, false, false>,
                    (false, true) => load::residual::<_, _, false, true>,
                    (true, false) => load::residual::<_, _, true, false>,
                    (true, true) => load::residual::<_, _, true, true>,
                };
                run(isa, x, r, c, some, width, out, out_stride);
            }
            (Some((r, Some(tr))), affine, relu) => {
                let r = window(r, c, &rows, &channels);
                let run = match (affine, relu) {
                    (false, false) => load::affine_residual::<_, _, false, false>,
                    (false, true) => load::affine_residual::<_, _, false, true>,
                    (true, false) => load::affine_residual::<_, _, true, false>,
                    (true, true) => load::affine_residual::<_, _, true, true>,
                };
                run(isa, x, r, c, some, tr.of(&channels), out, out_stride);
            }
        }
    }

    fn prefetch(&self, isa: Isa, rows: Range<usize>) {
        let rows = rows.start * self.c..rows.end * self.c;
        load::prefetch(isa, &self.raw[rows.clone()]);
        if let Some((r, _)) = &self.residual {
            load::prefetch(isa, &r[rows]);
        }
    }

    fn stored_as<O: Element>(&self, rows: Range<usize>) -> Option<&[O]> {
        let plain = self.affine.is_none() && self.residual.is_none() && !self.relu;
        if plain { same(&self.raw[rows.start * self.c..rows.end * self.c]) } else { None }
    }
}

impl<E: Element> Rows for GradLoad<'_, E> {
    fn eval<O: Element>(
        &self,
        isa: Isa,
        rows: Range<usize>,
        channels: Range<usize>,
        out: &mut [O],
        out_stride: usize,
    ) {
        if rows.is_empty() {
            return;
        }
        let c = self.c;
        let dz = window(self.dz, c, &rows, &channels);
        match &self.norm {
            None => load::plain::<_, _, false>(isa, dz, c, channels.len(), out, out_stride),
            Some((t, y)) => {
                let y = window(y, c, &rows, &channels);
                let t = Coeffs { a: &t.a[channels.clone()], b: &t.b[channels.clone()], c: &t.c[channels] };
                load::norm_backward(isa, dz, y, c, t, out, out_stride);
            }
        }
    }

    fn prefetch(&self, isa: Isa, rows: Range<usize>) {
        let rows = rows.start * self.c..rows.end * self.c;
        load::prefetch(isa, &self.dz[rows.clone()]);
        if let Some((_, y)) = &self.norm {
            load::prefetch(isa, &y[rows]);
        }
    }

    fn stored_as<O: Element>(&self, rows: Range<usize>) -> Option<&[O]> {
        if self.norm.is_none() { same(&self.dz[rows.start * self.c..rows.end * self.c]) } else { None }
    }
}
