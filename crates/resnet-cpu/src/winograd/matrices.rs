//! The matrices of a fast convolution, from their points, in exact fractions.
//!
//! `F(m, r)` computes `m` outputs of a filter of `r` taps with `n = m + r − 1` multiplications:
//! `y = Aᵀ[(G·g) ⊙ (Bᵀ·d)]`, where `y[i] = Σ_k d[i + k]·g[k]`.
//! With `n − 1` finite points `p` and infinity, and `N_j = Π_{l≠j} (p_j − p_l)`:
//!
//! | matrix | row `j` of a finite point | infinity |
//! |--------|---------------------------|----------|
//! | `Aᵀ` (`m × n`, column `j`) | `p_j^i`                              | 1 in the last row |
//! | `G` (`n × r`)              | `p_j^k / N_j`                        | 1 in the last column |
//! | `Bᵀ` (`n × n`)             | coefficients of `Π_{l≠j} (x − p_l)`  | coefficients of `Π_l (x − p_l)` |
//!
//! In two dimensions each matrix is applied to the columns and then to the rows.
//! The gradient of the filter is the same with the tile of the gradient as a filter of `m` taps and 3 outputs: `F(3, m)` has
//! the same `n`, the same points and so the same `Bᵀ`.
//!
//! Sources: Winograd, *Arithmetic Complexity of Computations*, 1980, chapter V; Lavin & Gray, *Fast Algorithms for Convolutional
//! Neural Networks*, 2016; Barabasz, Anderson, Soodhalter & Gregg, *Error Analysis and Improving the Accuracy of Winograd
//! Convolution for Deep Neural Networks*, 2020, for the points.

/// Largest number of multiplications along one axis.
pub(crate) const MOST: usize = 6;

/// A fraction.
#[derive(Clone, Copy)]
struct Fraction(i64, i64);

impl Fraction {
    const fn times(self, b: Self) -> Self {
        Self(self.0 * b.0, self.1 * b.1).reduced()
    }

    const fn minus(self, b: Self) -> Self {
        Self(self.0 * b.1 - b.0 * self.1, self.1 * b.1).reduced()
    }

    const fn over(self, b: Self) -> Self {
        Self(self.0 * b.1, self.1 * b.0).reduced()
    }

