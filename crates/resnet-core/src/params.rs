//! Parameters: what they are called, how they start, and where they live on a device.

use crate::TensorDesc;

/// What a parameter is for. Decides its initialisation, its host shape and whether it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// Convolution kernel, `[k, c/groups, r, s]` in files (OIHW).
    ConvWeight,
    /// Fully connected weight, `[k, c]` in files.
    LinearWeight,
    /// Bias of a convolution or a fully connected layer.
    Bias,
    /// Scale γ of a normalisation.
    Gamma,
    /// Shift β of a normalisation.
    Beta,
    /// Running mean: state, not trained.
    RunningMean,
    /// Running variance: state, not trained.
    RunningVar,
    /// A fixed 0/1 kernel, built from the graph: neither trained nor saved nor counted.
    Constant,
}

impl ParamKind {
    /// Whether an optimizer changes it.
    pub fn is_trainable(self) -> bool {
        !matches!(self, ParamKind::RunningMean | ParamKind::RunningVar | ParamKind::Constant)
    }

    /// Whether it is written to weight files.
    pub fn is_saved(self) -> bool {
        self != ParamKind::Constant
    }

    /// Whether weight decay applies where norms and biases are exempt.
    pub fn is_weight(self) -> bool {
        matches!(self, ParamKind::ConvWeight | ParamKind::LinearWeight)
    }
}

/// A parameter on a device, with what training adds to it.
#[derive(Debug)]
pub struct Param<Buf> {
    /// What the buffers hold: a [`Role::Weight`](crate::Role::Weight) or a table of one row.
    pub desc: TensorDesc,
    /// What it is for.
    pub kind: ParamKind,
    /// The value.
    pub value: Buf,
    /// The gradient, where it is trained.
    pub grad: Option<Buf>,
    /// Optimizer state: velocity, or Adam's two moments.
    pub states: [Option<Buf>; 2],
    /// Whether weight decay applies.
    pub decay: bool,
    /// Factor on the learning rate; 0 freezes the parameter.
    pub lr_scale: f32,
}
