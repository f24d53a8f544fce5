//! Bilinear resampling with antialiasing, equal bit for bit to Pillow's, and so to torchvision's `Resize` of pictures.
//!
//! Each axis is a pass of its own, with bytes in between; which comes first decides how halves are rounded.
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

/// Whether the rows are resized before the columns: when the picture loses rows, and more than twice as many as columns.
///
/// This is the rule of Pillow 13. Before it, columns always came first; the results differ by at most one level.
fn rows_first((from_height, from_width): (usize, usize), (height, width): (usize, usize)) -> bool {
    let lost = |from: usize, to: usize| from as isize - to as isize;
    lost(from_height, height) > 0 && lost(from_height, height) > 2 * lost(from_width, width)
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
        if rows_first((picture.height, picture.width), (height, width)) {
            self.resize_rows(picture, height);
            self.resize_columns(picture, width);
        } else {
            self.resize_columns(picture, width);
            self.resize_rows(picture, height);
        }
    }

    fn resize_columns(&mut self, picture: &mut Picture, width: usize) {
        if picture.width == width {
            return;
        }
        self.columns.prepare(picture.width, width);
        let channels = picture.channels;
        self.bytes.resize(picture.height * width * channels, 0);
        let from_rows = picture.pixels.chunks_exact(picture.row_bytes());
        for (from, to) in from_rows.zip(self.bytes.chunks_exact_mut(width * channels)) {
            for (out, pixel) in to.chunks_exact_mut(channels).enumerate() {
                let (first, taps) = self.columns.taps(out);
                let pixels = &from[first * channels..][..taps.len() * channels];
                for (c, byte) in pixel.iter_mut().enumerate() {
                    let bytes = pixels.chunks_exact(channels).map(|pixel| i32::from(pixel[c]));
                    *byte = to_byte(HALF + bytes.zip(taps).map(|(byte, weight)| byte * weight).sum::<i32>());
                }
            }
        }
        std::mem::swap(&mut self.bytes, &mut picture.pixels);
        picture.width = width;
    }

    fn resize_rows(&mut self, picture: &mut Picture, height: usize) {
        if picture.height == height {
            return;
        }
        self.rows.prepare(picture.height, height);
        let row_bytes = picture.row_bytes();
        self.bytes.resize(height * row_bytes, 0);
        for (out, to) in self.bytes.chunks_exact_mut(row_bytes).enumerate() {
            let (first, taps) = self.rows.taps(out);
            let from = &picture.pixels[first * row_bytes..][..taps.len() * row_bytes];
            if let &[w0, w1] = taps {
                // Enlarging: two rows everywhere but at the edges.
                let (row0, row1) = from.split_at(row_bytes);
                for ((to, &b0), &b1) in to.iter_mut().zip(row0).zip(row1) {
                    *to = to_byte(HALF + i32::from(b0) * w0 + i32::from(b1) * w1);
                }
                continue;
            }
            self.sums.clear();
            self.sums.resize(row_bytes, HALF);
            for (row, &weight) in from.chunks_exact(row_bytes).zip(taps) {
                for (sum, &byte) in self.sums.iter_mut().zip(row) {
                    *sum += i32::from(byte) * weight;
                }
            }
            for (to, &sum) in to.iter_mut().zip(&self.sums) {
                *to = to_byte(sum);
            }
        }
        std::mem::swap(&mut self.bytes, &mut picture.pixels);
        picture.height = height;
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}
