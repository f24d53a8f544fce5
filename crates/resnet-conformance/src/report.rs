//! The worst error of each op against the reference, for people.

use proptest::strategy::{Strategy, ValueTree};
use resnet_core::{Backend, DType};

use crate::lab::{Case, Worst, compare};
use crate::laws::{conv2d, elementwise, loss, norm, pool, runner, update};

/// The worst errors of one op over all cases tried.
#[derive(Clone, Debug)]
pub struct OpError {
    /// The backend method.
    pub op: &'static str,
    /// Largest error of an element, relative to the largest element of its tensor.
    pub worst_relative: f64,
    /// Largest error of an element over the derived bound of that element; at most 1 if the op is right.
    pub worst_over_bound: f64,
    /// The first failure, in words: an error outside its bound, or an op that was refused.
    pub failure: Option<String>,
}

/// Runs `cases` cases of every op on a backend and on the reference.
///
/// Two backends agree where both are within the bounds of the same reference.
pub fn worst_errors<B: Backend>(backend: &mut B, cases: u32) -> Vec<OpError> {
    vec![
        worst(backend, cases, elementwise::pictures(DType::F32)),
        worst(backend, cases, conv2d::forward(DType::F32)),
        worst(backend, cases, conv2d::finished(DType::F32)),
        worst(backend, cases, conv2d::backward_data(DType::F32)),
        worst(backend, cases, conv2d::backward_weight(DType::F32)),
        worst(backend, cases, elementwise::forward(DType::F32)),
        worst(backend, cases, elementwise::backward(DType::F32)),
        worst(backend, cases, pool::max(DType::F32)),
        worst(backend, cases, pool::max_backward(DType::F32)),
        worst(backend, cases, pool::avg(DType::F32)),
        worst(backend, cases, pool::avg_backward(DType::F32)),
        worst(backend, cases, norm::finish()),
        worst(backend, cases, norm::frozen()),
        worst(backend, cases, norm::backward()),
        worst(backend, cases, loss::loss(DType::F32)),
        worst(backend, cases, update::grad_norm()),
        worst(backend, cases, update::sgd()),
        worst(backend, cases, update::adam()),
        worst(backend, cases, update::adamw()),
    ]
}

fn worst<B: Backend, C: Case>(backend: &mut B, cases: u32, strategy: impl Strategy<Value = C>) -> OpError {
    let mut runner = runner(cases);
    let mut worst = Worst::default();
    let (mut op, mut failure) = ("", None);
    for _ in 0..cases {
        let case = match strategy.new_tree(&mut runner) {
            Ok(tree) => tree.current(),
            Err(reason) => {
                failure.get_or_insert(reason.to_string());
                break;
            }
        };
        op = case.op();
        if let Err(message) = compare(backend, &case, &mut worst) {
            failure.get_or_insert(message);
        }
    }
    OpError { op, worst_relative: worst.relative, worst_over_bound: worst.over_bound, failure }
}
