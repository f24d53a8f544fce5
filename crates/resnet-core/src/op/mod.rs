//! Op descriptors: what to compute, as plain data. A descriptor that exists is valid.
//!
//! Each file holds one op: its shapes, its meaning and the sizes of its tensors.
//! How it is computed is the business of a [`Backend`](crate::Backend).

mod combine;
mod conv2d;
mod gather;
mod ingest;
mod loss;
mod loss_scale;
mod norm;
mod pool;
mod update;

pub use combine::Combine;
pub use conv2d::Conv2d;
pub use gather::{Gather, Pick};
pub use ingest::Ingest;
pub use loss::{Metrics, SoftmaxCrossEntropy, Targets};
pub use loss_scale::{LossScale, LossScaleState};
pub use norm::BatchNorm;
pub use pool::{AvgPool, MaxPool, PadValue};
pub use update::{Optimizer, StepScalars};

use crate::{Error, Result};

/// Rows and columns added around an image before a window slides over it.
///
/// The four sides differ where a framework pads "same" at stride 2: TensorFlow adds the odd one at the bottom and right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same amount on all four sides.
    pub fn all(p: usize) -> Self {
        Self { top: p, left: p, bottom: p, right: p }
    }

    /// TensorFlow's "same": the output has `ceil(extent / stride)` pixels, and the odd padding goes below and to the right.
    ///
    /// Source: TensorFlow API documentation, `tf.nn.convolution`, notes on padding.
    pub fn same(h: usize, w: usize, window: (usize, usize), stride: usize) -> Self {
        let along = |extent: usize, window: usize| {
            let out = extent.div_ceil(stride);
            ((out - 1) * stride + window).saturating_sub(extent)
        };
        let (rows, cols) = (along(h, window.0), along(w, window.1));
        Self { top: rows / 2, bottom: rows - rows / 2, left: cols / 2, right: cols - cols / 2 }
    }
}

/// Output extent of a sliding window: `(extent + before + after − window) / stride + 1`, rounded down.
///
/// # Errors
/// [`Error::Invalid`] if the extent, window or stride is zero or the window is larger than the padded image.
pub fn window_output(
    what: &str,
    extent: usize,
    before_after: (usize, usize),
    window: usize,
    stride: usize,
) -> Result<usize> {
    if extent == 0 || window == 0 || stride == 0 {
        return Err(Error::invalid(
            what,
            format!("extent {extent}, window {window} and stride {stride} must all be at least 1"),
        ));
    }
    let padded = extent + before_after.0 + before_after.1;
    if window > padded {
        return Err(Error::invalid(
            what,
            format!(
                "a window of {window} does not fit an image of {extent} padded to {padded}; use a larger input"
            ),
        ));
    }
    Ok((padded - window) / stride + 1)
}

/// Any op that a training or inference step issues, for [`Backend::prepare`](crate::Backend::prepare).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// [`Backend::conv2d`](crate::Backend::conv2d).
    Conv2d(Conv2d),
    /// [`Backend::conv2d_backward_data`](crate::Backend::conv2d_backward_data).
    Conv2dBackwardData(Conv2d),
    /// [`Backend::conv2d_backward_weight`](crate::Backend::conv2d_backward_weight).
    Conv2dBackwardWeight(Conv2d),
    /// [`Backend::combine`](crate::Backend::combine).
    Combine(Combine),
    /// [`Backend::combine_backward`](crate::Backend::combine_backward).
    CombineBackward(Combine),
    /// [`Backend::max_pool`](crate::Backend::max_pool) and its backward.
    MaxPool(MaxPool),
    /// [`Backend::avg_pool`](crate::Backend::avg_pool) and its backward.
    AvgPool(AvgPool),
    /// [`Backend::norm_finish`](crate::Backend::norm_finish), its frozen form and its backward.
    BatchNorm(BatchNorm),
    /// [`Backend::softmax_cross_entropy`](crate::Backend::softmax_cross_entropy).
    SoftmaxCrossEntropy(SoftmaxCrossEntropy),
    /// [`Backend::ingest`](crate::Backend::ingest).
    Ingest(Ingest),
}
