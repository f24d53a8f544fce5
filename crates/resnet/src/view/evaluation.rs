//! An evaluation, for people and for programs.

use std::path::Path;

use resnet_train::evaluate::Evaluation;
use serde_json::{Value, json};

use super::{number, table};

/// Up to this many classes, the whole matrix fits a terminal.
const N_IN_MATRIX: usize = 20;
/// Most frequent mistakes to list.
const N_MISTAKES: usize = 8;

/// Everything as JSON.
pub(crate) fn json(e: &Evaluation, classes: &[String], model: &Path, data: &str) -> Value {
    let per_class: Vec<Value> = e
        .classes()
        .iter()
        .zip(classes)
        .map(|(s, name)| json!({"name": name, "precision": s.precision, "recall": s.recall, "f1": s.f1, "support": s.support}))
        .collect();
    let row = |truth| (0..e.n_classes()).map(|answer| e.confusion(truth, answer)).collect::<Vec<u64>>();
    json!({
        "model": model.display().to_string(),
        "data": data,
        "count": e.count(),
        "top1": e.top1(),
        "top5": e.top5(),
        "loss": e.loss(),
        "classes": per_class,
        "confusion": (0..e.n_classes()).map(row).collect::<Vec<_>>(),
    })
}

/// The result, every class, the matrix and the most frequent mistakes.
pub(crate) fn text(e: &Evaluation, classes: &[String]) -> String {
    let mut parts = vec![format!("top-1 {:.4}   top-5 {:.4}   loss {:.4}", e.top1(), e.top5(), e.loss())];
    parts.push(class_table(e, classes));
    if e.n_classes() <= N_IN_MATRIX {
        parts.push(format!(
            "Confusion: rows are true classes, columns predicted ones.\n{}",
            matrix(e, classes)
        ));
    }
    let mistakes = mistakes(e, classes);
    if !mistakes.is_empty() {
        parts.push(format!("Most frequent mistakes:\n{mistakes}"));
    }
    parts.join("\n\n")
}

fn class_table(e: &Evaluation, classes: &[String]) -> String {
    let mut t = table::with_header(&["", "class", "precision", "recall", "F1", "pictures"]);
    for (i, (score, name)) in e.classes().iter().zip(classes).enumerate() {
        let three = |v: f64| format!("{v:.3}");
        let pictures = number::grouped(score.support);
        t.add_row([
            i.to_string(),
            name.clone(),
            three(score.precision),
            three(score.recall),
            three(score.f1),
            pictures,
        ]);
    }
    table::right_aligned(t, &[0, 2, 3, 4, 5])
}

fn matrix(e: &Evaluation, classes: &[String]) -> String {
    let n = e.n_classes();
    let mut header = vec!["".to_owned(), "".to_owned()];
    header.extend((0..n).map(|i| i.to_string()));
    let mut t = table::with_header(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for truth in 0..n {
        let mut row = vec![truth.to_string(), classes[truth].clone()];
        row.extend((0..n).map(|answer| match e.confusion(truth, answer) {
            0 => "·".into(),
            count => count.to_string(),
        }));
        t.add_row(row);
    }
    let numbers: Vec<usize> = std::iter::once(0).chain(2..n + 2).collect();
    table::right_aligned(t, &numbers)
}

fn mistakes(e: &Evaluation, classes: &[String]) -> String {
    let n = e.n_classes();
    let mut found: Vec<(u64, usize, usize)> = (0..n * n)
        .map(|i| (e.confusion(i / n, i % n), i / n, i % n))
        .filter(|m| m.0 > 0 && m.1 != m.2)
        .collect();
    found.sort_by_key(|(count, truth, answer)| (std::cmp::Reverse(*count), *truth, *answer));
    let mut t = table::plain();
    for (count, truth, answer) in found.into_iter().take(N_MISTAKES) {
        t.add_row([number::grouped(count), format!("{} taken for {}", classes[truth], classes[answer])]);
    }
    table::right_aligned(t, &[0])
}
