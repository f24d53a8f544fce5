//! From the bytes of a picture file to red, green and blue.
//!
//! What a file is follows from its content, never from its name.
//! Sizes are read first and refused before anything is allocated for them.
//! - **JPEG**: grey, colour, and CMYK as printers write it; turned as its EXIF orientation says.
//! - **PNG, WebP, BMP, GIF** (the first picture of an animation): 16 bits are rounded to 8, transparency lies on white.
//!
//! JPEG goes to `zune-jpeg` directly, because it decodes into memory that is there already; the rest goes to `image`.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Picture;

/// Most pixels of a picture that is decoded.
pub const MAX_PIXELS: u64 = 64_000_000;

/// Most bytes that a decoder may use besides the picture.
const MAX_DECODER_BYTES: u64 = 512 << 20;

/// Most scans of a progressive JPEG: each is a pass over all of it. Encoders write about ten.
const MAX_SCANS: usize = 100;

/// Decodes a file's content to 8-bit RGB, into memory that is reused from call to call.
///
/// # Errors
/// What is wrong with it, in words: it is no picture, damaged, cut off, or larger than [`MAX_PIXELS`].
pub fn decode(bytes: &[u8], into: &mut Picture) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg(bytes, into),
        Ok(format @ (ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp | ImageFormat::Gif)) => {
            other(bytes, format, into)
        }
        Ok(format) => Err(format!("{format:?} is not read; JPEG, PNG, WebP, BMP and GIF are")),
        Err(_) => {
            let start: String = bytes.iter().take(12).map(|b| b.escape_ascii().to_string()).collect();
            Err(format!("no picture: it starts with \"{start}\""))
        }
    }
}

/// Turns a picture into one channel, as PIL's `convert("L")` does: `(19595·r + 38470·g + 7471·b + 2¹⁵) / 2¹⁶`.
///
/// Source: ITU-R Recommendation BT.601.
pub fn to_grey(picture: &mut Picture) {
    if picture.channels != 3 {
        return;
    }
    let n = picture.height * picture.width;
    for i in 0..n {
        let [r, g, b] = [0, 1, 2].map(|c| u32::from(picture.pixels[3 * i + c]));
        picture.pixels[i] = ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8;
    }
    picture.pixels.truncate(n);
    picture.channels = 1;
}

/// Turns one channel into three equal ones.
pub fn to_colour(picture: &mut Picture) {
    if picture.channels == 1 {
        picture.pixels = picture.pixels.iter().flat_map(|&v| [v; 3]).collect();
        picture.channels = 3;
    }
}

fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 || width.saturating_mul(height) > MAX_PIXELS {
        return Err(format!("{height}×{width} pixels; at least 1 and at most {MAX_PIXELS} are decoded"));
    }
    Ok(())
}

fn jpeg(bytes: &[u8], into: &mut Picture) -> Result<(), String> {
    let side = usize::from(u16::MAX);
    let options = DecoderOptions::default()
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_max_scans(MAX_SCANS)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let info = decoder.info().ok_or("a JPEG without a header")?;
    check_size(u64::from(info.width), u64::from(info.height))?;
    check_scans(bytes)?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    into.reset(height, width, 3);
    if decoder.output_buffer_size() != Some(into.pixels.len()) {
        return Err(format!("colours of {:?} that cannot become RGB", decoder.input_colorspace()));
    }
    decoder.decode_into(&mut into.pixels).map_err(|e| e.to_string())?;
    turn(into, orientation.unwrap_or(Orientation::NoTransforms));
    Ok(())
}

/// Whether the end marker is there, and not too many scans before it. Decoders fill up what is missing with grey, which must
/// not pass for a picture. The decoder's own limit lets ten thousand scans pass that add nothing, so they are counted here.
///
/// The headers are skipped by their lengths: a thumbnail among them has markers of its own.
fn check_scans(bytes: &[u8]) -> Result<(), String> {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == 0xff {
            at += 1; // fill bytes may stand before a marker
            continue;
        }
        if marker == START_OF_SCAN {
            break;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    let mut n_scans = 0;
    for pair in bytes.get(at..).unwrap_or_default().windows(2) {
        match pair {
            [0xff, 0xd9] => return Ok(()),
            [0xff, START_OF_SCAN] => n_scans += 1,
            _ => {}
        }
        if n_scans > MAX_SCANS {
            return Err(format!("a JPEG of more than {MAX_SCANS} scans"));
        }
    }
    Err("a JPEG that is cut off".into())
}

fn other(bytes: &[u8], format: ImageFormat, into: &mut Picture) -> Result<(), String> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    check_size(u64::from(width), u64::from(height))?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    into.reset(height as usize, width as usize, 3);
    match image {
        DynamicImage::ImageRgb8(rgb) => into.pixels.copy_from_slice(rgb.as_raw()),
        image if image.color().has_alpha() => {
            let rgba = image.into_rgba8();
            for (to, from) in into.pixels.chunks_exact_mut(3).zip(rgba.as_raw().chunks_exact(4)) {
                for c in 0..3 {
                    to[c] = over_white(from[c], from[3]);
                }
            }
        }
        image => into.pixels.copy_from_slice(image.into_rgb8().as_raw()),
    }
    turn(into, orientation);
    Ok(())
}

/// `value` at opacity `alpha / 255` on white, rounded.
fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Turns and mirrors as the camera was held.
fn turn(picture: &mut Picture, orientation: Orientation) {
    if orientation == Orientation::NoTransforms {
        return;
    }
    let pixels = std::mem::take(&mut picture.pixels);
    // Sides are below 2³²: they came out of a file that has 32 bits for them.
    let rgb = RgbImage::from_raw(picture.width as u32, picture.height as u32, pixels);
    if let Some(rgb) = rgb {
        let mut image = DynamicImage::ImageRgb8(rgb);
        image.apply_orientation(orientation);
        (picture.width, picture.height) = (image.width() as usize, image.height() as usize);
        picture.pixels = image.into_rgb8().into_raw();
    }
}
