//! Mean and standard deviation of pictures.

use rayon::prelude::*;
use resnet_core::rng::{Permutation, Purpose};

use super::{Picture, Source};
use crate::{Error, Result};

/// Pictures looked at in a set whose pictures must be decoded.
///
/// The mean of a photograph varies by about 0.1 from one to the next, so that of so many is off by 0.002.
const N_SAMPLED: usize = 2_000;

/// Rows and columns looked at in a picture of a set of mixed sizes, so that large ones count no more than small ones.
const GRID: usize = 64;

/// Mean and standard deviation of each channel, of pixels scaled to 0…1.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStats {
    /// Means.
    pub mean: Vec<f32>,
    /// Population standard deviations. A channel that is constant has 1 here, so that dividing by it is harmless.
    pub std: Vec<f32>,
}

impl ChannelStats {
    /// Of a source whose pictures have one size, from all of them; of one with mixed sizes, from a grid of pixels in each of
    /// at most 2,000 pictures, the same ones every time. Broken pictures are passed over.
    ///
    /// Exact up to the last rounding: bytes are counted, not summed in floats, so the number of threads changes nothing.
    ///
    /// # Errors
    /// As [`Source::read`]; [`Error::Invalid`] if no picture can be read.
    pub fn of(source: &dyn Source) -> Result<Self> {
        let n = source.len();
        let counts = match source.extent() {
            Some(_) => count(source, (0..n).collect(), None)?,
            None => {
                let order = Permutation::for_purpose(n, 0, Purpose::Sample, 0);
                count(source, order.iter().take(N_SAMPLED).collect(), Some(GRID))?
            }
        };
        if counts.iter().any(|c| c.iter().all(|n| *n == 0)) {
            return Err(Error::invalid("mean and standard deviation", "no picture could be read"));
        }
        let (mean, std) = counts.iter().map(moments).unzip();
        Ok(Self { mean, std })
    }
}

type Counts = Vec<[u64; 256]>;

/// How often each byte occurs in each channel.
fn count(source: &dyn Source, indices: Vec<usize>, grid: Option<usize>) -> Result<Counts> {
    let none = || vec![[0u64; 256]; source.channels()];
    let add = |(mut counts, mut picture): (Counts, Picture), index: &usize| {
        match source.read(*index, &mut picture) {
            Err(Error::Picture { .. }) => {}
            Err(other) => return Err(other),
            Ok(()) => count_picture(&picture, grid, &mut counts),
        }
        Ok((counts, picture))
    };
    let merge = |mut a: Counts, b: Counts| {
        a.iter_mut().flatten().zip(b.iter().flatten()).for_each(|(a, b)| *a += b);
        a
    };
    indices
        .par_chunks(64)
        .map(|chunk| chunk.iter().try_fold((none(), Picture::default()), add).map(|(counts, _)| counts))
        .try_reduce(none, |a, b| Ok(merge(a, b)))
}

fn count_picture(picture: &Picture, grid: Option<usize>, counts: &mut Counts) {
    let c = picture.channels;
    let mut pixel = |pixel: &[u8]| {
        for (count, byte) in counts.iter_mut().zip(pixel) {
            count[usize::from(*byte)] += 1;
        }
    };
    let Some(grid) = grid else { return picture.pixels.chunks_exact(c).for_each(pixel) };
    for y in 0..grid {
        for x in 0..grid {
            let at = (y * picture.height / grid * picture.width + x * picture.width / grid) * c;
            pixel(&picture.pixels[at..at + c]);
        }
    }
}

/// Mean and standard deviation of bytes scaled to 0…1, from how often each byte occurs.
fn moments(count: &[u64; 256]) -> (f32, f32) {
    let n = count.iter().sum::<u64>() as f64;
    let mean = count.iter().enumerate().map(|(byte, &k)| byte as f64 * k as f64).sum::<f64>() / n;
    let var =
        count.iter().enumerate().map(|(byte, &k)| (byte as f64 - mean).powi(2) * k as f64).sum::<f64>() / n;
    let std = if var > 0.0 { var.sqrt() / 255.0 } else { 1.0 };
    ((mean / 255.0) as f32, std as f32)
}
