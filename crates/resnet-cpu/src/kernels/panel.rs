//! The end of a panel of 32 channels on its way from the products to memory, in one pass.

use super::kernel;
use super::product::WIDTH;

/// Channels at a time: a line of memory, whose sums stay in registers.
const LANES: usize = 16;

/// What a gradient goes through. Rows of `value` are a panel's, those of the others lie `stride` numbers apart.
#[derive(Clone, Copy)]
pub(crate) struct Gradient<'a> {
    /// What is added.
    pub(crate) add: &'a [f32],
    /// Where it is positive the gradient stays.
    pub(crate) value: &'a [f32],
    /// The raw tensors of the sums.
    pub(crate) y: [&'a [f32]; 2],
    /// Their means.
    pub(crate) mean: [&'a [f32]; 2],
    pub(crate) stride: usize,
}

kernel! {
    /// `out = mask ⊙ (g + add)`, and adds `Σ out` to `sums[0]` and, for each of `SUMS` tensors, `Σ out·(y − mean)` to the next ones.
    fn gradient<const ADD: bool, const MASK: bool, const SUMS: usize>(
        g: &[f32], x: Gradient<'_>, out: &mut [f32], sums: &mut [[f64; WIDTH]; 3],
    ) {
        for first in (0..WIDTH).step_by(LANES) {
            let mut s = [[0.0f64; LANES]; 3];
            let mut mean = [[0.0f64; LANES]; 2];
            for j in 0..SUMS {
                for i in 0..LANES {
                    mean[j][i] = f64::from(x.mean[j][first + i]);
                }
            }
            for (row, g) in g.chunks_exact(WIDTH).enumerate() {
                let at = row * x.stride + first;
                // An array of its own, or the compiler makes it single numbers.
                let mut v = [0.0f32; LANES];
                v.copy_from_slice(&g[first..first + LANES]);
                if ADD {
                    let add = &x.add[at..at + LANES];
                    for i in 0..LANES {
                        v[i] += add[i];
                    }
                }
                if MASK {
                    let value = &x.value[row * WIDTH + first..][..LANES];
                    for i in 0..LANES {
                        v[i] = if value[i] > 0.0 { v[i] } else { 0.0 };
                    }
                }
                out[at..at + LANES].copy_from_slice(&v);
                if SUMS > 0 {
                    let y = &x.y[0][at..at + LANES];
                    for i in 0..LANES {
                        let g = f64::from(v[i]);
                        s[0][i] += g;
                        s[1][i] += g * (f64::from(y[i]) - mean[0][i]);
                    }
                }
                if SUMS > 1 {
                    let y = &x.y[1][at..at + LANES];
                    for i in 0..LANES {
                        s[2][i] += f64::from(v[i]) * (f64::from(y[i]) - mean[1][i]);
                    }
                }
            }
            for (sums, s) in sums.iter_mut().zip(&s) {
                for i in 0..LANES {
                    sums[first + i] += s[i];
                }
            }
        }
    }
}
