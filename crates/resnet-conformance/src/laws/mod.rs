//! What must hold on every backend.
//!
//! - `*_matches_reference`: each op, in every form, inside the derived bound of the reference:
//!   [`conv2d`], [`elementwise`], [`pool`], [`norm`], [`loss`], [`update`].
//! - [`sums`]: statistics are those of the values as they were stored.
//! - [`device`]: what keeps a run on the device, to the bit.
//! - [`exact`]: laws that need no oracle, on numbers that f32 adds and multiplies without rounding, so that they hold to the bit.
//! - [`network`]: three training steps; and fusion, which is a law of the core.
//! - [`memory`]: repeat, reuse, short buffers, and what lies behind a tensor.
//!
//! Each function takes a way to make a backend and panics with a message where the law does not hold.

pub mod conv2d;
pub mod device;
pub mod elementwise;
pub mod exact;

pub mod loss;
pub mod memory;
pub mod network;

pub mod norm;
pub mod pool;
mod probe;
pub mod sums;
pub mod update;

use std::cell::Cell;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use resnet_core::Backend;

use crate::lab::{Case, Worst, compare};

/// How many cases each law tries, unless `RESNET_CONFORMANCE_CASES` says otherwise.
pub const CASES: u32 = 256;

thread_local! {
    static USUAL_CASES: Cell<u32> = const { Cell::new(CASES) };
}

/// Holds a law, with another number of cases where `RESNET_CONFORMANCE_CASES` says nothing: for backends that take their time.
pub fn with_cases(cases: u32, law: impl FnOnce()) {
    let before = USUAL_CASES.replace(cases);
    law();
    USUAL_CASES.set(before);
}

fn cases() -> u32 {
    match std::env::var("RESNET_CONFORMANCE_CASES") {
        Err(_) => USUAL_CASES.get(),
        Ok(text) => match text.parse() {
            Ok(n) => n,
            Err(_) => panic!("RESNET_CONFORMANCE_CASES is `{text}`, a number of cases is wanted"),
        },
    }
}

/// Draws the same cases every time, so that a test that passes once keeps passing.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        max_global_rejects: 1 << 20,
        max_local_rejects: 1 << 20,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Tries a law on many cases, and panics with the smallest that breaks it.
pub(crate) fn hold<S: Strategy>(law: &str, strategy: S, test: impl FnMut(&S::Value) -> Result<(), String>) {
    hold_cases(law, cases(), strategy, test);
}

/// As [`hold`], with a number of cases of its own.
pub(crate) fn hold_cases<S: Strategy>(
    law: &str,
    cases: u32,
    strategy: S,
    mut test: impl FnMut(&S::Value) -> Result<(), String>,
) {
    let test = std::cell::RefCell::new(&mut test);
    let tried = runner(cases).run(&strategy, |case| (test.borrow_mut())(&case).map_err(TestCaseError::fail));
    if let Err(error) = tried {
        panic!("{law}: {error}");
    }
}

/// The law that an op matches the reference.
pub(crate) fn match_reference<B: Backend, C: Case>(
    make: impl Fn() -> B,
    law: &str,
    strategy: impl Strategy<Value = C>,
) {
    let mut backend = make();
    hold(law, strategy, |case| compare(&mut backend, case, &mut Worst::default()));
}

/// An error of a backend as a message.
pub(crate) fn text(error: resnet_core::Error) -> String {
    error.to_string()
}
