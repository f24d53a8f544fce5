//! What the rounding of Winograd's algorithm adds to a convolution, derived element by element.
//!
//! The algorithm (see [`Arithmetic::Winograd`]) computes, per tile, `Y = Aᵀ [Σ (G g Gᵀ) ⊙ (Bᵀ d B)] A`, where the sum runs over
//! channels, or over tiles and pictures where the kernel's gradient is wanted.
//! Every result is a sum of products `a·a'·g·b·b'·d·…` of entries and operands, and each such term passes through at most `k`
//! roundings, whatever the order of the sums:
//!
//! | stage | roundings of a term |
//! |-------|---------------------|
//! | `Bᵀ d B` | two dot products of up to `n` terms, whose entries are exact: `2·n` |
//! | `G g Gᵀ` | two of `t` terms (3, or the tile's extent for the kernel's gradient), whose entries are rounded: `2·(t + 1)` |
//! | products and their sum | one product and `l − 1` additions of `l` terms: `l` |
//! | `Aᵀ M A` | two of up to `n` terms: `2·n` |
//!
//! So the error is at most `γₖ` times the same expression over magnitudes,
//! `S = |Aᵀ| [Σ (|G| |g| |Gᵀ|) ⊙ (|Bᵀ| |d| |B|)] |A|` (Higham, lemma 3.1 and section 3.5; Barabasz et al., *Error Analysis and
//! Improving the Accuracy of Winograd Convolution for Deep Neural Networks*, 2020, theorem 1, which bounds it in norm).
//! What may be lost to underflow is at most `u` times a number of `2⁻¹²⁶ / u`, by which operands and sums of products are taken
//! larger.
//!
//! The matrices are made here from their points, independently of any backend.

use resnet_core::Arithmetic;
use resnet_core::op::Conv2d;

use crate::bound::{U, UNDERFLOW, gamma};
use crate::number::{Number, Sum};
use crate::pieces;

/// A direction of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    /// `y` from `x` and `w`.
    Forward,
    /// `dx` from `dy` and `w`.
    BackwardData,
    /// `dw` from `x` and `dy`.
    BackwardWeight,
}

type Matrix = Vec<Vec<f64>>;

/// The finite points of tiles of `m`.
fn points(m: usize) -> &'static [f64] {
    match m {
        2 => &[0.0, 1.0, -1.0],
        3 => &[0.0, 1.0, -1.0, 2.0],
        _ => &[0.0, 1.0, -1.0, 0.5, -2.0],
    }
}

/// `|Aᵀ|`, `|G|` and `|Bᵀ|`, see [`matrices`].
fn magnitudes(points: &[f64], m: usize, r: usize) -> [Matrix; 3] {
    let mut all = matrices(points, m, r);
    all.iter_mut().flatten().flatten().for_each(|entry| *entry = entry.abs());
    all
}

/// `Aᵀ` (`m × n`), `G` (`n × r`) and `Bᵀ` (`n × n`) of `F(m, r)` with these finite points and infinity.
fn matrices(points: &[f64], m: usize, r: usize) -> [Matrix; 3] {
    let n = points.len() + 1;
    let mut a = vec![vec![0.0; n]; m];
    let mut g = vec![vec![0.0; r]; n];
    let mut b = vec![vec![0.0; n]; n];
    for (j, p) in points.iter().enumerate() {
        let others = || points.iter().enumerate().filter(move |(l, _)| *l != j).map(|(_, q)| *q);
        let scale: f64 = others().map(|q| p - q).product();
        (0..m).for_each(|i| a[i][j] = p.powi(i as i32));
        (0..r).for_each(|k| g[j][k] = p.powi(k as i32) / scale);
        b[j] = polynomial(others(), n);
    }
    a[m - 1][n - 1] = 1.0;
    g[n - 1][r - 1] = 1.0;
    b[n - 1] = polynomial(points.iter().copied(), n);
    [a, g, b]
}

/// Coefficients of `Π (x − p)`, padded to `n`.
fn polynomial(roots: impl Iterator<Item = f64>, n: usize) -> Vec<f64> {
    let mut out = vec![1.0];
    for p in roots {
        out.push(0.0);
        for k in (0..out.len()).rev() {
            out[k] = if k > 0 { out[k - 1] } else { 0.0 } - p * out[k];
        }
    }
    out.resize(n, 0.0);
    out
}