    const fn reduced(self) -> Self {
        let (mut a, mut b) = (self.0.abs(), self.1.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let sign = if self.1 < 0 { -1 } else { 1 };
        Self(sign * self.0 / a, sign * self.1 / a)
    }

    /// The nearest f32.
    const fn rounded(self) -> f32 {
        (self.0 as f64 / self.1 as f64) as f32
    }
}

/// The matrices of one `n`, for filters of three taps. Rows and columns beyond their extents are zero.
#[derive(Clone, Copy)]
pub(crate) struct Matrices {
    /// `Bᵀ`, `n × n`: of the input, in all directions.
    pub(crate) input: [[f32; MOST]; MOST],
    /// `G`, `n × 3`: of the filter.
    pub(crate) filter: [[f32; MOST]; MOST],
    /// `Aᵀ`, `(n − 2) × n`: of the output.
    pub(crate) output: [[f32; MOST]; MOST],
    /// `G`, `n × (n − 2)`: of the gradient, where the filter is wanted.
    pub(crate) gradient: [[f32; MOST]; MOST],
    /// `Aᵀ`, `3 × n`: of the filter's gradient.
    pub(crate) filter_gradient: [[f32; MOST]; MOST],
}

/// The finite points; the first `n − 1` are those of `n`, but that 5 takes 2 where 6 takes 1/2 and −2.
const fn point(n: usize, j: usize) -> Fraction {
    match (n, j) {
        (_, 0) => Fraction(0, 1),
        (_, 1) => Fraction(1, 1),
        (_, 2) => Fraction(-1, 1),
        (5, _) => Fraction(2, 1),
        (_, 3) => Fraction(1, 2),
        _ => Fraction(-2, 1),
    }
}

const fn power(p: Fraction, k: usize) -> Fraction {
    let (mut out, mut i) = (Fraction(1, 1), 0);
    while i < k {
        out = out.times(p);
        i += 1;
    }
    out
}

/// Coefficients of `Π (x − p_l)` over the finite points but `without`.
const fn polynomial(n: usize, without: usize) -> [Fraction; MOST] {
    let mut out = [Fraction(0, 1); MOST];
    out[0] = Fraction(1, 1);
    let mut l = 0;
    while l < n - 1 {
        if l != without {
            let mut k = MOST - 1;
            while k > 0 {
                out[k] = out[k - 1].minus(out[k].times(point(n, l)));
                k -= 1;
            }
            out[0] = Fraction(0, 1).minus(out[0].times(point(n, l)));
        }
        l += 1;
    }
    out
}

/// `Aᵀ` of `m` outputs.
const fn evaluate(n: usize, m: usize) -> [[f32; MOST]; MOST] {
    let mut out = [[0.0; MOST]; MOST];
    let mut i = 0;
    while i < m {
        let mut j = 0;
        while j < n - 1 {
            out[i][j] = power(point(n, j), i).rounded();
            j += 1;
        }
        i += 1;
    }
    out[m - 1][n - 1] = 1.0;
    out
}

/// `G` of `r` taps.
const fn evaluate_and_scale(n: usize, r: usize) -> [[f32; MOST]; MOST] {
    let mut out = [[0.0; MOST]; MOST];
    let mut j = 0;
    while j < n - 1 {
        let (mut scale, mut l) = (Fraction(1, 1), 0);
        while l < n - 1 {
            if l != j {
                scale = scale.times(point(n, j).minus(point(n, l)));
            }
            l += 1;
        }
        let mut k = 0;
        while k < r {
            out[j][k] = power(point(n, j), k).over(scale).rounded();
            k += 1;
        }
        j += 1;
    }
    out[n - 1][r - 1] = 1.0;
    out
}

/// `Bᵀ`.
const fn interpolate(n: usize) -> [[f32; MOST]; MOST] {
    let mut out = [[0.0; MOST]; MOST];
    let mut j = 0;
    while j < n {
        // The last row leaves no point out.
        let row = polynomial(n, if j < n - 1 { j } else { n });
        let mut k = 0;
        while k < n {
            out[j][k] = row[k].rounded();
            k += 1;
        }
        j += 1;
    }
    out
}

/// The matrices of `N` multiplications along an axis: outputs in tiles of `N − 2`.
pub(crate) struct Of<const N: usize>;

impl<const N: usize> Of<N> {
    pub(crate) const M: Matrices = Matrices {
        input: interpolate(N),
        filter: evaluate_and_scale(N, 3),
        output: evaluate(N, N - 2),
        gradient: evaluate_and_scale(N, N - 2),
        filter_gradient: evaluate(N, 3),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y[i] = Σ_k d[i + k]·g[k]`, for every unit input and unit filter: the identity is bilinear.
    fn identity(n: usize, (m, r): (usize, usize), [a, g, b]: [[[f32; MOST]; MOST]; 3]) {
        for d in 0..n {
            for k in 0..r {
                for i in 0..m {
                    let y: f64 =
                        (0..n).map(|j| f64::from(a[i][j]) * f64::from(g[j][k]) * f64::from(b[j][d])).sum();
                    let want = if i + k == d { 1.0 } else { 0.0 };
                    // Entries such as 1/15 are rounded to f32: a few of them, times 16 at most.
                    assert!((y - want).abs() < 1e-5, "F({m}, {r}): y[{i}] of d[{d}], g[{k}] is {y}");
                }
            }
        }
    }

    #[test]
    fn the_identity_holds_in_one_dimension() {
        fn both<const N: usize>() {
            let m = Of::<N>::M;
            identity(N, (N - 2, 3), [m.output, m.filter, m.input]);
            identity(N, (3, N - 2), [m.filter_gradient, m.gradient, m.input]);
        }
        both::<4>();
        both::<5>();
        both::<6>();
    }

    #[test]
    fn two_outputs_are_winograds_own() {
        let m = Of::<4>::M;
        let rows = |a: [[f32; 6]; 6]| a.map(|row| [row[0], row[1], row[2], row[3]]);
        assert_eq!(rows(m.output)[..2], [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, 1.0]]);
        assert_eq!(rows(m.input)[1], [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(rows(m.filter)[1][..3], [0.5, 0.5, 0.5]);
    }
}
