//! The bounds hold what f32 arithmetic does, and not much more.

use proptest::prelude::*;
use resnet_conformance::Bounded;
use resnet_conformance::bound::{U, gamma};
use resnet_conformance::number::{Number, sum};

fn exact(x: f32) -> Bounded {
    Bounded::exact(f64::from(x))
}

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![-1e3f32..1e3, -1e-3f32..1e-3, Just(0.0), Just(1.0), Just(f32::MIN_POSITIVE)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn single_operations(a in number(), b in number()) {
        let (x, y) = (exact(a), exact(b));
        let operations = [
            ("+", x + y, a + b),
            ("-", x - y, a - b),
            ("*", x * y, a * b),
            ("max", Number::max(x, y), a.max(b)),
            ("masked", x.where_positive(y), if b > 0.0 { a } else { 0.0 }),
            ("exp", (x * exact(1e-2)).exp(), (a * 1e-2).exp()),
            ("sqrt", (x * x).sqrt(), (a * a).sqrt()),
            ("ln", (x * x + exact(1.0)).ln(), (a * a + 1.0).ln()),
        ];
        for (name, bounded, got) in operations {
            prop_assert!(bounded.over(f64::from(got)) <= 1.0, "{a} {name} {b}: {got} not in {bounded:?}");
        }
        // A bound says nothing about what overflows.
        if (a / b).is_finite() && (1.0 / b).is_finite() {
            for (name, got) in [("/", a / b), ("times the reciprocal of", a * (1.0 / b))] {
                prop_assert!((x / y).over(f64::from(got)) <= 1.0, "{a} {name} {b}: {got} not in {:?}", x / y);
            }
        }
    }

    /// Forwards, backwards and as a tree: any order stays inside, and so does any fused multiplication.
    #[test]
    fn sums_in_any_order(terms in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 1..200)) {
        let bounded = sum(terms.iter().map(|&(a, b)| exact(a) * exact(b)));
        let products: Vec<f32> = terms.iter().map(|(a, b)| a * b).collect();
        let forwards = products.iter().fold(0.0, |s, p| s + p);
        let backwards = products.iter().rev().fold(0.0, |s, p| s + p);
        let fused = terms.iter().fold(0.0f32, |s, &(a, b)| a.mul_add(b, s));
        let mut tree = products;
        while tree.len() > 1 {
            tree = tree.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        for got in [forwards, backwards, fused, tree[0]] {
            prop_assert!(bounded.over(f64::from(got)) <= 1.0, "{got} not in {bounded:?}");
        }
        // No wider than Higham's equation 3.5, but for the underflow term.
        let magnitude: f64 = terms.iter().map(|&(a, b)| (f64::from(a) * f64::from(b)).abs()).sum();
        prop_assert!(bounded.radius() <= gamma(terms.len()) * magnitude * (1.0 + 1e-4) + 1e-30);
    }
}

#[test]
fn a_wrong_result_is_outside() {
    let x = Bounded::rounded(1.0);
    assert!(x.over(1.0) == 0.0 && x.over(1.0 + U) <= 1.0);
    assert!(x.over(1.0 + 3.0 * U) > 1.0 && x.over(1.0 - 3.0 * U) > 1.0);
    assert!(x.over(f64::NAN).is_infinite() && x.over(f64::INFINITY).is_infinite());
    assert!(exact(1.0).over(1.0 + U).is_infinite(), "what is chosen and not computed has no error");
}

#[test]
fn a_gate_at_zero_may_open_or_stay_shut() {
    let near = exact(1.0) * exact(1.0 / 3.0) - exact(1.0 / 3.0);
    let kept = exact(5.0).where_positive(near);
    assert!(kept.over(0.0) <= 1.0 && kept.over(5.0) <= 1.0 && kept.over(-1.0) > 1.0);
    assert_eq!(exact(5.0).where_positive(exact(0.0)).over(5.0), f64::INFINITY);
}
