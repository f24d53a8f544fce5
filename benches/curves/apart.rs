//! How far training curves are apart, and how far they may be.
//!
//! Rounding grows from step to step until two runs from the same weights on the same batches differ as two draws from one
//! distribution do. So a run here cannot be held to a distance from PyTorch's in units of rounding.
//! It can be held to this: PyTorch run with sums in other orders gives several curves that are equally right. If a run here is as
//! right as they are, it is one more draw, and exchangeable with them. Then it is the farthest of all from the others with a chance
//! of one in as many as there are runs, in every seed anew, whatever the distribution is.
//! How often that happened, and how likely that many times or more are by chance alone, is the verdict. Nothing in it was chosen.

/// Steps whose mean is one point of a curve.
pub(crate) const WINDOW: usize = 20;

/// Means over a few steps each.
pub(crate) fn smooth(losses: &[f64]) -> Vec<f64> {
    losses.chunks(WINDOW).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect()
}

/// Root of the mean square difference of two smoothed curves.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (smooth(a), smooth(b));
    let n = a.len().min(b.len()) as f64;
    (a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / n).sqrt()
}

/// Mean distance of a curve from others.
pub(crate) fn from_others(one: &[f64], others: &[&[f64]]) -> f64 {
    others.iter().map(|other| distance(one, other)).sum::<f64>() / others.len() as f64
}

/// Whether a curve is farther from the rest than each of the others is, when it is one of them.
pub(crate) fn is_farthest(one: &[f64], others: &[&[f64]]) -> bool {
    let own = from_others(one, others);
    (0..others.len()).all(|i| {
        let rest: Vec<&[f64]> =
            others.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, o)| *o).chain([one]).collect();
        from_others(others[i], &rest) < own
    })
}

/// The chance that `hits` or more of `seeds` independent draws succeed, each with a chance of one in `runs`.
pub(crate) fn chance(hits: usize, seeds: usize, runs: usize) -> f64 {
    let p = 1.0 / runs as f64;
    let exactly = |k: usize| {
        let ways = (0..k).map(|i| (seeds - i) as f64 / (i + 1) as f64).product::<f64>();
        ways * p.powi(k as i32) * (1.0 - p).powi((seeds - k) as i32)
    };
    (hits..=seeds).map(exactly).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let (a, b) = (vec![1.0; 2 * WINDOW], [vec![1.0; WINDOW], vec![3.0; WINDOW]].concat());
        assert_eq!(smooth(&b), [1.0, 3.0]);
        assert_eq!(distance(&a, &b), 2.0_f64.sqrt());
        assert_eq!(from_others(&a, &[&a, &b]), 2.0_f64.sqrt() / 2.0);
    }

    #[test]
    fn the_farthest_of_several() {
        let at = |v: f64| vec![v; WINDOW];
        let (a, b, c, far) = (at(1.0), at(1.1), at(1.2), at(2.0));
        assert!(is_farthest(&far, &[&a, &b, &c]));
        assert!(!is_farthest(&b, &[&a, &c, &far]));
    }

    #[test]
    fn chances_are_those_of_the_binomial_distribution() {
        assert!((chance(0, 3, 4) - 1.0).abs() < 1e-12);
        assert!((chance(3, 3, 4) - 1.0 / 64.0).abs() < 1e-12);
        assert!((chance(1, 3, 4) - (1.0 - 27.0 / 64.0)).abs() < 1e-12);
    }
}
