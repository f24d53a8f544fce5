use resnet_core::rng::Stream;

use super::{check_probability, check_range};
use crate::data::Picture;
use crate::{Error, Result};

/// Overwrites a random rectangle.
///
/// The result is that of torchvision's `RandomErasing` with a constant value.
/// That one erases normalised pixels, where 0 is the mean; here the mean is given, in bytes.
///
/// Source: Zhong et al., *Random Erasing Data Augmentation*, arXiv:1708.04896, algorithm 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Erase {
    /// How often.
    pub probability: f32,
    /// Part of the picture's area, from and to.
    pub area: (f64, f64),
    /// Height divided by width, from and to.
    pub aspect: (f64, f64),
    /// What is written: one byte per channel.
    pub fill: Vec<u8>,
}

impl Erase {
    /// Rectangles that do not fit are drawn again this often; then the picture stays whole.
    const N_TRIALS: usize = 10;

    /// The usual ranges: 2 % to 33 % of the area, aspect 0.3 to 3.3.
    pub fn new(probability: f32, fill: Vec<u8>) -> Self {
        Self { probability, area: (0.02, 0.33), aspect: (0.3, 3.3), fill }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_probability("random erasing", self.probability)?;
        if self.fill.is_empty() {
            return Err(Error::invalid("random erasing", "no byte to fill with; one per channel wanted"));
        }
        check_range("random erasing, area", self.area, 1.0)?;
        check_range("random erasing, aspect", self.aspect, f64::MAX)
    }

    pub(super) fn apply(&self, picture: &mut Picture, stream: &mut Stream) {
        if !stream.chance(self.probability) {
            return;
        }
        for _ in 0..Self::N_TRIALS {
            let area = (picture.height * picture.width) as f64 * stream.between(self.area.0, self.area.1);
            let aspect = stream.between(self.aspect.0.ln(), self.aspect.1.ln()).exp();
            let height = (area * aspect).sqrt().round_ties_even() as usize;
            let width = (area / aspect).sqrt().round_ties_even() as usize;
            if height < picture.height && width < picture.width {
                let top = stream.below(picture.height - height + 1);
                let left = stream.below(picture.width - width + 1);
                return self.fill(picture, (top, left), (height, width));
            }
        }
    }

    fn fill(&self, picture: &mut Picture, (top, left): (usize, usize), (height, width): (usize, usize)) {
        let (row_bytes, channels) = (picture.row_bytes(), picture.channels);
        for row in picture.pixels.chunks_exact_mut(row_bytes).skip(top).take(height) {
            for pixel in row[left * channels..(left + width) * channels].chunks_exact_mut(channels) {
                for (byte, &fill) in pixel.iter_mut().zip(self.fill.iter().cycle()) {
                    *byte = fill;
                }
            }
        }
    }
}
