//! Curves in panels side by side.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Drawn, INK, PALETTE, PlotError, RULE, font, svg};

/// Pixels of one panel.
const PANEL: (u32, u32) = (560, 400);
/// Pixels above the panels.
const TITLE_HEIGHT: u32 = 48;
/// Up to this many points, each is marked.
const N_MARKED: usize = 60;

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Points from left to right. Those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Lowest and highest value at each point, for a band behind the curve; empty for none.
    pub spread: Vec<(f64, f64)>,
    /// Number of its colour. Curves that belong together share one.
    pub color: usize,
    /// Whether it is drawn thin and pale, as the lesser of two.
    pub pale: bool,
}

impl Curve {
    /// A curve without a band.
    pub fn new(name: impl Into<String>, color: usize, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, spread: vec![], color, pale: false }
    }

    /// The same, thin and pale.
    pub fn pale(mut self) -> Self {
        self.pale = true;
        self
    }
}

/// Where the legend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legend {
    /// For curves that fall.
    UpperRight,
    /// For curves that rise.
    LowerRight,
}

/// One system of axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What is drawn, above the axes.
    pub title: String,
    /// Under the horizontal axis.
    pub x_label: String,
    /// The curves.
    pub curves: Vec<Curve>,
    /// Where the legend stands.
    pub legend: Legend,
    /// Whether values are shares: the axis then ends at 1.
    pub share: bool,
}

/// Draws panels side by side under a title, as SVG.
///
/// # Errors
/// [`PlotError`] if no panel is given or the library refuses to draw.
pub fn lines(title: &str, panels: &[Panel]) -> Result<String, PlotError> {
    if panels.is_empty() {
        return Err(PlotError { what: "curves", why: "no panel given".into() });
    }
    let size = (PANEL.0 * panels.len() as u32, PANEL.1 + TITLE_HEIGHT);
    svg("curves", size, |root| {
        let (head, body) = root.split_vertically(TITLE_HEIGHT);
        head.draw(&Text::new(title.to_owned(), (20, 18), font(19.0).color(&INK)))?;
        body.split_evenly((1, panels.len()))
            .iter()
            .zip(panels)
            .try_for_each(|(area, panel)| draw(area, panel))
    })
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel) -> Drawn<()> {
    let (x, y) = ranges(panel);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, font(16.0).color(&INK))
        .margin_left(12)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(x.clone(), y)?;
    chart
        .configure_mesh()
        .x_desc(&panel.x_label)
        .x_labels(10)
        .y_labels(8)
        .x_label_formatter(&|x| if x.fract() == 0.0 { format!("{x:.0}") } else { String::new() })
        .y_label_formatter(&label)
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE)
        .axis_style(RULE.stroke_width(1))
        .label_style(font(13.0).color(&INK))
        .axis_desc_style(font(13.0).color(&INK))
        .draw()?;
    for curve in &panel.curves {
        let color = PALETTE[curve.color % PALETTE.len()];
        if curve.spread.len() == curve.points.len() && curve.points.len() > 1 {
            let ends = curve.points.iter().zip(&curve.spread);
            let top = ends.clone().map(|(p, s)| (p.0, s.1));
            let bottom = ends.rev().map(|(p, s)| (p.0, s.0));
            let band: Vec<_> = top.chain(bottom).filter(is_finite).collect();
            chart.draw_series([Polygon::new(band, color.mix(0.15))])?;
        }
        let points: Vec<_> = curve.points.iter().copied().filter(is_finite).collect();
        let (alpha, width) = if curve.pale { (0.55, 1) } else { (1.0, 2) };
        let style = color.mix(alpha).stroke_width(width);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        if points.len() <= N_MARKED {
            let marks = points.iter().map(|p| Circle::new(*p, width as i32 + 1, color.mix(alpha).filled()));
            chart.draw_series(marks)?;
        }
    }
    chart
        .configure_series_labels()
        .position(match panel.legend {
            Legend::UpperRight => SeriesLabelPosition::UpperRight,
            Legend::LowerRight => SeriesLabelPosition::LowerRight,
        })
        .margin(12)
        .legend_area_size(26)
        .background_style(WHITE.mix(0.85))
        .border_style(RULE)
        .label_font(font(13.0).color(&INK))
        .draw()
}

fn is_finite(p: &(f64, f64)) -> bool {
    p.0.is_finite() && p.1.is_finite()
}

/// As few digits as tell neighbouring grid lines apart.
fn label(y: &f64) -> String {
    let text = format!("{y:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// Ranges that hold every point, with some air; never without extent.
fn ranges(panel: &Panel) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
    let points = || panel.curves.iter().flat_map(|c| &c.points).filter(|p| is_finite(p));
    let values = points().map(|p| p.1).chain(
        panel.curves.iter().flat_map(|c| &c.spread).flat_map(|s| [s.0, s.1]).filter(|v| v.is_finite()),
    );
    let (x_low, x_high) = extent(points().map(|p| p.0));
    let (low, high) = extent(values);
    // Curves by step begin within the first epoch, and their axis where training begins.
    let x_low = if (0.0..1.0).contains(&x_low) { 0.0 } else { x_low };
    let x = if x_low < x_high { x_low..x_high } else { x_low - 0.5..x_low + 0.5 };
    let y = if panel.share {
        let floor = ((low - 0.02) * 10.0).floor() / 10.0;
        floor.clamp(0.0, 0.9)..1.0
    } else {
        low.min(0.0)..if high > low.min(0.0) { high + 0.05 * (high - low.min(0.0)) } else { low + 1.0 }
    };
    (x, y)
}

/// Least and largest; 0 and 1 of nothing.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: Vec<(f64, f64)>, share: bool) -> Panel {
        let curves = vec![Curve::new("a <b> & c", 0, points)];
        Panel { title: "loss".into(), x_label: "epoch".into(), curves, legend: Legend::UpperRight, share }
    }

    #[test]
    fn ranges_hold_all_points_and_have_an_extent() {
        for points in [vec![], vec![(1.0, 0.0)], vec![(1.0, 2.0), (5.0, 0.5)], vec![(1.0, f64::NAN)]] {
            for share in [false, true] {
                let (x, y) = ranges(&panel(points.clone(), share));
                assert!(x.start < x.end && y.start < y.end, "{x:?} {y:?}");
                let inside = |p: &(f64, f64)| (x.start..=x.end).contains(&p.0) && y.contains(&p.1);
                assert!(
                    share || points.iter().filter(|p| is_finite(p)).all(inside),
                    "{x:?} {y:?} {points:?}"
                );
            }
        }
    }

    #[test]
    fn a_picture_names_its_curves_in_valid_markup() {
        let svg = lines("title", &[panel(vec![(1.0, 2.0), (2.0, 1.0)], false)]).unwrap();
        assert!(svg.contains("a &lt;b&gt; &amp; c") && svg.trim_end().ends_with("</svg>"), "{svg}");
    }

    #[test]
    fn nan_and_nothing_can_be_drawn() {
        for points in [vec![], vec![(1.0, f64::NAN)], vec![(1.0, f64::INFINITY), (2.0, 1.0)]] {
            lines("t", &[panel(points.clone(), false), panel(points, true)]).unwrap();
        }
    }
}
