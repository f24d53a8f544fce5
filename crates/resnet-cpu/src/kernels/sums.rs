//! Sums over the rows of a tile, per channel, in f64: channels in blocks that stay in registers.

use super::kernel;

/// Channels per block.
const LANES: usize = 16;

kernel! {
    /// Mean and sum of squared deviations of each column of `x`, rows of `mean.len()` numbers.
    ///
    /// Deviations are taken from the first row, which removes what would cancel in `E[x²] − E[x]²`.
    fn moments[E](x: &[E], mean: &mut [f64], m2: &mut [f64]) {
        let c = mean.len();
        let rows = (x.len() / c) as f64;
        let mut column = 0;
        while column < c {
            let width = LANES.min(c - column);
            let (mut sum, mut squares) = ([0.0f64; LANES], [0.0f64; LANES]);
            let mut pivot = [0.0f64; LANES];
            for i in 0..width {
                pivot[i] = f64::from(x[column + i].widen());
            }
            if width == LANES {
                for row in x.chunks_exact(c) {
                    let row = &row[column..column + LANES];
                    for i in 0..LANES {
                        let d = f64::from(row[i].widen()) - pivot[i];
                        sum[i] += d;
                        squares[i] += d * d;
                    }
                }
            } else {
                for row in x.chunks_exact(c) {
                    for i in 0..width {
                        let d = f64::from(row[column + i].widen()) - pivot[i];
                        sum[i] += d;
                        squares[i] += d * d;
                    }
                }
            }
            for i in 0..width {
                let d = sum[i] / rows;
                mean[column + i] = pivot[i] + d;
                let spread = squares[i] - sum[i] * d;
                // Rounding may leave it a hair below zero; a NaN stays a NaN.
                m2[column + i] = if spread < 0.0 { 0.0 } else { spread };
            }
            column += width;
        }
    }
}

kernel! {
    /// Adds `Σ g` and `Σ g·(y − mean)` of each column.
    fn gradient[E](g: &[E], y: &[E], mean: &[f32], sum_g: &mut [f64], sum_gy: &mut [f64]) {
        let c = mean.len();
        let mut column = 0;
        while column < c {
            let width = LANES.min(c - column);
            let (mut s, mut t) = ([0.0f64; LANES], [0.0f64; LANES]);
            let mut center = [0.0f64; LANES];
            for i in 0..width {
                center[i] = f64::from(mean[column + i]);
            }
            if width == LANES {
                for (g, y) in g.chunks_exact(c).zip(y.chunks_exact(c)) {
                    let (g, y) = (&g[column..column + LANES], &y[column..column + LANES]);
                    for i in 0..LANES {
                        let g = f64::from(g[i].widen());
                        s[i] += g;
                        t[i] += g * (f64::from(y[i].widen()) - center[i]);
                    }
                }
            } else {
                for (g, y) in g.chunks_exact(c).zip(y.chunks_exact(c)) {
                    for i in 0..width {
                        let g = f64::from(g[column + i].widen());
                        s[i] += g;
                        t[i] += g * (f64::from(y[column + i].widen()) - center[i]);
                    }
                }
            }
            for i in 0..width {
                sum_g[column + i] += s[i];
                sum_gy[column + i] += t[i];
            }
            column += width;
        }
    }
}

kernel! {
    /// Adds the sums of the deviations from `pivot`, and of their squares, of each column of `x`.
    fn add_deviations[E](x: &[E], pivot: &[f64], sum: &mut [f64], squares: &mut [f64]) {
        let c = pivot.len();
        let mut column = 0;
        while column + LANES <= c {
            let at = column..column + LANES;
            let (pivot, sum, squares) = (&pivot[at.clone()], &mut sum[at.clone()], &mut squares[at.clone()]);
            let (mut s, mut t) = ([0.0f64; LANES], [0.0f64; LANES]);
            for row in x.chunks_exact(c) {
                let row = &row[at.clone()];
                for i in 0..LANES {
                    let d = f64::from(row[i].widen()) - pivot[i];
                    s[i] += d;
                    t[i] += d * d;
                }
            }
            for i in 0..LANES {
                sum[i] += s[i];
                squares[i] += t[i];
            }
            column += LANES;
        }
        for row in x.chunks_exact(c) {
            for i in column..c {
                let d = f64::from(row[i].widen()) - pivot[i];
                sum[i] += d;
                squares[i] += d * d;
            }
        }
    }
}

kernel! {
    /// Adds the sum of the first `sum.len()` columns of `x`, rows of `stride` numbers, to `sum`.
    fn columns[E](x: &[E], stride: usize, sum: &mut [f64]) {
        for row in x.chunks_exact(stride) {
            for (s, &x) in sum.iter_mut().zip(row) {
                *s += f64::from(x.widen());
            }
        }
    }
}

kernel! {
    /// As [`columns`], of rows two by two with their numbers side by side.
    fn paired_columns[E](x: &[E], stride: usize, sum: &mut [f64]) {
        for rows in x.chunks_exact(2 * stride) {
            for (s, pair) in sum.iter_mut().zip(rows.chunks_exact(2)) {
                *s += f64::from(pair[0].widen()) + f64::from(pair[1].widen());
            }
        }
    }
}

kernel! {
    /// Adds the sum of squares of `x` to `sum`.
    fn squares(x: &[f32], sum: &mut f64) {
        let mut lanes = [0.0f64; LANES];
        let mut blocks = x.chunks_exact(LANES);
        for block in &mut blocks {
            for i in 0..LANES {
                let v = f64::from(block[i]);
                lanes[i] += v * v;
            }
        }
        for (lane, &v) in lanes.iter_mut().zip(blocks.remainder()) {
            *lane += f64::from(v) * f64::from(v);
        }
        *sum += lanes.iter().sum::<f64>();
    }
}
