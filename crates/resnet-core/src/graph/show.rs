//! A network as people look at it: a table in the manner of Keras, JSON through serde, Graphviz.

mod dot;

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::{Graph, NodeId};
use crate::params::ParamKind;

/// One layer of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSummary {
    /// Path in the model.
    pub name: String,
    /// Type, as `Conv2d`.
    pub kind: &'static str,
    /// Channels, rows and columns of the output for one picture.
    pub output: [usize; 3],
    /// Parameters, counted as the whole summary counts them.
    pub params: usize,
    /// Multiply-accumulates for one picture.
    pub macs: u64,
    /// The layers it reads.
    pub inputs: Vec<String>,
}

/// What a network consists of, and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The network's name, where it has one.
    pub name: Option<String>,
    /// Channels, rows and columns of the picture.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Parameters, with or without running statistics: see [`Summary::counts_statistics`].
    pub total_params: usize,
    /// Parameters that an optimizer changes.
    pub trainable_params: usize,
    /// The rest of the total.
    pub non_trainable_params: usize,
    /// Running means and variances, counted or not.
    pub moving_statistics: usize,
    /// Whether the total includes the running statistics, as Keras and Paddle print it; torchvision and timm leave them out.
    pub counts_statistics: bool,
    /// Multiply-accumulates of convolutions and fully connected layers in a forward pass of one picture, padded taps counted.
    pub macs: u64,
    /// Number of layers.
    pub n_layers: usize,
    /// Every layer in the order of computation.
    pub layers: Vec<LayerSummary>,
}

impl Graph {
    /// Describes the network; running statistics are not counted as parameters.
    pub fn summary(&self) -> Summary {
        Summary::of(self, None, false)
    }
}

impl Summary {
    /// Describes a network; `counts_statistics` decides whether running statistics are parameters.
    pub fn of(graph: &Graph, name: Option<String>, counts_statistics: bool) -> Self {
        let counted = |kind: ParamKind| match kind {
            ParamKind::Constant => false,
            ParamKind::RunningMean | ParamKind::RunningVar => counts_statistics,
            _ => true,
        };
        let layer = |i: usize| {
            let node = &graph.nodes()[i];
            let params = node.params.iter().map(|p| graph.param(*p)).filter(|p| counted(p.kind));
            LayerSummary {
                name: node.name.clone(),
                kind: node.layer.kind(),
                output: [node.shape.c, node.shape.h, node.shape.w],
                params: params.map(|p| p.len()).sum(),
                macs: graph.node_macs(NodeId(i)),
                inputs: node.inputs.iter().map(|i| graph.node(*i).name.clone()).collect(),
            }
        };
        let layers: Vec<LayerSummary> = (0..graph.nodes().len()).map(layer).collect();
        let (total_params, trainable_params) =
            (layers.iter().map(|l| l.params).sum::<usize>(), graph.trainable_params());
        let input = graph.input_shape();
        Self {
            name,
            input: [input.c, input.h, input.w],
            classes: graph.classes(),
            total_params,
            trainable_params,
            non_trainable_params: total_params - trainable_params,
            moving_statistics: graph.state_params(),
            counts_statistics,
            macs: graph.macs(),
            n_layers: layers.len(),
            layers,
        }
    }
}

/// Widest table. Longer cells lose their middle.
const MAX_COLUMNS: usize = 100;

/// Between two columns.
const GAP: &str = "  ";

