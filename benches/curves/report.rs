//! The table and the picture.

use std::fmt::Write;

use anyhow::Result;
use resnet::plot::{Curve, Legend, Panel, lines};
use resnet_train::recipe::Recipe;

use crate::apart::{WINDOW, chance, from_others, is_farthest, smooth};
use crate::{Named, Run, Seed};

/// Steps over which the losses must still run together: before rounding has grown.
const FIRST_STEPS: usize = 10;

/// Accuracies, and how far the losses are apart, in Markdown.
pub(crate) fn markdown(name: &str, recipe: &Recipe, threads: usize, seeds: &[Seed]) -> String {
    let Some(first) = seeds.first() else { return String::new() };
    let n_steps = first.ours.first().map_or(0, |named| named.run.losses.len());
    let by = |runs: &[Named]| runs.first().map(|named| named.run.by.clone()).unwrap_or_default();
    let mut out = String::new();
    // Writing into a `String` cannot fail.
    let _ = writeln!(
        out,
        "Recipe {name}, {n_steps} steps of {}: the same weights at the start, the same batches, {threads} threads.\n\
         Here: {}. There: {}.\n",
        recipe.train.batch,
        by(&first.ours),
        by(&first.torch),
    );
    let _ = writeln!(
        out,
        "PyTorch runs {} times from each start, with sums in other orders.\n\
         A distance is the root mean square difference of two curves, each as means over {WINDOW} steps; here it is the mean \
         distance from PyTorch's (other) runs.\n",
        first.torch.len()
    );
    let _ = writeln!(
        out,
        "| seed | run | test accuracy | loss of the last {WINDOW} steps | distance from PyTorch's runs | largest relative \
         difference of the first {FIRST_STEPS} losses | seconds |"
    );
    let _ = writeln!(out, "|---|---|--:|--:|--:|--:|--:|");
    for Seed { seed, ours, torch } in seeds {
        for (i, Named { name, run }) in ours.iter().chain(torch).enumerate() {
            let others: Vec<&Run> = match i.checked_sub(ours.len()) {
                None => torch.iter().map(|other| &other.run).collect(),
                Some(own) => {
                    torch.iter().enumerate().filter(|(j, _)| *j != own).map(|(_, o)| &o.run).collect()
                }
            };
            let first = others.iter().map(|other| first_difference(run, other)).fold(0.0, f64::max);
            let curves: Vec<&[f64]> = others.iter().map(|other| other.losses.as_slice()).collect();
            let _ = writeln!(
                out,
                "| {seed} | {name} | {:.4} | {:.4} | {:.4} | {first:.1e} | {:.1} |",
                run.accuracy,
                last(&run.losses),
                from_others(&run.losses, &curves),
                run.seconds,
            );
        }
    }
    out.push_str("\n| run | test accuracy, mean ± standard deviation over the seeds | farthest from the others | chance of that many or more |\n");
    out.push_str("|---|--:|--:|--:|\n");
    let n_torch = first.torch.len();
    for (i, Named { name, .. }) in first.ours.iter().enumerate() {
        let runs: Vec<&Run> = seeds.iter().map(|seed| &seed.ours[i].run).collect();
        let farthest = |seed: &&Seed| {
            let others: Vec<&[f64]> = seed.torch.iter().map(|named| named.run.losses.as_slice()).collect();
            is_farthest(&seed.ours[i].run.losses, &others)
        };
        let hits = seeds.iter().filter(farthest).count();
        let _ = writeln!(
            out,
            "| {name} | {} | in {hits} of {} seeds | {:.2} |",
            accuracies(&runs),
            seeds.len(),
            chance(hits, seeds.len(), n_torch + 1)
        );
    }
    for (i, Named { name, .. }) in first.torch.iter().enumerate() {
        let runs: Vec<&Run> = seeds.iter().map(|seed| &seed.torch[i].run).collect();
        let _ = writeln!(out, "| {name} | {} | | |", accuracies(&runs));
    }
    let _ = writeln!(
        out,
        "\nA run that is as right as PyTorch's is one more of them, and the farthest from the others in one seed of {}, by chance.\n\
         A small chance in the last column says that a run is not one of them.",
        n_torch + 1
    );
    out
}