/// `matrix · tile · matrixᵀ`.
fn both(matrix: &Matrix, tile: &[Vec<f64>]) -> Matrix {
    let left: Matrix = matrix
        .iter()
        .map(|row| {
            (0..tile[0].len())
                .map(|j| row.iter().zip(tile).map(|(m, t)| m * t[j]).sum())
                .collect::<Vec<f64>>()
        })
        .collect();
    let apply = |row: &Vec<f64>| matrix.iter().map(|m| m.iter().zip(row).map(|(m, v)| m * v).sum()).collect();
    left.iter().map(apply).collect()
}

/// A tensor of pictures, as magnitudes.
struct Pictures<'a, T> {
    data: &'a [T],
    h: usize,
    w: usize,
    c: usize,
}

impl<T: Number> Pictures<'_, T> {
    /// `extent × extent` pixels of one channel from a position on that may lie outside, where zeros are.
    fn tile(&self, n: usize, c: usize, (top, left): (isize, isize), extent: usize) -> Matrix {
        let at = |i: usize, j: usize| {
            let y = usize::try_from(top + i as isize).ok().filter(|&y| y < self.h)?;
            let x = usize::try_from(left + j as isize).ok().filter(|&x| x < self.w)?;
            Some(self.data[((n * self.h + y) * self.w + x) * self.c + c].magnitude() + UNDERFLOW / U)
        };
        (0..extent).map(|i| (0..extent).map(|j| at(i, j).unwrap_or(0.0)).collect()).collect()
    }
}

/// Widens the sums of a convolution by what the arithmetic rounds.
///
/// `left` is what is read by tiles, `right` the kernels, or `dy` where the kernels' gradient is wanted.
pub(crate) fn widen<T: Number>(
    arithmetic: Arithmetic,
    op: &Conv2d,
    map: Map,
    left: &[T],
    right: &[T],
    sums: &mut [T::Sum],
) {
    let m = match arithmetic {
        Arithmetic::Winograd { tile } => tile,
        Arithmetic::Pieces { products } => return pieces::widen(products, op, map, left, right, sums),
        Arithmetic::Sums => return,
    };
    let points = points(m);
    match map {
        Map::BackwardWeight => widen_weight(op, m, points, left, right, sums),
        _ => widen_pictures(op, m, points, map, left, right, sums),
    }
}

fn widen_pictures<T: Number>(
    op: &Conv2d,
    m: usize,
    points: &[f64],
    map: Map,
    source: &[T],
    w: &[T],
    sums: &mut [T::Sum],
) {
    let n = m + 2;
    let [a, g, b] = magnitudes(points, m, 3);
    let (x, y, pad) = (op.x_desc(), op.y_desc(), op.padding());
    let forward = map == Map::Forward;
    let ((from, to), before) = if forward {
        ((x, y), (pad.top as isize, pad.left as isize))
    } else {
        ((y, x), (2 - pad.top as isize, 2 - pad.left as isize))
    };
    let source = Pictures { data: source, h: from.h, w: from.w, c: from.c };
    let weight = |o: usize, i: usize, r: usize, s: usize| {
        let (k, c, tap) = if forward { (o, i, r * 3 + s) } else { (i, o, 8 - (r * 3 + s)) };
        w[(k * 9 + tap) * op.c() + c].magnitude() + UNDERFLOW / U
    };
    let filters: Vec<Matrix> = (0..to.c * from.c)
        .map(|oi| {
            let g3 = |r: usize| (0..3).map(|s| weight(oi / from.c, oi % from.c, r, s)).collect();
            both(&g, &(0..3).map(g3).collect::<Matrix>())
        })
        .collect();
    let roundings = gamma(2 * n + 2 * (3 + 1) + from.c + 2 * n);
    for picture in 0..to.n {
        for p in (0..to.h).step_by(m) {
            for q in (0..to.w).step_by(m) {
                let origin = (p as isize - before.0, q as isize - before.1);
                let inputs: Vec<Matrix> =
                    (0..from.c).map(|c| both(&b, &source.tile(picture, c, origin, n))).collect();
                for o in 0..to.c {
                    let sum = |i: usize, j: usize| -> f64 {
                        let term = |(c, d): (usize, &Matrix)| d[i][j] * filters[o * from.c + c][i][j];
                        inputs.iter().enumerate().map(term).sum::<f64>() + from.c as f64 * UNDERFLOW / U
                    };
                    let products: Matrix = (0..n).map(|i| (0..n).map(|j| sum(i, j)).collect()).collect();
                    let out = both(&a, &products);
                    for i in 0..m.min(to.h - p) {
                        for j in 0..m.min(to.w - q) {
                            let at = ((picture * to.h + p + i) * to.w + q + j) * to.c + o;
                            sums[at].err(roundings * out[i][j]);
                        }
                    }
                }
            }
        }
    }
}

