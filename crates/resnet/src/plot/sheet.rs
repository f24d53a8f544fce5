//! A contact sheet: some pictures of every class, a row for each.

use std::io::Cursor;

use base64::Engine;
use image::{ExtendedColorType, ImageEncoder};
use resnet_core::preprocessing::{Preprocessing, Resize};
use resnet_core::rng::{Permutation, Purpose, Stream};
use resnet_train::data::transform::Scratch;
use resnet_train::data::{Dataset, Picture, Pipeline};
use resnet_train::{Error, Result};

/// Sides of a picture and of what is between two, in the units of the drawing.
const SIDE: usize = 96;
const GAP: usize = 6;
/// Room for the names.
const NAMES: usize = 170;
/// Classes that are drawn.
const MAX_CLASSES: usize = 50;
/// Broken pictures that are passed over in a class before it is left as it is.
const MAX_BROKEN: usize = 20;

/// Draws up to `per_class` pictures of every class as SVG: the first ones of a random order that is always the same,
/// of the training part where it has any. Pictures are cut to squares, and lie inside the file.
///
/// # Errors
/// What reading the pictures returns, except for broken ones, which are passed over.
pub fn sheet(data: &Dataset, per_class: usize) -> Result<String> {
    let source = if data.train.is_empty() { &data.test } else { &data.train };
    let square = Preprocessing {
        resize: Resize::ShortSide(SIDE),
        ..Preprocessing::exact(SIDE, SIDE, vec![0.0; data.channels], vec![1.0; data.channels])
    };
    let pipeline = Pipeline::for_evaluation(&square)?;
    let mut members: Vec<Vec<usize>> = vec![vec![]; data.n_classes()];
    let order = Permutation::for_purpose(source.len(), 0, Purpose::Sample, 1);
    for index in order.iter() {
        let of = &mut members[source.label(index) as usize];
        if of.len() < per_class + MAX_BROKEN {
            of.push(index);
        }
    }
    let mut counts = vec![0usize; data.n_classes()];
    (0..source.len()).for_each(|i| counts[source.label(i) as usize] += 1);
    let n_rows = data.n_classes().min(MAX_CLASSES);
    let some =
        if n_rows < data.n_classes() { format!(", of which {n_rows} are drawn") } else { String::new() };
    let (width, height) = (NAMES + per_class * (SIDE + GAP) + GAP, 40 + n_rows * (SIDE + GAP) + GAP);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{GAP}" y="26" font-size="18" fill="#222222">{}</text>
"##,
        escaped(&format!("{}, {} classes{some}", data.name, data.n_classes()))
    );
    let (mut picture, mut scratch) = (Picture::default(), Scratch::default());
    for (row, indices) in members.iter().enumerate().take(n_rows) {
        let y = 40 + row * (SIDE + GAP);
        let name = shortened(&data.classes[row]);
        svg += &format!(
            r##"<text x="{GAP}" y="{}" font-size="14" fill="#222222">{}</text>
<text x="{GAP}" y="{}" font-size="11" fill="#777777">{} pictures</text>
"##,
            y + SIDE / 2,
            escaped(&name),
            y + SIDE / 2 + 16,
            counts[row],
        );
        let mut column = 0;
        for index in indices {
            match source.read(*index, &mut picture) {
                Err(Error::Picture { .. }) => continue,
                other => other?,
            }
            pipeline.apply(&mut picture, &mut scratch, &mut Stream::new(0, Purpose::Augment, 0, 0))?;
            let x = NAMES + column * (SIDE + GAP);
            svg += &format!(
                r#"<image x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" href="data:image/png;base64,{}"/>
"#,
                png(&picture)?
            );
            column += 1;
            if column == per_class {
                break;
            }
        }
    }
    Ok(svg + "</svg>\n")
}

fn png(picture: &Picture) -> Result<String> {
    let color = if picture.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut bytes = Cursor::new(vec![]);
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(&picture.pixels, picture.width as u32, picture.height as u32, color)
        .map_err(|e| Error::invalid("contact sheet", e.to_string()))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes.into_inner()))
}

fn shortened(name: &str) -> String {
    const MOST: usize = 20;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