fn accuracies(runs: &[&Run]) -> String {
    spread(&runs.iter().map(|run| run.accuracy).collect::<Vec<_>>())
}

fn last(losses: &[f64]) -> f64 {
    let tail = &losses[losses.len().saturating_sub(WINDOW)..];
    tail.iter().sum::<f64>() / tail.len() as f64
}

fn first_difference(one: &Run, other: &Run) -> f64 {
    let pairs = one.losses.iter().zip(&other.losses).take(FIRST_STEPS);
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

/// The curves of every seed, as means over a few steps; behind them the band of PyTorch's runs.
pub(crate) fn picture(name: &str, seeds: &[Seed]) -> Result<String> {
    let points = |losses: &[f64]| -> Vec<(f64, f64)> {
        let middle = |i: usize| (i * WINDOW) as f64 + WINDOW as f64 / 2.0;
        smooth(losses).into_iter().enumerate().map(|(i, mean)| (middle(i), mean)).collect()
    };
    let panel = |Seed { seed, ours, torch }: &Seed| {
        let mut band = Curve::new("PyTorch, all its runs", ours.len(), vec![]).pale();
        if let [first, ..] = torch.as_slice() {
            band.points = points(&first.run.losses);
            let smoothed: Vec<Vec<f64>> = torch.iter().map(|named| smooth(&named.run.losses)).collect();
            let at = |i: usize| smoothed.iter().filter_map(move |curve| curve.get(i).copied());
            band.spread = (0..band.points.len())
                .map(|i| (at(i).fold(f64::INFINITY, f64::min), at(i).fold(f64::NEG_INFINITY, f64::max)))
                .collect();
        }
        let curve = |(i, named): (usize, &Named)| Curve::new(&named.name, i, points(&named.run.losses));
        Panel {
            title: format!("seed {seed}"),
            x_label: "step".into(),
            curves: [band].into_iter().chain(ours.iter().enumerate().map(curve)).collect(),
            legend: Legend::UpperRight,
            share: false,
        }
    };
    let panels: Vec<Panel> = seeds.iter().map(panel).collect();
    Ok(lines(&format!("Training loss, {name}, mean over {WINDOW} steps"), &panels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, losses: &[f64], accuracy: f64) -> Named {
        let run = Run { losses: losses.to_vec(), accuracy, seconds: 1.0, by: "x".into() };
        Named { name: name.into(), run }
    }

    #[test]
    fn numbers_of_the_table() {
        assert_eq!(spread(&[0.9, 0.9]), "0.9000 ± 0.0000");
        assert_eq!(spread(&[0.5]), "0.5000");
        let seeds = [Seed {
            seed: 3,
            ours: vec![named("f32", &[2.0, 1.0], 0.5)],
            torch: vec![named("PyTorch, a", &[2.0, 1.25], 0.7), named("PyTorch, b", &[2.0, 1.25], 0.7)],
        }];
        let text = markdown("some", &Recipe::default(), 2, &seeds);
        assert!(text.contains("| 3 | f32 | 0.5000 | 1.5000 | 0.1250 | 2.0e-1 | 1.0 |"), "{text}");
        assert!(text.contains("| 3 | PyTorch, b | 0.7000 | 1.6250 | 0.0000 | 0.0e0 | 1.0 |"), "{text}");
        assert!(text.contains("| f32 | 0.5000 | in 1 of 1 seeds | 0.33 |"), "{text}");
        let svg = picture("some", &seeds).expect("drawn");
        assert!(svg.contains("seed 3") && svg.contains("PyTorch, all its runs"));
    }
}
