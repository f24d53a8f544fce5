//! What an op does to a tile of its output while it is hot in cache.

use std::ops::Range;

use resnet_core::{Accumulate, GradOut, Result, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::element::Element;
use crate::finish::Finishing;
use crate::kernels::panel::{self, Gradient};
use crate::kernels::product::WIDTH;
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

impl<'a> Backward<'a, f32> {
    /// Whether [`Backward::panel`] can mask: by a value that has the sign of `x`, or not at all.
    pub(crate) fn masks_by(&self, x: &Load<'_, f32>) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask.has_sign_of(x))
    }

    /// What an op that also reads `x` reads for some rows, as it lies in memory.
    pub(crate) fn parts(&self, x: &Load<'a, f32>, rows: &Range<usize>) -> impl Iterator<Item = &'a [f32]> {
        let numbers = rows.start * self.c..rows.end * self.c;
        let sums = self.sums.iter().flatten().map(|(y, _)| *y);
        let known = x.parts(rows).next().map(<[f32]>::as_ptr);
        let others = self.add.into_iter().chain(sums).map(move |x| &x[numbers.clone()]);
        x.parts(rows).chain(others.filter(move |part| Some(part.as_ptr()) != known))
    }

    /// Ends some rows of one panel of channels, from the row and the channel `at` on: `g` and `value`, which has the sign of what
    /// masks, are panels; `out` holds whole rows, to which is added with `add`.
    pub(crate) fn panel(
        &self,
        g: &mut [f32],
        value: &[f32],
        (first_row, channel): (usize, usize),
        add: bool,
        out: &mut [f32],
        partial: &mut [f64],
    ) {
        let (isa, c) = (self.isa, self.c);
        if add {
            for (g, out) in g.chunks_exact_mut(WIDTH).zip(out.chunks_exact(c)) {
                load::add(isa, g, &out[channel..channel + WIDTH]);
            }
        }
        let from = first_row * c + channel;
        let mut x = Gradient { add: &[], value, y: [&[]; 2], mean: [&[]; 2], stride: c };
        if let Some(add) = self.add {
            x.add = &add[from..];
        }
        // Both sums have the same Σ g.
        let wanted = || self.sums.iter().enumerate().filter_map(|(i, sums)| Some((i, (*sums)?)));
        for (j, (_, (y, mean))) in wanted().enumerate() {
            (x.y[j], x.mean[j]) = (&y[from..], &mean[channel..channel + WIDTH]);
        }
        let run = match (self.add.is_some(), self.mask.is_some(), wanted().count()) {
            (false, false, 0) => panel::gradient::<false, false, 0>,
            (false, false, 1) => panel::gradient::<false, false, 1>,
            (false, false, _) => panel::gradient::<false, false, 2>,
            (false, true, 0) => panel::gradient::<false, true, 0>,
            (false, true, 1) => panel::gradient::<false, true, 1>,
            (false, true, _) => panel::gradient::<false, true, 2>,
            (true, false, 0) => panel::gradient::<true, false, 0>,
            (true, false, 1) => panel::gradient::<true, false, 1>,
            (true, false, _) => panel::gradient::<true, false, 2>,
            (true, true, 0) => panel::gradient::<true, true, 0>,
            (true, true, 1) => panel::gradient::<true, true, 1>,
            (true, true, _) => panel::gradient::<true, true, 2>,
        };
        let mut sums = [[0.0; WIDTH]; 3];
        run(isa, g, x, &mut out[channel..], &mut sums);
        for (j, (i, _)) in wanted().enumerate() {
            let partial = &mut partial[2 * c * i + channel..];
            partial.iter_mut().zip(&sums[0]).for_each(|(p, s)| *p += s);
            partial[c..].iter_mut().zip(&sums[1 + j]).for_each(|(p, s)| *p += s);
        }
    }
}
