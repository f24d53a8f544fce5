//! Several networks side by side: a table, its Markdown and JSON, and curves.

use resnet::plot::{self, Curve, Legend, Panel, PlotError};
use resnet_train::metrics::{EpochRecord, History};
use serde_json::{Value, json};

use super::{number, table};

/// Networks that were trained with the same data, order and budget.
pub(crate) struct Comparison {
    /// The command that made it.
    pub(crate) command: String,
    /// The data, in words.
    pub(crate) data: String,
    /// The device, in words.
    pub(crate) device: String,
    /// The networks.
    pub(crate) contenders: Vec<Contender>,
}

/// One network.
pub(crate) struct Contender {
    /// Its name in the table.
    pub(crate) name: String,
    /// One run for each seed.
    pub(crate) trials: Vec<Trial>,
}

/// One run.
pub(crate) struct Trial {
    /// Its seed.
    pub(crate) seed: u64,
    /// Trained parameters.
    pub(crate) n_params: usize,
    /// Its log.
    pub(crate) history: History,
}

/// A column of the table.
struct Column {
    name: &'static str,
    key: &'static str,
    value: fn(&Trial) -> Option<f64>,
    /// How many decimals a mean is shown with. Its spread gets as many.
    decimals: fn(f64) -> usize,
}

const COLUMNS: [Column; 6] = [
    Column { name: "train loss", key: "train_loss", value: |t| Some(t.last()?.loss), decimals: |_| 4 },
    Column { name: "test loss", key: "test_loss", value: |t| Some(t.last()?.test?.loss), decimals: |_| 4 },
    Column {
        name: "test acc",
        key: "test_accuracy",
        value: |t| Some(t.last()?.test?.accuracy),
        decimals: |_| 4,
    },
    Column { name: "seconds", key: "training_seconds", value: |t| Some(t.seconds()), decimals: |_| 1 },
    Column {
        name: "‖g‖ first",
        key: "grad_norm_first_stage",
        value: |t| t.grad_norm(true),
        decimals: three_digits,
    },
    Column {
        name: "‖g‖ last",
        key: "grad_norm_last_stage",
        value: |t| t.grad_norm(false),
        decimals: three_digits,
    },
];

/// Decimals that show three digits.
fn three_digits(v: f64) -> usize {
    if v > 0.0 { (2 - v.log10().floor() as i32).clamp(0, 6) as usize } else { 2 }
}

impl Trial {
    fn last(&self) -> Option<&EpochRecord> {
        self.history.epochs.last()
    }

    fn seconds(&self) -> f64 {
        self.history.epochs.iter().map(|e| e.time.seconds).sum()
    }

    /// Mean norm of a stage's gradients over the log intervals of the run.
    fn grad_norm(&self, first: bool) -> Option<f64> {
        let norms: Vec<f64> = self
            .history
            .steps
            .iter()
            .filter_map(|s| if first { s.grad_norm_first_stage } else { s.grad_norm_last_stage })
            .collect();
        mean_and_spread(&norms).map(|(mean, _)| mean)
    }
}

impl Contender {
    fn values(&self, column: &Column) -> Vec<f64> {
        self.trials.iter().filter_map(column.value).collect()
    }
}

impl Comparison {
    fn n_seeds(&self) -> usize {
        self.contenders.iter().map(|c| c.trials.len()).max().unwrap_or(0)
    }

