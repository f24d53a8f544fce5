//! The curves of one run.

use resnet_train::metrics::History;

use super::{Curve, Legend, Panel, PlotError, lines};

/// More points than this are averaged before they are drawn.
const N_POINTS: usize = 300;

/// Loss and accuracy of a run over its epochs, as SVG: training by log interval, tests by epoch.
///
/// # Errors
/// As [`lines`].
pub fn training(title: &str, history: &History, steps_per_epoch: u64) -> Result<String, PlotError> {
    let epochs = |step: u64| step as f64 / steps_per_epoch.max(1) as f64;
    let steps = || history.steps.iter();
    let tests = || history.epochs.iter().filter_map(|e| Some((epochs(e.step), e.test?)));
    let panel = |name: &str, legend, share, train: Vec<(f64, f64)>, test: Vec<(f64, f64)>| Panel {
        title: name.into(),
        x_label: "epoch".into(),
        curves: vec![Curve::new("train", 0, thin(train)), Curve::new("test", 1, test)],
        legend,
        share,
    };
    let loss = panel(
        "loss",
        Legend::UpperRight,
        false,
        steps().map(|s| (epochs(s.step), s.loss)).collect(),
        tests().map(|(x, t)| (x, t.loss)).collect(),
    );
    let accuracy = panel(
        "accuracy",
        Legend::LowerRight,
        true,
        steps().map(|s| (epochs(s.step), s.accuracy)).collect(),
        tests().map(|(x, t)| (x, t.accuracy)).collect(),
    );
    lines(title, &[loss, accuracy])
}

/// Means of equally many neighbours, so that no more points are left than can be told apart.
fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let bin = points.len().div_ceil(N_POINTS).max(1);
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (part.iter().map(|p| p.0).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(bin).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_mean() {
        let points: Vec<(f64, f64)> = (0..1200).map(|i| (i as f64, (i % 2) as f64)).collect();
        let thinned = thin(points);
        assert_eq!(thinned.len(), N_POINTS);
        assert!(thinned.iter().all(|p| p.1 == 0.5));
        assert_eq!(thinned[0].0, 1.5);
    }

    #[test]
    fn an_empty_history_can_be_drawn() {
        training("nothing yet", &History::default(), 0).unwrap();
    }
}
