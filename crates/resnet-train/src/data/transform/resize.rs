//! Bilinear resampling with antialiasing, equal bit for bit to Pillow's, and so to torchvision's `Resize` of pictures.
//!
//! Each axis is a pass of its own, columns first, with bytes in between.
//! When shrinking, the triangle filter is widened by the scale, so that every input pixel counts.
//! Weights are rounded to 22 bits after the point: eight bits of pixel and two of headroom fill the 32 of the sum.

use crate::data::Picture;

const WEIGHT_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// Height and width that a picture gets when its shorter side becomes `size`, as torchvision's `Resize(size)` rounds them.
pub fn shorter_side((height, width): (usize, usize), size: usize) -> (usize, usize) {
    let in_proportion = |long: usize, short: usize| (size * long).checked_div(short).unwrap_or(0).max(1);
    if width <= height { (in_proportion(height, width), size) } else { (size, in_proportion(width, height)) }
}

/// Where each output pixel of one axis reads, and with what weights.
#[derive(Debug, Default)]
struct Axis {
    n_in: usize,
    n_out: usize,
    /// Number of weights kept per output pixel; the last ones may be zero.
    n_taps: usize,
    /// First input pixel and number of input pixels, per output pixel.
    reads: Vec<(usize, usize)>,
    weights: Vec<i32>,
}

impl Axis {
    /// Makes the table for these lengths, unless it is the one that is there.
    fn prepare(&mut self, n_in: usize, n_out: usize) {
        if (self.n_in, self.n_out) == (n_in, n_out) {
            return;
        }
        let scale = n_in as f64 / n_out as f64;
        let widening = scale.max(1.0);
        let support = widening; // the triangle reaches one pixel to either side, times the widening
        let n_taps = support.ceil() as usize * 2 + 1;
        (self.n_in, self.n_out, self.n_taps) = (n_in, n_out, n_taps);
        self.reads.clear();
        self.weights.clear();
        for out in 0..n_out {
            let center = (out as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(n_in);
            let triangle = |i: usize| {
                let distance = ((first + i) as f64 - center + 0.5) * (1.0 / widening);
                (1.0 - distance.abs()).max(0.0)
            };
            let n = end - first;
            let total: f64 = (0..n).map(triangle).sum();
            self.reads.push((first, n));
            for i in 0..n_taps {
                let weight = if i < n && total != 0.0 { triangle(i) / total } else { 0.0 };
                self.weights.push((0.5 + weight * f64::from(1u32 << WEIGHT_BITS)) as i32);
            }
        }
    }

    fn taps(&self, out: usize) -> (usize, &[i32]) {
        let (first, n) = self.reads[out];
        (first, &self.weights[out * self.n_taps..][..n])
    }
}

/// Resizes pictures; keeps its tables while the sizes stay.
#[derive(Debug, Default)]
pub(super) struct Resizer {
    rows: Axis,
    columns: Axis,
    bytes: Vec<u8>,
    sums: Vec<i32>,
}

impl Resizer {
    pub(super) fn run(&mut self, picture: &mut Picture, height: usize, width: usize) {
        if picture.width != width {
            self.columns.prepare(picture.width, width);
            self.resize_columns(picture);
        }
        if picture.height != height {
            self.rows.prepare(picture.height, height);
            self.resize_rows(picture);
        }
    }

    fn resize_columns(&mut self, picture: &mut Picture) {
        let channels = picture.channels;
        self.bytes.clear();
        for row in picture.pixels.chunks_exact(picture.row_bytes()) {
            for out in 0..self.columns.n_out {
                let (first, taps) = self.columns.taps(out);
                let pixels = &row[first * channels..];
                for c in 0..channels {
                    let bytes = pixels[c..].iter().step_by(channels);
                    let sum: i32 = bytes.zip(taps).map(|(&byte, &weight)| i32::from(byte) * weight).sum();
                    self.bytes.push(to_byte(HALF + sum));
                }
            }
        }
        std::mem::swap(&mut self.bytes, &mut picture.pixels);
        picture.width = self.columns.n_out;
    }

    fn resize_rows(&mut self, picture: &mut Picture) {
        let row_bytes = picture.row_bytes();
        self.bytes.clear();
        for out in 0..self.rows.n_out {
            let (first, taps) = self.rows.taps(out);
            self.sums.clear();
            self.sums.resize(row_bytes, HALF);
            for (row, &weight) in picture.pixels[first * row_bytes..].chunks_exact(row_bytes).zip(taps) {
                for (sum, &byte) in self.sums.iter_mut().zip(row) {
                    *sum += i32::from(byte) * weight;
                }
            }
            self.bytes.extend(self.sums.iter().map(|&sum| to_byte(sum)));
        }
        std::mem::swap(&mut self.bytes, &mut picture.pixels);
        picture.height = self.rows.n_out;
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}
