//! The generator against its published vectors, and its draws against the distributions they claim.

use proptest::prelude::*;
use resnet_core::rng::{Permutation, Purpose, Stream, philox4x32};

fn stream(seed: u64) -> Stream {
    Stream::new(seed, Purpose::Synthetic, 0, 0)
}

/// Known answers of the Random123 distribution (`kat_vectors`, `philox4x32 10`).
#[test]
fn philox_gives_the_published_answers() {
    let ones = u32::MAX;
    assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox4x32([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    assert_eq!(
        philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

/// The definition of a stream, so that no later change can silently give every run other numbers.
#[test]
fn a_stream_is_philox_under_a_derived_key() {
    let (seed, epoch, index) = (0x0123_4567_89ab_cdef, 5, 7 << 32 | 9);
    let [k0, k1, ..] = philox4x32([5, 0, Purpose::Augment as u32, 0], [0x89ab_cdef, 0x0123_4567]);
    let mut stream = Stream::new(seed, Purpose::Augment, epoch, index);
    for block in 0..3 {
        for word in philox4x32([block, 0, 9, 7], [k0, k1]) {
            assert_eq!(stream.u32(), word);
        }
    }
}

#[test]
fn every_part_of_the_name_matters() {
    let draw = |seed, purpose, epoch, index| Stream::new(seed, purpose, epoch, index).u64();
    let base = draw(1, Purpose::Augment, 2, 3);
    assert_eq!(base, draw(1, Purpose::Augment, 2, 3));
    for other in [
        draw(1 | 1 << 40, Purpose::Augment, 2, 3),
        draw(1, Purpose::Mixup, 2, 3),
        draw(1, Purpose::Augment, 2 | 1 << 40, 3),
        draw(1, Purpose::Augment, 2, 3 | 1 << 40),
    ] {
        assert_ne!(base, other);
    }
}

/// Sample means lie within five standard errors; the seeds are fixed, so this passes or fails for good.
#[test]
fn uniform_draws_have_their_moments() {
    let n = 200_000;
    let mut s = stream(1);
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..n {
        let u = f64::from(s.f32());
        assert!((0.0..1.0).contains(&u));
        sum += u;
        squares += u * u;
    }
    let n = f64::from(n);
    assert!((sum / n - 0.5).abs() < 5.0 * (1.0 / 12.0 / n).sqrt());
    // Var(u²) = 1/5 − 1/9
    assert!((squares / n - 1.0 / 3.0).abs() < 5.0 * (4.0 / 45.0 / n).sqrt());
}

#[test]
fn normal_draws_have_their_moments_and_tails() {
    let n = 200_000;
    let mut s = stream(2);
    let draws: Vec<f64> = (0..n).map(|_| s.normal()).collect();
    let n = f64::from(n);
    let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / n;
    // Variances of x, x², x³, x⁴ under the normal law: 1, 2, 15, 96.
    for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let bound = 5.0 * f64::sqrt(variance / n);
        assert!((moment(k) - expected).abs() < bound, "moment {k}: {}", moment(k));
    }
    let beyond_3 = draws.iter().filter(|x| x.abs() > 3.0).count() as f64 / n;
    assert!((beyond_3 - 0.002_699_8).abs() < 5.0 * (0.0027 / n).sqrt());
    // The two values of a Box–Muller pair are independent.
    let lag = draws.chunks_exact(2).map(|p| p[0] * p[1]).sum::<f64>() / (n / 2.0);
    assert!(lag.abs() < 5.0 / (n / 2.0).sqrt());
}

#[test]
fn below_is_uniform_and_in_range() {
    let (n, draws) = (7, 70_000);
    let mut counts = [0u32; 7];
    let mut s = stream(3);
    for _ in 0..draws {
        counts[s.below(n)] += 1;
    }
    let chi2: f64 = counts.iter().map(|&c| (f64::from(c) - 10_000.0).powi(2) / 10_000.0).sum();
    assert!(chi2 < 27.9, "chi² of 6 degrees of freedom: {chi2}"); // exceeded with probability 1e-4
    assert_eq!(stream(4).below(0), 0);
    assert_eq!(stream(4).below(1), 0);
    // Just above half the range a rejection is as likely as not: the loop must still end inside.
    let huge = usize::MAX / 2 + 2;
    assert!((0..100).all(|_| s.below(huge) < huge));
}

#[test]
fn chance_is_never_or_always_at_the_ends() {
    let mut s = stream(5);
    assert!((0..1000).all(|_| !s.chance(0.0) && s.chance(1.0)));
}

/// Each element comes first equally often, and each of the 24 orders of four elements occurs equally often.
#[test]
fn permutations_are_spread_evenly() {
    let n_epochs = 24_000;
    let mut first = [0u32; 10];
    let mut orders = std::collections::HashMap::<Vec<usize>, u32>::new();
    for epoch in 0..n_epochs {
        first[Permutation::new(10, 1, epoch).get(0)] += 1;
        *orders.entry(Permutation::new(4, 1, epoch).iter().collect()).or_default() += 1;
    }
    let chi2 = |counts: &[u32], expected: f64| -> f64 {
        counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum()
    };
    assert!(chi2(&first, 2400.0) < 33.8); // 9 degrees of freedom, probability 1e-4
    let orders: Vec<u32> = orders.into_values().collect();
    assert_eq!(orders.len(), 24);
    assert!(chi2(&orders, 1000.0) < 58.7, "{orders:?}"); // 23 degrees of freedom, probability 5e-5
}

#[test]
fn an_epoch_has_its_own_order() {
    let order = |seed, epoch| Permutation::new(1000, seed, epoch).iter().collect::<Vec<_>>();
    assert_eq!(order(1, 0), order(1, 0));
    assert_ne!(order(1, 0), order(1, 1));
    assert_ne!(order(1, 0), order(2, 0));
    // A random order has one fixed point on average, and neighbours stay neighbours about twice (either direction).
    let fixed = order(1, 0).iter().enumerate().filter(|(i, x)| i == *x).count();
    let neighbours = order(1, 0).windows(2).filter(|w| w[0].abs_diff(w[1]) == 1).count();
    assert!(fixed < 10 && neighbours < 12, "{fixed} fixed points, {neighbours} neighbours");
}

proptest! {
    #[test]
    fn a_permutation_is_a_bijection(n in 0usize..3000, seed: u64, epoch: u64) {
        let permutation = Permutation::new(n, seed, epoch);
        let mut seen = vec![false; n];
        for x in permutation.iter() {
            prop_assert!(x < n && !std::mem::replace(&mut seen[x], true));
        }
        prop_assert!(seen.iter().all(|&s| s));
        prop_assert_eq!(permutation.get(n), n);
    }

    #[test]
    fn large_domains_stay_in_range(n in 1usize..=usize::MAX, i: usize, seed: u64) {
        let permutation = Permutation::new(n, seed, 0);
        prop_assert!(permutation.get(i % n) < n);
    }
}
