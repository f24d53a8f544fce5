//! Random steps that a device can do while it gathers a batch: a shift in a black frame, and a mirror.

use resnet_core::op::Pick;
use resnet_core::rng::Stream;

use super::{Pipeline, Transform, crop};

/// The random part of a pipeline as numbers for [`Gather`](resnet_core::op::Gather).
/// It draws what the steps themselves would draw, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::data) struct Picker {
    padding: Option<usize>,
    flip: Option<f32>,
    /// Whether channels are to be reversed in the pictures, which commutes with the rest.
    pub(in crate::data) reversed: bool,
}

impl Picker {
    /// For steps that are at most a padded crop, a flip and reversed channels, in this order.
    ///
    /// # Errors
    /// Names the step that a device does not do.
    pub(in crate::data) fn of(random: &Pipeline) -> Result<Self, &'static str> {
        let mut picker = Picker { padding: None, flip: None, reversed: false };
        let mut rest = random.steps();
        if let [Transform::PadCrop { padding }, after @ ..] = rest {
            (picker.padding, rest) = (Some(*padding), after);
        }
        if let [Transform::HorizontalFlip { probability }, after @ ..] = rest {
            (picker.flip, rest) = (Some(*probability), after);
        }
        if let [Transform::ReverseChannels, after @ ..] = rest {
            (picker.reversed, rest) = (true, after);
        }
        rest.first().map_or(Ok(picker), |step| Err(step.name()))
    }

    /// Black pixels on each side.
    pub(in crate::data) fn padding(&self) -> usize {
        self.padding.unwrap_or(0)
    }

    /// What is drawn for a picture.
    pub(in crate::data) fn draw(&self, index: u32, stream: &mut Stream) -> Pick {
        let (top, left) = self.padding.map_or((0, 0), |padding| crop::draw_offset(padding, stream));
        let mirrored = self.flip.is_some_and(|probability| stream.chance(probability));
        Pick { index, top: top as u32, left: left as u32, mirrored }
    }
}
