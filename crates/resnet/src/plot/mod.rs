//! Pictures of results, as SVG text: [`lines`] for curves, [`training`] for those of a run, [`confusion`] for a confusion
//! matrix, [`sheet`] for pictures of a data set.
//!
//! Nothing here opens a file. Fonts are the viewer's; colours are told apart by colour-blind readers
//! (Okabe and Ito, *Color Universal Design*, 2008).

mod confusion;
mod lines;
mod sheet;
mod training;

pub use confusion::confusion;
pub use lines::{Curve, Legend, Panel, lines};
pub use sheet::sheet;
pub use training::training;

use plotters::coord::Shift;
use plotters::prelude::*;

/// Distinguishable colours, in the order of use.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Text.
const INK: RGBColor = RGBColor(40, 40, 40);
/// Grid lines and frames.
const RULE: RGBColor = RGBColor(215, 215, 215);

fn font(size: f64) -> FontDesc<'static> {
    FontDesc::new(FontFamily::SansSerif, size, FontStyle::Normal)
}

/// A picture that could not be drawn: a range without extent, a number that is none.
#[derive(Debug, thiserror::Error)]
#[error("drawing {what}: {why}")]
pub struct PlotError {
    /// The picture.
    what: &'static str,
    /// What the drawing library said.
    why: String,
}

/// What drawing on an SVG canvas answers.
type Drawn<T> =
    Result<T, plotters::drawing::DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// Draws on a white canvas of this size.
fn svg(
    what: &'static str,
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Drawn<()>,
) -> Result<String, PlotError> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let drawn = root.fill(&WHITE).and_then(|()| draw(&root)).and_then(|()| root.present());
    drop(root);
    drawn.map_err(|e| PlotError { what, why: e.to_string() })?;
    Ok(text)
}
