//! The primitive layers a network is drawn with, without batch size, without device.

use crate::op::{PadValue, Padding};
use crate::{Error, Result, init::Init, op::window_output};

/// Extents of one picture's activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Shape {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.c * self.h * self.w
    }

    /// Whether there is no element. A valid shape never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A convolution layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvLayer {
    /// Output channels.
    pub out: usize,
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    /// Step of the window.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: Padding,
    /// Independent groups of channels.
    pub groups: usize,
    /// How the kernel starts.
    pub init: Init,
    /// How the bias starts, if there is one.
    pub bias: Option<Init>,
}

/// A batch normalisation layer. Meaning of the numbers: [`BatchNorm`](crate::op::BatchNorm).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormLayer {
    /// Added to the variance.
    pub eps: f32,
    /// Weight of the new batch in the running statistics.
    pub momentum: f32,
    /// Whether the running variance takes the unbiased estimate.
    pub unbiased: bool,
    /// What every γ starts at: 1, or 0 in the last normalisation of a residual branch.
    pub gamma: f32,
}

/// A sliding window without weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLayer {
    /// Rows and columns of the window.
    pub window: (usize, usize),
    /// Step of the window.
    pub stride: usize,
    /// What lies around the image; an average counts only pixels inside it.
    pub padding: Padding,
}

/// What a node of the graph does to its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    /// The picture, normalised.
    Input,
    /// Convolution.
    Conv(ConvLayer),
    /// Batch normalisation.
    Norm(NormLayer),
    /// `max(0, x)`.
    Relu,
    /// Sum of two equal shapes.
    Add,
    /// Maximum over a window.
    MaxPool(PoolLayer, PadValue),
    /// Mean over a window.
    AvgPool(PoolLayer),
    /// Mean over the image, giving `c × 1 × 1`.
    GlobalAvgPool,
    /// Fully connected layer on `c × 1 × 1`.
    Linear {
        /// Output features.
        out: usize,
        /// How the weight starts.
        init: Init,
        /// How the bias starts, if there is one.
        bias: Option<Init>,
    },
    /// The parameter-free shortcut of He et al. 2015 (option A): every `stride`-th pixel, and new channels that are zero.
    ///
    /// `front` of the new channels come before the old ones. Computed as a 1×1 convolution with a fixed 0/1 kernel, so
    /// that a backend needs no method for it; it has no parameters and counts no multiply-accumulates.
    Subsample {
        /// Step between the pixels kept.
        stride: usize,
        /// Channels after padding.
        out: usize,
        /// Zero channels before the old ones.
        front: usize,
    },
}

impl Layer {
    /// The layer's type as people know it.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Input => "Input",
            Layer::Conv(_) => "Conv2d",
            Layer::Norm(_) => "BatchNorm2d",
            Layer::Relu => "ReLU",
            Layer::Add => "Add",
            Layer::MaxPool(..) => "MaxPool2d",
            Layer::AvgPool(_) => "AvgPool2d",
            Layer::GlobalAvgPool => "GlobalAvgPool2d",
            Layer::Linear { .. } => "Linear",
            Layer::Subsample { .. } => "ZeroPadShortcut",
        }
    }

    /// Shape of the output for the shapes of the inputs.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the node if the shapes do not fit the layer.
    pub fn output(&self, name: &str, inputs: &[Shape]) -> Result<Shape> {
        let window =
            |x: Shape, (r, s): (usize, usize), stride: usize, p: Padding| -> Result<(usize, usize)> {
                Ok((
                    window_output(name, x.h, (p.top, p.bottom), r, stride)?,
                    window_output(name, x.w, (p.left, p.right), s, stride)?,
                ))
            };
        let wanted = match self {
            Layer::Input => 0,
            Layer::Add => 2,
            _ => 1,
        };
        if inputs.len() != wanted {
            return Err(Error::invalid(name, format!("{} inputs, {wanted} wanted", inputs.len())));
        }
        match *self {
            Layer::Input => Err(Error::invalid(name, "the input's shape is given, not computed")),
            Layer::Conv(l) => {
                let x = inputs[0];
                if l.groups == 0
                    || !x.c.is_multiple_of(l.groups)
                    || !l.out.is_multiple_of(l.groups)
                    || l.out == 0
                {
                    return Err(Error::invalid(
                        name,
                        format!(
                            "{} groups must divide both {} input and {} output channels",
                            l.groups, x.c, l.out
                        ),
                    ));
                }
                let (h, w) = window(x, l.kernel, l.stride, l.padding)?;
                Ok(Shape { c: l.out, h, w })
            }
            Layer::Norm(_) | Layer::Relu => Ok(inputs[0]),
            Layer::Add => {
                if inputs[0] != inputs[1] {
                    return Err(Error::invalid(
                        name,
                        format!(
                            "cannot add {:?} to {:?}: a residual needs equal shapes",
                            inputs[1], inputs[0]
                        ),
                    ));
                }
                Ok(inputs[0])
            }
            Layer::MaxPool(l, _) | Layer::AvgPool(l) => {
                let x = inputs[0];
                let (h, w) = window(x, l.window, l.stride, l.padding)?;
                Ok(Shape { c: x.c, h, w })
            }
            Layer::GlobalAvgPool => Ok(Shape { c: inputs[0].c, h: 1, w: 1 }),
            Layer::Linear { out, .. } => {
                let x = inputs[0];
                if (x.h, x.w) != (1, 1) || out == 0 {
                    return Err(Error::invalid(
                        name,
                        format!(
                            "a fully connected layer of {out} outputs reads c×1×1, found {}×{}×{}",
                            x.c, x.h, x.w
                        ),
                    ));
                }
                Ok(Shape { c: out, h: 1, w: 1 })
            }
            Layer::Subsample { stride, out, front } => {
                let x = inputs[0];
                if out < x.c + front {
                    return Err(Error::invalid(
                        name,
                        format!("{} channels with {front} before them do not fit {out}", x.c),
                    ));
                }
                let (h, w) = window(x, (1, 1), stride, Padding::default())?;
                Ok(Shape { c: out, h, w })
            }
        }
    }
}
