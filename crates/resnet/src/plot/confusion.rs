//! A confusion matrix as a heat map.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{INK, PlotError, font, svg};

/// Above this many classes cells are too small for numbers and names.
const N_LABELLED: usize = 40;
/// Right of and under the matrix.
const MARGIN: i32 = 30;
/// Above the matrix.
const HEAD: i32 = 60;

/// Draws how often each class was taken for which, as SVG: rows are true classes, columns predicted ones.
/// `counts` is `classes × classes`, row by row. Shades are shares of the row.
///
/// # Errors
/// [`PlotError`] if the counts are not a square of the number of classes or the library refuses to draw.
pub fn confusion(title: &str, classes: &[String], counts: &[u64]) -> Result<String, PlotError> {
    let n = classes.len();
    if n == 0 || counts.len() != n * n {
        let why = format!("{} counts given for {n} classes", counts.len());
        return Err(PlotError { what: "a confusion matrix", why });
    }
    let labelled = n <= N_LABELLED;
    let cell: i32 = if labelled { 44 } else { (1200 / n as i32).max(2) };
    let longest = classes.iter().map(|c| c.chars().count()).max().unwrap_or(0) as i32;
    let names = if labelled { (longest * 7 + 16).clamp(40, 240) } else { 20 };
    let (left, bottom) = (names + 30, names + 34);
    let side = cell * n as i32;
    let size = ((left + side + MARGIN) as u32, (HEAD + side + bottom) as u32);
    svg("a confusion matrix", size, |root| {
        let text = |size: f64, h: HPos, v: VPos| font(size).color(&INK).pos(Pos::new(h, v));
        root.draw(&Text::new(title.to_owned(), (20, 14), text(17.0, HPos::Left, VPos::Top)))?;
        for (row, name) in classes.iter().enumerate() {
            let of_row = &counts[row * n..][..n];
            let total: u64 = of_row.iter().sum();
            for (column, count) in of_row.iter().enumerate() {
                let share = if total == 0 { 0.0 } else { *count as f64 / total as f64 };
                let (x, y) = (left + column as i32 * cell, HEAD + row as i32 * cell);
                let shape =
                    Rectangle::new([(x, y), (x + cell, y + cell)], shade(share, row == column).filled());
                root.draw(&shape)?;
                if labelled && *count > 0 {
                    let ink = if share > 0.5 { WHITE } else { INK };
                    let style = font(12.0).color(&ink).pos(Pos::new(HPos::Center, VPos::Center));
                    root.draw(&Text::new(count.to_string(), (x + cell / 2, y + cell / 2), style))?;
                }
            }
            if labelled {
                let middle = row as i32 * cell + cell / 2;
                let name = shorten(name, 28);
                let style = text(13.0, HPos::Right, VPos::Center);
                root.draw(&Text::new(name.clone(), (left - 8, HEAD + middle), style))?;
                // Turned by a quarter, so that names of any length fit under a column.
                let style = font(13.0)
                    .transform(FontTransform::Rotate270)
                    .color(&INK)
                    .pos(Pos::new(HPos::Right, VPos::Center));
                root.draw(&Text::new(name, (left + middle, HEAD + side + 8), style))?;
            }
        }
        let frame = Rectangle::new([(left, HEAD), (left + side, HEAD + side)], INK.mix(0.4).stroke_width(1));
        root.draw(&frame)?;
        let style = text(13.0, HPos::Center, VPos::Bottom);
        root.draw(&Text::new("predicted class", (left + side / 2, size.1 as i32 - 8), style))?;
        let style =
            font(13.0).transform(FontTransform::Rotate270).color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
        root.draw(&Text::new("true class", (8, HEAD + side / 2), style))?;
        Ok(())
    })
}

/// White to blue where right, white to orange where wrong. Small shares are lifted: mistakes are what one looks for.
fn shade(share: f64, right: bool) -> RGBColor {
    let end = if right { (0.0, 114.0, 178.0) } else { (213.0, 94.0, 0.0) };
    let strength = share.clamp(0.0, 1.0).powf(0.6);
    let mix = |to: f64| (255.0 + strength * (to - 255.0)).round() as u8;
    RGBColor(mix(end.0), mix(end.1), mix(end.2))
}

fn shorten(name: &str, n: usize) -> String {
    if name.chars().count() <= n {
        return name.to_owned();
    }
    name.chars().take(n - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_and_class_is_in_the_picture() {
        let classes = ["cat".to_owned(), "dog & co".to_owned()];
        let svg = confusion("t", &classes, &[101, 7, 0, 33]).unwrap();
        for text in ["cat", "dog &amp; co", "101", "33", "predicted class"] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
    }

    #[test]
    fn another_number_of_counts_is_refused() {
        assert!(confusion("t", &["a".into(), "b".into()], &[1, 2, 3]).is_err());
    }

    #[test]
    fn a_thousand_classes_fit() {
        let classes: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
        confusion("t", &classes, &vec![1; 1_000_000]).unwrap();
    }
}
