//! Transforms in order, and the two usual lists of them.

use resnet_core::preprocessing::{ChannelOrder, Interpolation, Preprocessing, Resize};
use resnet_core::rng::Stream;

use super::{RandomResizedCrop, Scratch, Transform, crop};
use crate::Result;
use crate::data::Picture;

/// Transforms, applied in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    steps: Vec<Transform>,
    /// How new pixels are computed, in every step that resizes.
    interpolation: Interpolation,
    /// Length of the start that is the same in every epoch, and may be cached.
    n_fixed: usize,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self { steps: vec![], interpolation: Interpolation::Bilinear, n_fixed: 0 }
    }
}

impl Pipeline {
    /// A pipeline of these steps, which resizes bilinearly.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a size, range or probability that makes no sense.
    pub fn new(steps: Vec<Transform>) -> Result<Self> {
        steps.iter().try_for_each(Transform::check)?;
        let n_fixed = steps.iter().take_while(|step| !step.is_random()).count();
        Ok(Self { steps, n_fixed, ..Self::default() })
    }

    /// The same with another way of computing new pixels.
    pub fn interpolation(self, interpolation: Interpolation) -> Self {
        Self { interpolation, ..self }
    }

    /// What a picture goes through before a network that was trained with this pre-processing sees it, up to the
    /// normalisation, which is done on the device.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a size that makes no sense.
    pub fn for_evaluation(p: &Preprocessing) -> Result<Self> {
        let steps = [Self::sized(p), Self::ordered(p)].concat();
        Ok(Self::new(steps)?.interpolation(p.interpolation))
    }

    /// The same with random steps: a random part of the picture in place of the middle, if `crop` says how large, and
    /// `random` behind it. Colours are put in the network's order last, so fills are in the order of the file: red first.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a size, range or probability that makes no sense.
    pub fn for_training(p: &Preprocessing, crop: Option<(f64, f64)>, random: Vec<Transform>) -> Result<Self> {
        let (height, width) = p.crop;
        let sized = match crop {
            Some(area) => {
                let op = RandomResizedCrop { area, ..RandomResizedCrop::new(height, width) };
                vec![Transform::RandomResizedCrop(op)]
            }
            None => Self::sized(p),
        };
        let steps = [sized, random, Self::ordered(p)].concat();
        Ok(Self::new(steps)?.interpolation(p.interpolation))
    }

    /// Resize, and the middle.
    fn sized(p: &Preprocessing) -> Vec<Transform> {
        let (height, width) = p.crop;
        let crop = Transform::CenterCrop { height, width };
        match p.resize {
            Resize::Exact(height, width) if (height, width) == p.crop => {
                vec![Transform::Resize { height, width }]
            }
            Resize::Exact(height, width) => vec![Transform::Resize { height, width }, crop],
            Resize::ShortSide(size) => vec![Transform::ResizeShorter { size }, crop],
        }
    }

    fn ordered(p: &Preprocessing) -> Vec<Transform> {
        let reversed = p.channel_order == ChannelOrder::Bgr && p.mean.len() > 1;
        if reversed { vec![Transform::ReverseChannels] } else { vec![] }
    }

    /// The same for pictures that all have this size, without the steps that leave them as they are.
    pub fn simplified(self, extent: Option<(usize, usize)>) -> Self {
        let mut before = extent;
        let mut steps = vec![];
        for step in self.steps {
            let after = step.output(before);
            let idle = matches!(
                step,
                Transform::Resize { .. } | Transform::ResizeShorter { .. } | Transform::CenterCrop { .. }
            );
            if !(idle && before.is_some() && after == before) {
                steps.push(step);
            }
            before = after;
        }
        let n_fixed = steps.iter().take_while(|step| !step.is_random()).count();
        Self { steps, n_fixed, ..self }
    }

    /// The steps.
    pub fn steps(&self) -> &[Transform] {
        &self.steps
    }

    /// Height and width of the result, where they are the same for all pictures. `input`: the same of the pictures.
    pub fn output(&self, input: Option<(usize, usize)>) -> Option<(usize, usize)> {
        self.steps.iter().fold(input, |extent, step| step.output(extent))
    }

    /// Applies all steps. Of a picture that is resized and then cut, only the middle is resized.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a picture without pixels.
    pub fn apply(&self, picture: &mut Picture, scratch: &mut Scratch, stream: &mut Stream) -> Result<()> {
        let mut steps = self.steps.iter().peekable();
        while let Some(step) = steps.next() {
            let resized = step.resizes((picture.height, picture.width));
            if let (Some(size), Some(&&Transform::CenterCrop { height, width })) = (resized, steps.peek()) {
                scratch.resize.run_middle(picture, size, (height, width), self.interpolation)?;
                crop::center(picture, &mut scratch.picture, height, width);
                steps.next();
            } else {
                step.apply(picture, self.interpolation, scratch, stream)?;
            }
        }
        Ok(())
    }

    /// The start that is the same in every epoch, and the rest.
    pub(in crate::data) fn split(&self) -> (Pipeline, Pipeline) {
        let (fixed, rest) = self.steps.split_at(self.n_fixed);
        let pipeline = |steps: &[Transform], n_fixed| Pipeline {
            steps: steps.to_vec(),
            n_fixed,
            interpolation: self.interpolation,
        };
        (pipeline(fixed, self.n_fixed), pipeline(rest, 0))
    }
}