    /// One row of text for each network.
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |c: &Contender| {
            let n_params = c.trials.first().map_or(0, |t| t.n_params);
            let mut row = vec![c.name.clone(), number::grouped(n_params as u64)];
            row.extend(COLUMNS.iter().map(|column| {
                let Some((mean, spread)) = mean_and_spread(&c.values(column)) else { return "–".into() };
                let decimals = (column.decimals)(mean);
                let spread = spread.map(|s| format!(" ± {s:.decimals$}")).unwrap_or_default();
                format!("{mean:.decimals$}{spread}")
            }));
            row
        };
        self.contenders.iter().map(row).collect()
    }

    fn header() -> Vec<&'static str> {
        ["network", "parameters"].into_iter().chain(COLUMNS.iter().map(|c| c.name)).collect()
    }

    fn footnote(&self) -> String {
        let epochs = self.contenders.iter().flat_map(|c| &c.trials).map(|t| t.history.epochs.len()).max();
        let spread = match self.n_seeds() {
            1 => "one seed".to_owned(),
            n => format!("mean ± standard deviation over {n} seeds"),
        };
        format!(
            "After {} epochs, {spread}. ‖g‖: norm of the gradients of the first and the last stage, mean over the run.",
            epochs.unwrap_or(0)
        )
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut t = table::with_header(&Self::header());
        for row in self.rows() {
            t.add_row(row);
        }
        let numbers: Vec<usize> = (1..COLUMNS.len() + 2).collect();
        format!("{}\n\n{}", table::right_aligned(t, &numbers), self.footnote())
    }

    /// For a README: the command, the device and the table.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let header: Vec<String> = Self::header().into_iter().map(str::to_owned).collect();
        let mut rule = vec!["---".to_owned()];
        rule.extend(vec!["--:".to_owned(); header.len() - 1]);
        let mut text = format!(
            "`{}`\n\nOn {}.\nData: {}.\n\n{}{}",
            self.command,
            self.device,
            self.data,
            line(&header),
            line(&rule)
        );
        for row in self.rows() {
            text += &line(&row);
        }
        format!("{text}\n{}\n", self.footnote())
    }

    /// Every number of every run.
    pub(crate) fn json(&self) -> Value {
        let trial = |t: &Trial| {
            let mut values: serde_json::Map<String, Value> =
                COLUMNS.iter().map(|c| (c.key.to_owned(), json!((c.value)(t)))).collect();
            values.insert("seed".into(), json!(t.seed));
            values.insert("parameters".into(), json!(t.n_params));
            values.insert("epochs".into(), json!(t.history.epochs));
            Value::Object(values)
        };
        let contender =
            |c: &Contender| json!({"name": c.name, "runs": c.trials.iter().map(trial).collect::<Vec<_>>()});
        json!({
            "command": self.command,
            "device": self.device,
            "data": self.data,
            "networks": self.contenders.iter().map(contender).collect::<Vec<_>>(),
        })
    }

    /// Training loss and test accuracy over the epochs: means, with the range over the seeds behind them.
    pub(crate) fn svg(&self) -> Result<String, PlotError> {
        let panel = |title: &str, legend, share, value: fn(&EpochRecord) -> Option<f64>| Panel {
            title: title.into(),
            x_label: "epoch".into(),
            curves: self.contenders.iter().enumerate().map(|(i, c)| c.curve(i, value)).collect(),
            legend,
            share,
        };
        let loss = panel("training loss", Legend::UpperRight, false, |e| Some(e.loss));
        let accuracy = panel("test accuracy", Legend::LowerRight, true, |e| Some(e.test?.accuracy));
        plot::lines(&self.data, &[loss, accuracy])
    }
}

impl Contender {
    fn curve(&self, color: usize, value: fn(&EpochRecord) -> Option<f64>) -> Curve {
        let mut curve = Curve::new(&self.name, color, vec![]);
        let n_epochs = self.trials.iter().map(|t| t.history.epochs.len()).min().unwrap_or(0);
        for epoch in 0..n_epochs {
            let values: Vec<f64> =
                self.trials.iter().filter_map(|t| value(t.history.epochs.get(epoch)?)).collect();
            if let Some((mean, _)) = mean_and_spread(&values) {
                curve.points.push(((epoch + 1) as f64, mean));
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                curve.spread.push((least, largest));
            }
        }
        curve
    }
}

/// Mean and, of two values and more, their sample standard deviation.
fn mean_and_spread(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = || values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    match values.len() {
        0 => None,
        1 => Some((mean, None)),
        _ => Some((mean, Some(variance().sqrt()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_sample_standard_deviation() {
        assert_eq!(mean_and_spread(&[]), None);
        assert_eq!(mean_and_spread(&[3.0]), Some((3.0, None)));
        assert_eq!(mean_and_spread(&[1.0, 3.0]), Some((2.0, Some(2.0f64.sqrt()))));
    }

    #[test]
    fn norms_keep_three_digits() {
        let show = |v: f64| format!("{v:.*}", three_digits(v));
        assert_eq!(
            [0.0, 0.001234, 0.5, 12.345, 1234.5].map(show),
            ["0.00", "0.00123", "0.500", "12.3", "1234"]
        );
    }
}
