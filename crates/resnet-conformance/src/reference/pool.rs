//! Maximum and mean over sliding windows.

use resnet_core::op::{AvgPool, MaxPool, PadValue, Padding};
use resnet_core::{GradOut, GradSource, Result, Source};

use super::Buffer;
use super::source::{batch_sums, gradients, sums_out, values, write_gradient};
use crate::number::{Number, Sum};

/// A sliding window over channels-last images.
struct Window {
    extents: [usize; 4],
    out: [usize; 2],
    size: [usize; 2],
    stride: usize,
    padding: Padding,
}

impl Window {
    fn of_max(op: &MaxPool) -> Self {
        Self {
            extents: [op.n(), op.h(), op.w(), op.c()],
            out: [op.p(), op.q()],
            size: [op.r(), op.s()],
            stride: op.stride(),
            padding: op.padding(),
        }
    }

    fn of_avg(op: &AvgPool) -> Self {
        Self {
            extents: [op.n(), op.h(), op.w(), op.c()],
            out: [op.p(), op.q()],
            size: [op.r(), op.s()],
            stride: op.stride(),
            padding: op.padding(),
        }
    }

    /// Calls `visit(element of y, elements of x)`: for each position of the window in row-major order where it finds its input,
    /// `None` outside the image.
    fn for_each(&self, mut visit: impl FnMut(usize, &[Option<usize>])) {
        let [n, h, w, c] = self.extents;
        let [p, q] = self.out;
        let mut taps = Vec::new();
        for y in 0..n * p * q * c {
            let (channel, column, row, image) = (y % c, y / c % q, y / c / q % p, y / c / q / p);
            taps.clear();
            for r in 0..self.size[0] {
                for s in 0..self.size[1] {
                    let at = (row * self.stride + r).checked_sub(self.padding.top).filter(|&at| at < h);
                    let across =
                        (column * self.stride + s).checked_sub(self.padding.left).filter(|&at| at < w);
                    taps.push(
                        at.zip(across).map(|(at, across)| ((image * h + at) * w + across) * c + channel),
                    );
                }
            }
            visit(y, &taps);
        }
    }
}

pub(super) fn max_forward<T: Number>(
    op: &MaxPool,
    x: Source<'_, Buffer<T>>,
    y: &mut Buffer<T>,
    index: Option<&mut Buffer<T>>,
    sums: Option<&mut Buffer<T>>,
) -> Result<()> {
    const OP: &str = "max_pool";
    let x = values(OP, &op.x_desc(), x)?;
    let y = y.write(OP, "y", op.y_desc().len())?;
    let mut index = index.map(|index| index.write(OP, "index", op.index_desc().len())).transpose()?;
    let sums = sums_out(OP, op.c(), sums)?;

    Window::of_max(op).for_each(|out, taps| {
        let mut best: Option<(T, u8)> = None;
        for (position, tap) in taps.iter().enumerate() {
            let (value, position) = match (tap, op.pad_value()) {
                (Some(at), _) => (x[*at], position as u8),
                (None, PadValue::Zero) => (T::exact(0.0), MaxPool::OUTSIDE),
                (None, PadValue::NegInf) => continue,
            };
            best = Some(match best {
                None => (value, position),
                Some((max, winner)) => {
                    let (new, old) = (value.value(), max.value());
                    let wins = new > old || (new.is_nan() && !old.is_nan());
                    (max.max(value), if wins { position } else { winner })
                }
            });
        }
        // A pool that exists has no window wholly outside.
        let (max, winner) = best.unwrap_or((T::exact(f64::NEG_INFINITY), MaxPool::OUTSIDE));
        y[out] = max.stored(op.dtype());
        if let Some(index) = &mut index {
            index[out] = T::exact(f64::from(winner));
        }
    });
    batch_sums(op.c(), y, sums);
    Ok(())
}

pub(super) fn max_backward<T: Number>(
    op: &MaxPool,
    dy: GradSource<'_, Buffer<T>>,
    index: &Buffer<T>,
    dx: GradOut<'_, Buffer<T>>,
) -> Result<()> {
    const OP: &str = "max_pool_backward";
    let dy = gradients(OP, &op.y_desc(), dy)?;
    let index = index.read(OP, "index", op.index_desc().len())?;

    let mut acc = vec![T::Sum::default(); op.x_desc().len()];
    Window::of_max(op).for_each(|out, taps| {
        // No input has the position `OUTSIDE`, and its gradient is lost.
        if let Some(Some(winner)) = taps.get(index[out].value() as usize) {
            acc[*winner].add(dy[out]);
        }
    });
    write_gradient(OP, &op.x_desc(), dx, acc)
}

pub(super) fn avg_forward<T: Number>(
    op: &AvgPool,
    x: Source<'_, Buffer<T>>,
    y: &mut Buffer<T>,
) -> Result<()> {
    const OP: &str = "avg_pool";
    let x = values(OP, &op.x_desc(), x)?;
    let y = y.write(OP, "y", op.y_desc().len())?;

    Window::of_avg(op).for_each(|out, taps| {
        let mut total = T::Sum::default();
        taps.iter().flatten().for_each(|&at| total.add(x[at]));
        y[out] = (total.total() / count(taps)).stored(op.dtype());
    });
    Ok(())
}

pub(super) fn avg_backward<T: Number>(
    op: &AvgPool,
    dy: GradSource<'_, Buffer<T>>,
    dx: GradOut<'_, Buffer<T>>,
) -> Result<()> {
    const OP: &str = "avg_pool_backward";
    let dy = gradients(OP, &op.y_desc(), dy)?;

    let mut acc = vec![T::Sum::default(); op.x_desc().len()];
    Window::of_avg(op).for_each(|out, taps| {
        let share = dy[out] / count(taps);
        taps.iter().flatten().for_each(|&at| acc[at].add(share));
    });
    write_gradient(OP, &op.x_desc(), dx, acc)
}

/// Pixels of the window that lie inside the image.
fn count<T: Number>(taps: &[Option<usize>]) -> T {
    T::exact(taps.iter().flatten().count() as f64)
}
