//! Which input pixels an output pixel reads, in either direction, one axis at a time.

use std::ops::Range;

use resnet_core::op::Conv2d;

/// Along one axis: for every output position, the input positions it reads and under which tap. Padding is not in it.
pub(crate) struct Axis {
    start: Vec<usize>,
    pairs: Vec<(usize, usize)>,
}

impl Axis {
    fn new(outputs: usize, taps: usize, input: impl Fn(usize, usize) -> Option<usize>) -> Self {
        let mut axis = Axis { start: vec![0], pairs: vec![] };
        for out in 0..outputs {
            axis.pairs.extend((0..taps).filter_map(|tap| Some((input(out, tap)?, tap))));
            axis.start.push(axis.pairs.len());
        }
        axis
    }

    /// `(input, tap)` of one output position, taps rising.
    pub(crate) fn at(&self, out: usize) -> &[(usize, usize)] {
        &self.pairs[self.start[out]..self.start[out + 1]]
    }

    /// Pairs of an output position and a tap that reads an input.
    fn products(&self) -> usize {
        self.pairs.len()
    }

    /// Lowest and one past the highest input position that some output positions read; empty if they read none.
    pub(crate) fn reach(&self, outputs: Range<usize>) -> Range<usize> {
        let pairs = &self.pairs[self.start[outputs.start]..self.start[outputs.end]];
        let low = pairs.iter().map(|p| p.0).min().unwrap_or(0);
        let high = pairs.iter().map(|p| p.0 + 1).max().unwrap_or(low);
        low..high
    }

    /// Whether any position reads under this tap.
    fn uses(&self, tap: usize) -> bool {
        self.pairs.iter().any(|p| p.1 == tap)
    }

    /// Whether the window at `out + 1` reads the same taps as at `out`, `step` positions further.
    fn repeats(&self, out: usize, step: usize) -> bool {
        let (here, next) = (self.at(out), self.at(out + 1));
        here.len() == next.len() && here.iter().zip(next).all(|(a, b)| a.1 == b.1 && a.0 + step == b.0)
    }

    /// How many positions from `out` on, below `end`, read the same taps, `step` positions apart.
    pub(crate) fn run(&self, out: usize, end: usize, step: usize) -> usize {
        (out..end - 1).take_while(|&o| self.repeats(o, step)).count() + 1
    }
}

/// One direction of a convolution as sums over windows: extents of what is written and read, and who reads whom.
pub(crate) struct Geometry {
    /// Rows and columns of the output.
    pub(crate) out: (usize, usize),
    /// Columns of the input.
    pub(crate) in_columns: usize,
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
    /// Rows and columns of the window.
    pub(crate) window: (usize, usize),
    /// Input columns from one output column to the next, where that is the same everywhere.
    pub(crate) step: Option<usize>,
}

impl Geometry {
    /// Of `y` from `x`.
    pub(crate) fn forward(op: &Conv2d) -> Self {
        let along = |before: usize, extent: usize| {
            let stride = op.stride();
            move |out: usize, tap: usize| (out * stride + tap).checked_sub(before).filter(|&i| i < extent)
        };
        Self {
            out: (op.p(), op.q()),
            in_columns: op.w(),
            rows: Axis::new(op.p(), op.r(), along(op.padding().top, op.h())),
            columns: Axis::new(op.q(), op.s(), along(op.padding().left, op.w())),
            window: (op.r(), op.s()),
            step: Some(op.stride()),
        }
    }

    /// Of `dx` from `dy`: the windows that have a pixel under a tap.
    pub(crate) fn backward(op: &Conv2d) -> Self {
        let along = |before: usize, extent: usize| {
            let stride = op.stride();
            move |pixel: usize, tap: usize| {
                let start = (pixel + before).checked_sub(tap)?;
                start.is_multiple_of(stride).then_some(start / stride).filter(|&o| o < extent)
            }
        };
        Self {
            out: (op.h(), op.w()),
            in_columns: op.q(),
            rows: Axis::new(op.h(), op.r(), along(op.padding().top, op.p())),
            columns: Axis::new(op.w(), op.s(), along(op.padding().left, op.q())),
            window: (op.r(), op.s()),
            step: (op.stride() == 1).then_some(1),
        }
    }

    /// Pairs of an output pixel and a tap that is not on padding.
    pub(crate) fn products(&self) -> usize {
        self.rows.products() * self.columns.products()
    }

    /// Input pixels from the first row that is read to the last.
    pub(crate) fn in_pixels(&self) -> usize {
        self.rows.reach(0..self.out.0).len() * self.in_columns
    }

    /// Stretches of a kernel of `taps × depth` numbers whose taps read the image somewhere. On a map smaller than the window
    /// the other taps lie on padding everywhere.
    pub(crate) fn used(&self, depth: usize) -> Vec<Range<usize>> {
        let mut used: Vec<Range<usize>> = vec![];
        for r in (0..self.window.0).filter(|r| self.rows.uses(*r)) {
            for s in (0..self.window.1).filter(|s| self.columns.uses(*s)) {
                let tap = r * self.window.1 + s;
                match used.last_mut() {
                    Some(last) if last.end == tap * depth => last.end += depth,
                    _ => used.push(tap * depth..(tap + 1) * depth),
                }
            }
        }
        used
    }
}
