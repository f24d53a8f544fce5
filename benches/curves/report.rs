//! The table and the picture.

use std::fmt::Write;

use anyhow::Result;
use resnet::plot::{Curve, Legend, Panel, lines};
use resnet_train::recipe::Recipe;

use crate::{Pair, Run};

/// Steps over which the losses must still run together: before rounding has grown.
const FIRST_STEPS: usize = 10;
/// Steps whose mean is one point of the picture.
const WINDOW: usize = 20;

/// Accuracies, and how far the losses are apart, in Markdown.
pub(crate) fn markdown(name: &str, recipe: &Recipe, threads: usize, pairs: &[Pair]) -> String {
    let n_steps = pairs.first().map_or(0, |pair| pair.ours.losses.len());
    let by = |run: fn(&Pair) -> &Run| pairs.first().map_or("", |pair| run(pair).by.as_str());
    let mut out = String::new();
    // Writing into a `String` cannot fail.
    let _ = writeln!(
        out,
        "Recipe {name}, {n_steps} steps of {}: the same weights at the start, the same batches, {threads} threads.\n\
         Here: {}. There: {}.\n",
        recipe.train.batch,
        by(|pair| &pair.ours),
        by(|pair| &pair.torch),
    );
    let _ = writeln!(
        out,
        "| seed | test accuracy here | PyTorch | loss of the last {WINDOW} steps here | PyTorch | largest relative \
         difference of the first {FIRST_STEPS} losses | seconds here | PyTorch |"
    );
    let _ = writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|");
    for Pair { seed, ours, torch } in pairs {
        let _ = writeln!(
            out,
            "| {seed} | {:.4} | {:.4} | {:.4} | {:.4} | {:.1e} | {:.1} | {:.1} |",
            ours.accuracy,
            torch.accuracy,
            last(&ours.losses),
            last(&torch.losses),
            first_difference(ours, torch),
            ours.seconds,
            torch.seconds
        );
    }
    let mean =
        |run: fn(&Pair) -> &Run| spread(&pairs.iter().map(|pair| run(pair).accuracy).collect::<Vec<_>>());
    let _ = writeln!(
        out,
        "\nTest accuracy, mean ± standard deviation over the seeds: {} here, {} in PyTorch.",
        mean(|pair| &pair.ours),
        mean(|pair| &pair.torch)
    );
    out
}

fn last(losses: &[f64]) -> f64 {
    let tail = &losses[losses.len().saturating_sub(WINDOW)..];
    tail.iter().sum::<f64>() / tail.len() as f64
}

fn first_difference(ours: &Run, torch: &Run) -> f64 {
    let pairs = ours.losses.iter().zip(&torch.losses).take(FIRST_STEPS);
    pairs.map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max)
}

fn spread(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return format!("{mean:.4}");
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    format!("{mean:.4} ± {:.4}", variance.sqrt())
}

/// Both losses of every seed, as means over a few steps.
pub(crate) fn picture(name: &str, pairs: &[Pair]) -> Result<String> {
    let smooth = |losses: &[f64]| -> Vec<(f64, f64)> {
        let means = losses.chunks(WINDOW).map(|part| part.iter().sum::<f64>() / part.len() as f64);
        means.enumerate().map(|(i, mean)| (((i * WINDOW) as f64) + WINDOW as f64 / 2.0, mean)).collect()
    };
    let panels: Vec<Panel> = pairs
        .iter()
        .map(|Pair { seed, ours, torch }| Panel {
            title: format!("seed {seed}: {:.4} here, {:.4} in PyTorch", ours.accuracy, torch.accuracy),
            x_label: "step".into(),
            curves: vec![
                Curve::new("here", 0, smooth(&ours.losses)),
                Curve::new("PyTorch", 1, smooth(&torch.losses)).pale(),
            ],
            legend: Legend::UpperRight,
            share: false,
        })
        .collect();
    Ok(lines(&format!("Training loss, {name}, mean over {WINDOW} steps"), &panels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(losses: &[f64], accuracy: f64) -> Run {
        Run { losses: losses.to_vec(), accuracy, seconds: 1.0, by: "x".into() }
    }

    #[test]
    fn numbers_of_the_table() {
        let (a, b) = (run(&[2.0, 1.0], 0.5), run(&[2.0, 1.25], 0.7));
        assert_eq!(first_difference(&a, &b), 0.2);
        assert_eq!(last(&a.losses), 1.5);
        assert_eq!(spread(&[0.9, 0.9]), "0.9000 ± 0.0000");
        assert_eq!(spread(&[0.5]), "0.5000");
        let pairs = [Pair { seed: 3, ours: a, torch: b }];
        let text = markdown("some", &Recipe::default(), 2, &pairs);
        assert!(text.contains("| 3 | 0.5000 | 0.7000 | 1.5000 | 1.6250 | 2.0e-1 | 1.0 | 1.0 |"), "{text}");
        assert!(picture("some", &pairs).expect("drawn").contains("seed 3: 0.5000 here, 0.7000 in PyTorch"));
    }
}
