//! Counting answers, against counts by hand.

use resnet_train::evaluate::Evaluation;

#[test]
fn counts_by_hand() {
    let mut evaluation = Evaluation::new(3);
    // Answers 0, 0, 2, 1 for truths 0, 1, 2, 2.
    let logits = [2.0, 1.0, 0.0, 3.0, 1.0, 2.0, 0.0, 0.0, 1.0, 0.0, 5.0, 1.0];
    evaluation.add(&logits[..6], &[0, 1]);
    evaluation.add(&logits[6..], &[2, 2]);
    assert_eq!((evaluation.count(), evaluation.top1(), evaluation.top5()), (4, 0.5, 1.0));
    let table: Vec<u64> = (0..9).map(|i| evaluation.confusion(i / 3, i % 3)).collect();
    assert_eq!(table, [1, 0, 0, 1, 0, 0, 0, 1, 1]);
    let classes = evaluation.classes();
    assert_eq!((classes[0].precision, classes[0].recall, classes[0].support), (0.5, 1.0, 1));
    assert!((classes[0].f1 - 2.0 / 3.0).abs() < 1e-15);
    assert_eq!((classes[1].precision, classes[1].recall, classes[1].f1), (0.0, 0.0, 0.0));
    assert_eq!((classes[2].precision, classes[2].recall), (1.0, 0.5));
    let row = |a: f64, b: f64, c: f64, t: f64| (a.exp() + b.exp() + c.exp()).ln() - t;
    let loss = (row(2., 1., 0., 2.) + row(3., 1., 2., 1.) + row(0., 0., 1., 1.) + row(0., 5., 1., 1.)) / 4.0;
    assert!((evaluation.loss() - loss).abs() < 1e-12);
}

#[test]
fn ties_go_to_the_first_class_and_ranks_follow() {
    let mut evaluation = Evaluation::new(7);
    evaluation.add(&[1.0; 21], &[0, 4, 5]);
    assert_eq!((evaluation.top1(), evaluation.top5()), (1.0 / 3.0, 2.0 / 3.0));
    assert_eq!(evaluation.confusion(5, 0), 1);
}

#[test]
fn what_is_no_number_never_wins() {
    let mut evaluation = Evaluation::new(2);
    evaluation.add(&[f32::NAN, 0.0], &[0]);
    assert_eq!((evaluation.top1(), evaluation.confusion(0, 1)), (0.0, 1));
    assert!(evaluation.loss().is_nan());
    let mut large = Evaluation::new(2);
    large.add(&[3e38, -3e38], &[0]);
    assert_eq!(large.loss(), 0.0);
}
