//! Makes JPEG files in folders per class, for `cargo xtask bench --loading`: pictures whose decoding costs what a photograph's does.
//!
//! A picture is noise of several scales whose amplitude falls with the frequency, as in photographs
//! (Field, *Relations between the statistics of natural images and the response properties of cortical cells*, 1987).
#![forbid(unsafe_code)]

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use resnet_core::rng::{Purpose, Stream};

const CLASSES: usize = 8;
const PER_CLASS: usize = 64;
/// Of JPEG; what photographs are usually saved with.
const QUALITY: u8 = 90;

/// Make JPEG files in folders per class. Files that are there already are left alone.
#[derive(Parser)]
struct Args {
    /// Where to
    folder: PathBuf,
    /// Columns of each
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    width: u32,
    /// Rows of each
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    height: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    for class in 0..CLASSES {
        let folder = args.folder.join(format!("class-{class}"));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for i in 0..PER_CLASS {
            let path = folder.join(format!("{i}.jpg"));
            if !path.exists() {
                let mut random = Stream::new(0, Purpose::Synthetic, class as u64, i as u64);
                write(&path, &noise(args.width, args.height, &mut random), args.width, args.height)?;
            }
        }
    }
    Ok(())
}

fn write(path: &Path, rgb: &[u8], width: u32, height: u32) -> Result<()> {
    let name = || format!("cannot write {}", path.display());
    let file = BufWriter::new(std::fs::File::create(path).with_context(name)?);
    JpegEncoder::new_with_quality(file, QUALITY)
        .write_image(rgb, width, height, ExtendedColorType::Rgb8)
        .with_context(name)
}

/// RGB bytes: lattices of random numbers, each twice as fine as the one before and half as strong, interpolated and added up.
fn noise(width: u32, height: u32, random: &mut Stream) -> Vec<u8> {
    let (width, height) = (width as usize, height as usize);
    let mut sums = vec![0.0; width * height * 3];
    let (mut cell, mut strength) = (128, 64.0);
    while cell > 0 {
        let (columns, rows) = (width / cell + 2, height / cell + 2);
        let lattice: Vec<f64> = (0..columns * rows * 3).map(|_| random.normal() * strength).collect();
        for (i, sum) in sums.iter_mut().enumerate() {
            let (x, y, channel) = (i / 3 % width, i / 3 / width, i % 3);
            let (fx, fy) = ((x % cell) as f64 / cell as f64, (y % cell) as f64 / cell as f64);
            let at =
                |dx: usize, dy: usize| lattice[((y / cell + dy) * columns + x / cell + dx) * 3 + channel];
            let row = |dy: usize| at(0, dy) * (1.0 - fx) + at(1, dy) * fx;
            *sum += row(0) * (1.0 - fy) + row(1) * fy;
        }
        (cell, strength) = (cell / 2, strength / 2.0);
    }
    sums.into_iter().map(|sum| (128.0 + sum).clamp(0.0, 255.0) as u8).collect()
}