fn widen_weight<T: Number>(op: &Conv2d, m: usize, points: &[f64], x: &[T], dy: &[T], sums: &mut [T::Sum]) {
    let n = m + 2;
    let [a, g, b] = magnitudes(points, 3, m);
    let (pad, c, k) = (op.padding(), op.c(), op.k());
    let x = Pictures { data: x, h: op.h(), w: op.w(), c };
    let dy = Pictures { data: dy, h: op.p(), w: op.q(), c: k };
    let mut products = vec![vec![vec![0.0; n]; n]; k * c];
    let mut terms = 0;
    for picture in 0..op.n() {
        for p in (0..op.p()).step_by(m) {
            for q in (0..op.q()).step_by(m) {
                let origin = (p as isize - pad.top as isize, q as isize - pad.left as isize);
                let inputs: Vec<Matrix> = (0..c).map(|c| both(&b, &x.tile(picture, c, origin, n))).collect();
                let here = (p as isize, q as isize);
                let grads: Vec<Matrix> = (0..k).map(|k| both(&g, &dy.tile(picture, k, here, m))).collect();
                for (kc, sum) in products.iter_mut().enumerate() {
                    let (dy, x) = (&grads[kc / c], &inputs[kc % c]);
                    for i in 0..n {
                        (0..n).for_each(|j| sum[i][j] += dy[i][j] * x[i][j] + UNDERFLOW / U);
                    }
                }
                terms += 1;
            }
        }
    }
    let roundings = gamma(2 * n + 2 * (m + 1) + terms + 2 * n);
    for (kc, sum) in products.iter().enumerate() {
        let out = both(&a, sum);
        for r in 0..3 {
            for s in 0..3 {
                sums[(kc / c * 9 + r * 3 + s) * c + kc % c].err(roundings * out[r][s]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use resnet_core::DType;
    use resnet_core::op::Padding;

    use super::*;
    use crate::bound::Bounded;

    /// `F(2, 3)` of Lavin & Gray, section 4.1, up to signs and scales that cancel.
    #[test]
    fn small_matrices_are_the_published_ones() {
        let [a, g, b] = magnitudes(&[0.0, 1.0, -1.0], 2, 3);
        assert_eq!(a, [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]]);
        assert_eq!(g, [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0.0, 0.0, 1.0]]);
        assert_eq!(b[0], [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(b[1], [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(b[3], [0.0, 1.0, 0.0, 1.0]);
    }

    /// A forward convolution by tiles, with everything that can go wrong in it.
    struct ByTiles {
        op: Conv2d,
        m: usize,
        matrices: [Matrix; 3],
        x: Vec<f64>,
        w: Vec<f64>,
        /// Channels that are summed over.
        terms: usize,
    }

    impl ByTiles {
        /// Two by two tiles of eight channels, one kernel.
        fn new(m: usize) -> Self {
            let op = Conv2d::new((1, 2 * m, 2 * m, 8), 1, (3, 3), 1, Padding::all(1), 1, DType::F32);
            let op = op.unwrap();
            let numbers = |len: usize, seed: usize| {
                (0..len).map(|i| ((i * 7919 + seed) * 104_729 % 2003) as f64 / 1001.5 - 1.0).collect()
            };
            let (x, w) = (numbers(op.x_desc().len(), 1), numbers(op.w_desc().len(), 2));
            Self { op, m, matrices: matrices(points(m), m, 3), x, w, terms: op.c() }
        }

        fn compute(&self) -> Vec<f64> {
            let (h, c, m) = (self.op.h(), self.op.c(), self.m);
            let [a, g, b] = &self.matrices;
            let pixel = |y: isize, x: isize, c_: usize| {
                let inside = (0..h as isize).contains(&y) && (0..h as isize).contains(&x);
                if inside { self.x[(y as usize * h + x as usize) * c + c_] } else { 0.0 }
            };
            let mut out = vec![0.0; h * h];
            for p in (0..h).step_by(m) {
                for q in (0..h).step_by(m) {
                    let mut products = vec![vec![0.0; m + 2]; m + 2];
                    for c_ in 0..self.terms {
                        let at = |i: usize, j: usize| pixel((p + i) as isize - 1, (q + j) as isize - 1, c_);
                        let tile: Matrix =
                            (0..m + 2).map(|i| (0..m + 2).map(|j| at(i, j)).collect()).collect();
                        let tap = |r: usize, s: usize| self.w[(r * 3 + s) * c + c_];
                        let kernel: Matrix = (0..3).map(|r| (0..3).map(|s| tap(r, s)).collect()).collect();
                        let (input, filter) = (both(b, &tile), both(g, &kernel));
                        for (i, row) in products.iter_mut().enumerate() {
                            row.iter_mut().enumerate().for_each(|(j, v)| *v += input[i][j] * filter[i][j]);
                        }
                    }
                    for (i, row) in both(a, &products).iter().enumerate() {
                        row.iter().enumerate().for_each(|(j, v)| out[(p + i) * h + q + j] = *v);
                    }
                }
            }
            out
        }

        /// What f32 may give: of the convolution as it is meant.
        fn bounds(&self) -> Vec<Bounded> {
            let (op, h, c) = (&self.op, self.op.h(), self.op.c());
            let [x, w] = [&self.x, &self.w].map(|v| v.iter().map(|v| Bounded::exact(*v)).collect::<Vec<_>>());
            let mut sums = vec![<Bounded as Number>::Sum::default(); h * h];
            for (at, sum) in sums.iter_mut().enumerate() {
                for tap in 0..9 {
                    let (y, z) = ((at / h + tap / 3).wrapping_sub(1), (at % h + tap % 3).wrapping_sub(1));
                    if y < h && z < h {
                        (0..c).for_each(|i| sum.add(x[(y * h + z) * c + i] * w[tap * c + i]));
                    }
                }
            }
            widen(Arithmetic::Winograd { tile: self.m }, op, Map::Forward, &x, &w, &mut sums);
            sums.iter().map(Sum::total).collect()
        }

        fn is_within(&self, bounds: &[Bounded]) -> bool {
            self.compute().iter().zip(bounds).all(|(got, bound)| bound.over(*got) <= 1.0)
        }
    }

    #[test]
    fn a_wrong_coefficient_a_lost_tap_and_a_lost_term_are_beyond_the_bound() {
        for m in 2..=4 {
            let right = || ByTiles::new(m);
            let bounds = right().bounds();
            assert!(right().is_within(&bounds), "tiles of {m}");
            for which in 0..3 {
                let entries = right().matrices[which].clone();
                for (i, j) in (0..entries.len()).flat_map(|i| (0..entries[i].len()).map(move |j| (i, j))) {
                    // A thousandth of an entry, or of one where there is none.
                    let mut wrong = right();
                    wrong.matrices[which][i][j] +=
                        1e-3 * if entries[i][j] == 0.0 { 1.0 } else { entries[i][j] };
                    assert!(!wrong.is_within(&bounds), "tiles of {m}, matrix {which}, entry {i}, {j}");
                }
            }
            for tap in 0..9 * right().op.c() {
                let mut wrong = right();
                wrong.w[tap] = 0.0;
                assert!(!wrong.is_within(&bounds), "tiles of {m}, tap {tap}");
            }
            let wrong = ByTiles { terms: right().op.c() - 1, ..right() };
            assert!(!wrong.is_within(&bounds), "tiles of {m}, a term");
        }
    }
}
