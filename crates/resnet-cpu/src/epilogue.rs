//! What an op does to a tile of its output while it is hot in cache.

use std::ops::Range;

use resnet_core::{Accumulate, GradOut, Result, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::element::Element;
use crate::finish::Finishing;
use crate::kernels::{Isa, load, sums};
use crate::load::{Load, MASK, Rows};
use crate::memory::Memory;
use crate::stats;
use crate::threads::Scratch;

/// Numbers per block: add and mask pass over a block in the innermost cache.
pub(crate) const BLOCK: usize = 2048;

/// The end of a forward op: bias, what is applied before it stores, and batch sums.
pub(crate) struct Forward<'a, E> {
    pub(crate) isa: Isa,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) finish: Option<Finishing<'a, E>>,
    /// Whether sums are wanted.
    pub(crate) sums: bool,
}

impl<E: Element> Forward<'_, E> {
    /// Takes the sums of a stored tile of whole rows of `c` numbers: its mean and squared deviations go to `partial`.
    pub(crate) fn take_sums(&self, tile: &[E], c: usize, partial: &mut [f64]) {
        if self.sums {
            let (mean, m2) = partial[..2 * c].split_at_mut(c);
            sums::moments(self.isa, tile, mean, m2);
        }
    }

    /// Stores a stretch of one row's channels, from channel `first` on, with all that is applied to them.
    pub(crate) fn store(&self, values: &mut [f32], row: usize, first: usize, to: &mut [E]) {
        let width = values.len();
        self.finish(values, width, row, first..first + width);
        load::convert(self.isa, values, to);
    }

    /// Asks memory for what [`Forward::finish`] reads for some channels of a row.
    pub(crate) fn prefetch(&self, row: usize, channels: Range<usize>) {
        if let Some(finish) = &self.finish {
            finish.prefetch(self.isa, row, channels);
        }
    }

    /// Ends some channels of rows that begin at `first_row` and lie `stride` numbers apart.
    pub(crate) fn finish(&self, values: &mut [f32], stride: usize, first_row: usize, channels: Range<usize>) {
        if let Some(bias) = self.bias {
            load::add_bias(self.isa, values, stride, &bias[channels.clone()]);
        }
        if let Some(finish) = &self.finish {
            finish.apply(self.isa, values, stride, first_row, channels);
        }
    }
}

/// The end of a backward op: a [`GradOut`] whose buffers were checked.
pub(crate) struct Backward<'a, E> {
    isa: Isa,
    c: usize,
    add: Option<&'a [E]>,
    mask: Option<Load<'a, E>>,
    /// The raw tensor and its mean, for each sum wanted.
    sums: [Option<(&'a [E], &'a [f32])>; 2],
}

/// Where a backward op writes.
pub(crate) struct GradTarget<'a, E> {
    /// The gradient.
    pub(crate) dx: &'a mut [E],
    /// Whether the op adds to what is there.
    pub(crate) add: bool,
    /// What it does to a tile before it lets go.
    pub(crate) epilogue: Backward<'a, E>,
    /// Where the sums go.
    pub(crate) sums: SumTargets<'a>,
}

/// The sums that a backward op leaves.
pub(crate) struct SumTargets<'a>([Option<&'a mut [f64]>; 2]);

/// Numbers that each tile of a backward op leaves behind: two sums of two rows.
pub(crate) fn partial_len(c: usize) -> usize {
    4 * c
}

impl<'a, E: Element> GradTarget<'a, E> {
    /// Checks the buffers of the gradient of a tensor `desc`.
    pub(crate) fn open(
        op: &'static str,
        isa: Isa,
        out: GradOut<'a, Buffer>,
        desc: &TensorDesc,
    ) -> Result<Self> {
        let c = desc.c;
        check(op, "dx", out.dx, desc)?;
        if let Some(add) = out.add {
            check(op, "dx.add", add, desc)?;
        }
        let mask = out.mask.map(|source| Load::open(op, &MASK, source, desc)).transpose()?;
        let (mut inputs, mut outputs) = ([None, None], [None, None]);
        for (i, wanted) in out.sums.into_iter().enumerate() {
            let Some(wanted) = wanted else { continue };
            check(op, "dx.sums.y", wanted.y, desc)?;
            check(op, "dx.sums.moments", wanted.moments, &TensorDesc::moments(c))?;
            check(op, "dx.sums", wanted.sums, &TensorDesc::sums(c))?;
            inputs[i] = Some((wanted.y.elements(desc.len()), wanted.moments.f32(c)));
            outputs[i] = Some(wanted.sums.f64_mut(stats::len(desc)));
        }
        let add = out.add.map(|add| add.elements(desc.len()));
        Ok(Self {
            dx: out.dx.elements_mut(desc.len()),
            add: out.accumulate == Accumulate::Add,
            epilogue: Backward { isa, c, add, mask, sums: inputs },
            sums: SumTargets(outputs),
        })
    }
}

impl SumTargets<'_> {
    /// Merges what the tiles left behind.
    pub(crate) fn merge(self, c: usize, partials: &[f64]) {
        for (i, sums) in self.0.into_iter().enumerate() {
            if let Some(sums) = sums {
                stats::merge_sums(partials, partial_len(c), 2 * c * i, sums);
            }
        }
    }
}

impl<E: Element> Backward<'_, E> {
    /// Asks memory for what [`Backward::finish`] and [`Backward::take_sums`] read for some rows.
    pub(crate) fn prefetch(&self, rows: Range<usize>) {
        let numbers = rows.start * self.c..rows.end * self.c;
        if let Some(add) = self.add {
            load::prefetch(self.isa, &add[numbers.clone()]);
        }
        if let Some(mask) = &self.mask {
            mask.prefetch(self.isa, rows);
        }
        for (y, _) in self.sums.iter().flatten() {
            load::prefetch(self.isa, &y[numbers.clone()]);
        }
    }

    /// Adds to a tile of whole rows that holds the gradient and begins at `first_row`, and masks it.
    pub(crate) fn finish(&self, tile: &mut [f32], first_row: usize, scratch: &mut Scratch) {
        let c = self.c;
        if self.add.is_some() || self.mask.is_some() {
            let block_rows = (BLOCK / c).max(1);
            for (i, block) in tile.chunks_mut(block_rows * c).enumerate() {
                let row = first_row + i * block_rows;
                self.add_and_mask(block, row, &mut scratch.b);
            }
        }
    }

    /// Adds the sums of a stored tile of whole rows to `partial`.
    pub(crate) fn take_sums(&self, tile: &[E], first_row: usize, partial: &mut [f64]) {
        let c = self.c;
        for (i, wanted) in self.sums.iter().enumerate() {
            if let Some((y, mean)) = wanted {
                let y = &y[first_row * c..][..tile.len()];
                let (sum_g, sum_gy) = partial[2 * c * i..][..2 * c].split_at_mut(c);
                sums::gradient(self.isa, tile, y, mean, sum_g, sum_gy);
            }
        }
    }

    fn add_and_mask(&self, block: &mut [f32], row: usize, scratch: &mut Memory) {
        let c = self.c;
        if let Some(add) = self.add {
            load::add(self.isa, block, &add[row * c..][..block.len()]);
        }
        if let Some(mask) = &self.mask {
            let rows = row..row + block.len() / c;
            match mask.stored(rows.clone()) {
                Some(value) => load::mask(self.isa, block, value),
                None => {
                    let value = scratch.take(block.len());
                    mask.eval(self.isa, rows, 0..c, value, c);
                    load::mask(self.isa, block, value);
                }
            }
        }
    }
}