impl fmt::Display for Summary {
    /// The table, 100 columns wide at most. A layer with several inputs takes one line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows =
            vec![["Layer (type)", "Output c×h×w", "Params", "MACs", "Connected to"].map(str::to_owned)];
        for layer in &self.layers {
            let mut inputs = layer.inputs.iter().cloned();
            rows.push([
                format!("{} ({})", layer.name, layer.kind),
                extents(layer.output),
                thousands(layer.params as u64),
                if layer.macs == 0 { String::new() } else { si(layer.macs) },
                inputs.next().unwrap_or_default(),
            ]);
            rows.extend(
                inputs.map(|input| [String::new(), String::new(), String::new(), String::new(), input]),
            );
        }
        let widths = column_widths(&rows);
        let line = |c: &str| c.repeat(widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1));

        let name = self.name.as_deref().unwrap_or("network");
        writeln!(f, "{name}: {} → {} classes", extents(self.input), self.classes)?;
        writeln!(f, "{}", line("━"))?;
        for (i, row) in rows.iter().enumerate() {
            writeln!(f, "{}", format_row(row, &widths).trim_end())?;
            if i == 0 {
                writeln!(f, "{}", line("─"))?;
            }
        }
        writeln!(f, "{}", line("━"))?;
        writeln!(f, "Total params:         {}", thousands(self.total_params as u64))?;
        writeln!(f, "Trainable params:     {}", thousands(self.trainable_params as u64))?;
        writeln!(f, "Non-trainable params: {}", thousands(self.non_trainable_params as u64))?;
        let included = if self.counts_statistics { "counted above" } else { "not counted above" };
        writeln!(f, "Running statistics:   {} ({included})", thousands(self.moving_statistics as u64))?;
        writeln!(f, "MACs per picture:     {} ({})", si(self.macs), thousands(self.macs))
    }
}

/// Columns as wide as their widest cell; the first and the last give way if the table would be too wide.
fn column_widths(rows: &[[String; 5]]) -> [usize; 5] {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let fixed = widths[1] + widths[2] + widths[3] + 4 * GAP.len();
    let room = MAX_COLUMNS.saturating_sub(fixed).max(20);
    if widths[0] + widths[4] > room {
        widths[4] = widths[4].min((room / 3).max(room.saturating_sub(widths[0])));
        widths[0] = widths[0].min(room - widths[4]);
    }
    widths
}

/// Names to the left, numbers to the right.
fn format_row(row: &[String; 5], widths: &[usize; 5]) -> String {
    let mut line = String::new();
    for (i, (cell, width)) in row.iter().zip(*widths).enumerate() {
        let cell = shorten(cell, width);
        let gap = if i == 0 { "" } else { GAP };
        // Writing to a String cannot fail.
        let _ = match i {
            2 | 3 => write!(line, "{gap}{cell:>width$}"),
            _ => write!(line, "{gap}{cell:<width$}"),
        };
    }
    line
}

/// Replaces the middle of a text that is too long by one `…`.
fn shorten(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (kept - kept / 2, kept / 2);
    chars[..head].iter().chain(['…'].iter()).chain(&chars[chars.len() - tail..]).collect()
}

/// `64×112×112`
fn extents([c, h, w]: [usize; 3]) -> String {
    format!("{c}×{h}×{w}")
}

/// `11,689,512`
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1.81 G`: three significant digits.
fn si(n: u64) -> String {
    let (mut x, mut unit) = (n as f64, "");
    for next in ["k", "M", "G", "T", "P", "E"] {
        if x < 999.5 {
            break;
        }
        (x, unit) = (x / 1000.0, next);
    }
    let decimals = match x {
        _ if unit.is_empty() => 0,
        x if x < 9.995 => 2,
        x if x < 99.95 => 1,
        _ => 0,
    };
    format!("{x:.decimals$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (11_689_512, "11,689,512")];
        assert_eq!(cases.map(|(n, _)| thousands(n)), cases.map(|(_, text)| text.to_owned()));
        let cases = [
            (0, "0"),
            (512, "512"),
            (1_000, "1.00 k"),
            (118_013_952, "118 M"),
            (999_600, "1.00 M"),
            (1_814_073_344, "1.81 G"),
        ];
        assert_eq!(cases.map(|(n, _)| si(n)), cases.map(|(_, text)| text.to_owned()));
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shorten("layer1.0.conv1", 14), "layer1.0.conv1");
        assert_eq!(shorten("layer1.0.conv1", 9), "laye…onv1");
        assert_eq!(shorten("layer", 1), "…");
    }
}
