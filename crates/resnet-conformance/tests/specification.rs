//! What the reference must do and no other library can vouch for: choices of the contract, in numbers one can check by hand.

use resnet_conformance::reference::Buffer;
use resnet_conformance::{Reference, worst_errors};
use resnet_core::op::{Conv2d, Metrics, Optimizer, SoftmaxCrossEntropy, StepScalars, Targets};
use resnet_core::{Accumulate, Backend, DType, GradOut, GradSource, Param, ParamKind, Source, TensorDesc};

fn buffer(values: &[f64]) -> Buffer {
    Buffer::from_values(values.to_vec())
}

#[test]
fn accumulate_adds_to_every_gradient() {
    // One channel and one pixel, so that every number can be followed.
    let op = Conv2d::linear(2, 1, 1, DType::F32).unwrap();
    let (x, dy, w) = (buffer(&[2.0, 3.0]), buffer(&[5.0, 7.0]), buffer(&[11.0]));
    let (mut dw, mut dbias, mut dx) = (buffer(&[100.0]), buffer(&[200.0]), buffer(&[300.0, 400.0]));
    let backend = &mut Reference::new();
    let (from_x, from_dy) = (Source::raw(&x), GradSource::raw(&dy));
    backend.conv2d_backward_weight(&op, from_x, from_dy, &mut dw, Some(&mut dbias), Accumulate::Add).unwrap();
    let out = GradOut { accumulate: Accumulate::Add, ..GradOut::set(&mut dx) };
    backend.conv2d_backward_data(&op, GradSource::raw(&dy), &w, out).unwrap();
    assert_eq!(dw.values(), [100.0 + 2.0 * 5.0 + 3.0 * 7.0]);
    assert_eq!(dbias.values(), [200.0 + 5.0 + 7.0]);
    assert_eq!(dx.values(), [300.0 + 55.0, 400.0 + 77.0]);
}

#[test]
fn the_mask_comes_after_everything_that_is_added_and_keeps_only_what_is_positive() {
    let op = Conv2d::linear(3, 1, 1, DType::F32).unwrap();
    let (dy, w, add) = (buffer(&[1.0, 1.0, 1.0]), buffer(&[1.0]), buffer(&[10.0, 10.0, 10.0]));
    let gate = buffer(&[0.5, 0.0, -0.5]);
    let mut dx = buffer(&[100.0, 100.0, 100.0]);
    let out = GradOut {
        accumulate: Accumulate::Add,
        add: Some(&add),
        mask: Some(Source::raw(&gate)),
        ..GradOut::set(&mut dx)
    };
    Reference::new().conv2d_backward_data(&op, GradSource::raw(&dy), &w, out).unwrap();
    assert_eq!(dx.values(), [111.0, 0.0, 0.0]);
}

#[test]
fn padding_is_zero_however_the_source_is_shifted() {
    let op =
        Conv2d::new((1, 1, 1, 1), 1, (3, 3), 1, resnet_core::op::Padding::all(1), 1, DType::F32).unwrap();
    let (x, affine, w) = (buffer(&[2.0]), buffer(&[3.0, 1.0]), buffer(&[1.0; 9]));
    let mut y = buffer(&[f64::NAN]);
    let source = Source { affine: Some(&affine), ..Source::raw(&x) };
    Reference::new().conv2d(&op, source, &w, None, &mut y, None).unwrap();
    assert_eq!(y.values(), [7.0], "3·2 + 1 in the middle and zeros around it");
}

#[test]
fn frozen_parameters_and_norms_that_are_not_finite_change_nothing() {
    let rule = Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
    for (norm, lr_scale) in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, 0.0)] {
        let part = |v: f64| Some(buffer(&[v, 2.0 * v]));
        let mut params = [Param {
            desc: TensorDesc::table(1, 2),
            kind: ParamKind::Gamma,
            value: buffer(&[1.0, 2.0]),
            grad: part(3.0),
            states: [part(4.0), part(5.0)],
            decay: true,
            lr_scale,
        }];
        let scalars = StepScalars { lr: 0.1, max_norm: 1.0, ..StepScalars::default() };
        let scalars = buffer(&scalars.to_array().map(f64::from));
        Reference::new().update(&rule, &scalars, Some(&buffer(&[norm])), &mut params).unwrap();
        let [param] = params;
        assert_eq!(param.value.values(), [1.0, 2.0]);
        let states = param.states.map(|state| state.unwrap().values().to_vec());
        assert_eq!(states, [[4.0, 8.0], [5.0, 10.0]]);
    }
}

#[test]
fn the_first_of_equal_logits_is_the_guess_and_a_missing_label_needs_no_weight() {
    let op = SoftmaxCrossEntropy::new(2, 2, 0.0, DType::F32).unwrap();
    let (logits, labels) = (buffer(&[1.0, 1.0, 1.0, 1.0]), buffer(&[0.0, 0.0]));
    // A mixing weight left over from a mixed step.
    let scalars = StepScalars { lambda: 0.25, ..StepScalars::default() };
    let scalars = buffer(&scalars.to_array().map(f64::from));
    let mut metrics = buffer(&[f64::NAN; 4]);
    let targets = Targets { a: &labels, b: None, n_valid: 2 };
    Reference::new()
        .softmax_cross_entropy(&op, &logits, targets, &scalars, None, &mut metrics, Accumulate::Set)
        .unwrap();
    let ln2 = std::f64::consts::LN_2;
    let [loss, hits, count, non_finite] = metrics.values()[..Metrics::desc().len()] else {
        panic!("four metrics")
    };
    assert!((loss - 2.0 * ln2).abs() < 1e-15, "{loss}");
    assert_eq!([hits, count, non_finite], [2.0, 2.0, 0.0]);
}

#[test]
fn the_report_names_every_op_and_finds_plain_f32_loops_within_the_bounds() {
    let table = worst_errors(&mut Reference::<f32>::default(), 50);
    let mut ops: Vec<_> = table.iter().map(|row| row.op).collect();
    ops.sort_unstable();
    ops.dedup();
    assert_eq!(ops.len(), 19);
    for row in table {
        assert_eq!(row.failure, None);
        assert!(row.worst_over_bound <= 1.0, "{row:?}");
        assert!(row.worst_relative.is_finite(), "{row:?}");
        // An f32 result that is never off would mean that nothing was compared.
        assert!(row.worst_over_bound > 0.0, "{row:?}");
    }
}
