//! A convolution as it is asked for: direction, shape, and what is fused with it.

use std::fmt;

use resnet_core::TensorDesc;
use resnet_core::op::{Conv2d, Op};

use crate::source::{CheckedGradOut, GradOutArgs, GradSourceArgs, SourceArgs};

/// One convolution in one direction, as an op asks for it. What is fused decides which kernels can do it in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// The convolution.
    pub op: Conv2d,
    /// The direction, and what goes with it.
    pub form: Form,
}

/// A direction, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `y`.
    Forward {
        /// How the input is read.
        x: Reads,
        /// A bias is added.
        bias: bool,
        /// Batch statistics are wanted.
        sums: bool,
    },
    /// `dx`.
    BackwardData {
        /// The gradient is that of a normalisation.
        through_norm: bool,
        /// How it is let go.
        dx: Writes,
    },
    /// `dw`.
    BackwardWeight {
        /// How the input is read.
        x: Reads,
        /// The gradient is that of a normalisation.
        through_norm: bool,
    },
}

/// How a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reads {
    /// As it lies in memory.
    Raw,
    /// `relu(scale·raw + shift)`, the inside of a block.
    Norm,
    /// Any other way.
    Other,
}

/// How a gradient is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writes {
    /// As it is.
    Plain,
    /// Masked by the value of a normalisation, and summed for it: the inside of a block.
    Norm,
    /// Added to that of the shortcut, masked by a block's value, and summed for the block's last normalisation.
    Block,
    /// The same, and summed for the projection's normalisation too.
    BlockTwice,
    /// Any other way.
    Other,
}

impl Reads {
    /// All of them.
    pub const ALL: [Reads; 3] = [Reads::Raw, Reads::Norm, Reads::Other];

    fn of(x: &SourceArgs) -> Self {
        match (x.affine != 0, x.residual != 0, x.relu != 0) {
            (false, false, false) => Reads::Raw,
            (true, false, true) => Reads::Norm,
            _ => Reads::Other,
        }
    }
}

impl Writes {
    /// All of them.
    pub const ALL: [Writes; 5] =
        [Writes::Plain, Writes::Norm, Writes::Block, Writes::BlockTwice, Writes::Other];

    fn of(dx: &CheckedGradOut) -> Self {
        if dx.is_plain() {
            return Writes::Plain;
        }
        let GradOutArgs { add, mask, sums, accumulate, .. } = &dx.args;
        let summed = dx.sums.map(|to| to != 0);
        // What is there already lies where the result goes; a graph does not promise to read it before it writes.
        if *accumulate != 0 || mask.raw == 0 || mask.residual != 0 {
            return Writes::Other;
        }
        match (mask.affine != 0, *add != 0, summed) {
            (true, false, [true, false]) if sums[0].y == mask.raw => Writes::Norm,
            (false, true, [true, false]) => Writes::Block,
            (false, true, [true, true]) => Writes::BlockTwice,
            _ => Writes::Other,
        }
    }

    /// How many normalisations it is summed for when the lab tries it.
    pub(crate) fn norms(self) -> usize {
        match self {
            Writes::Plain => 0,
            Writes::Norm | Writes::Block | Writes::Other => 1,
            Writes::BlockTwice => 2,
        }
    }
}

/// Whether a source is more than a tensor as it lies in memory.
pub(crate) fn is_evaluated(x: &SourceArgs) -> bool {
    Reads::of(x) != Reads::Raw
}

impl Task {
    pub(crate) fn forward(op: &Conv2d, x: &SourceArgs, bias: u64, sums: u64) -> Self {
        let form = Form::Forward { x: Reads::of(x), bias: bias != 0, sums: sums != 0 };
        Task { op: *op, form }
    }

    pub(crate) fn backward_data(op: &Conv2d, dy: &GradSourceArgs, dx: &CheckedGradOut) -> Self {
        Task { op: *op, form: Form::BackwardData { through_norm: dy.y != 0, dx: Writes::of(dx) } }
    }

    pub(crate) fn backward_weight(op: &Conv2d, x: &SourceArgs, dy: &GradSourceArgs) -> Self {
        Task { op: *op, form: Form::BackwardWeight { x: Reads::of(x), through_norm: dy.y != 0 } }
    }

    /// The tensor that it writes.
    pub(crate) fn result_desc(&self) -> TensorDesc {
        match self.form {
            Form::Forward { .. } => self.op.y_desc(),
            Form::BackwardData { .. } => self.op.x_desc(),
            Form::BackwardWeight { .. } => self.op.w_desc(),
        }
    }

    /// The channels over which it sums what it writes, and for how many normalisations; 0 where no sums are wanted.
    pub(crate) fn summed(&self) -> (usize, usize) {
        match self.form {
            Form::Forward { sums: true, .. } => (self.op.k(), 1),
            Form::BackwardData { dx, .. } => (self.op.c(), dx.norms()),
            _ => (0, 0),
        }
    }

    /// The same direction with nothing fused, but for a bias.
    pub fn base(self) -> Self {
        let form = match self.form {
            Form::Forward { bias, .. } => Form::Forward { x: Reads::Raw, bias, sums: false },
            Form::BackwardData { .. } => Form::BackwardData { through_norm: false, dx: Writes::Plain },
            Form::BackwardWeight { .. } => Form::BackwardWeight { x: Reads::Raw, through_norm: false },
        };
        Task { form, ..self }
    }

    /// Every task of an op; none if it is no convolution.
    pub fn all(op: &Op) -> Vec<Task> {
        const BOTH: [bool; 2] = [false, true];
        let mut forms = Vec::new();
        let op = match op {
            Op::Conv2d(op) => {
                for x in Reads::ALL {
                    for bias in BOTH {
                        forms.extend(BOTH.map(|sums| Form::Forward { x, bias, sums }));
                    }
                }
                op
            }
            Op::Conv2dBackwardData(op) => {
                for through_norm in BOTH {
                    forms.extend(Writes::ALL.map(|dx| Form::BackwardData { through_norm, dx }));
                }
                op
            }
            Op::Conv2dBackwardWeight(op) => {
                for x in Reads::ALL {
                    forms.extend(BOTH.map(|through_norm| Form::BackwardWeight { x, through_norm }));
                }
                op
            }
            _ => return Vec::new(),
        };
        forms.into_iter().map(|form| Task { op: *op, form }).collect()
    }
}

/// A convolution without its direction: type, extents, window.
pub(crate) struct Shape<'a>(pub(crate) &'a Conv2d);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape(op) = self;
        let pad = op.padding();
        write!(f, "{} {}×{}×{}×{} to {}, ", op.dtype(), op.n(), op.h(), op.w(), op.c(), op.k())?;
        write!(f, "{}×{} stride {} padding {}", op.r(), op.s(), op.stride(), pad.top)?;
        if [pad.left, pad.bottom, pad.right] != [pad.top; 3] {
            write!(f, ",{},{},{}", pad.left, pad.bottom, pad.right)?;
        }
        if op.groups() > 1 {
            write!(f, " in {} groups", op.groups())?;
        }
        Ok(())
    }
}

/// One line: direction, shape and what is fused. It names a task on disk too.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Task { op, form } = self;
        let read = |x: Reads| match x {
            Reads::Raw => "",
            Reads::Norm => "normalised",
            Reads::Other => "evaluated",
        };
        let (direction, with) = match *form {
            Form::Forward { x, bias, sums } => {
                ("forward", [read(x), if bias { "bias" } else { "" }, if sums { "sums" } else { "" }])
            }
            Form::BackwardData { through_norm, dx } => {
                let writes = match dx {
                    Writes::Plain => "",
                    Writes::Norm => "mask and sums",
                    Writes::Block => "shortcut, mask and sums",
                    Writes::BlockTwice => "shortcut, mask and sums for two",
                    Writes::Other => "epilogue",
                };
                ("backward-data", [if through_norm { "through a normalisation" } else { "" }, writes, ""])
            }
            Form::BackwardWeight { x, through_norm } => {
                ("backward-weight", [read(x), if through_norm { "through a normalisation" } else { "" }, ""])
            }
        };
        write!(f, "{direction} {}", Shape(op))?;
        for what in with.into_iter().filter(|what| !what.is_empty()) {
            write!(f, ", {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use resnet_core::DType;
    use resnet_core::op::Padding;

    use super::*;

    fn conv(h: usize) -> Conv2d {
        Conv2d::new((2, h, h, 64), 64, (1, 1), 1, Padding::all(0), 1, DType::Bf16).expect("is valid")
    }

    #[test]
    fn names_tell_tasks_apart() {
        let other =
            Conv2d::new((2, 8, 8, 64), 64, (1, 1), 1, Padding { left: 1, ..Padding::all(0) }, 2, DType::F16);
        let ops = [conv(8), conv(9), other.expect("is valid")];
        let every = |op| [Op::Conv2d(op), Op::Conv2dBackwardData(op), Op::Conv2dBackwardWeight(op)];
        let tasks: Vec<Task> = ops.into_iter().flat_map(every).flat_map(|op| Task::all(&op)).collect();
        assert_eq!(tasks.len(), 3 * (12 + 10 + 6));
        let mut names: Vec<String> = tasks.iter().map(Task::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), tasks.len());
        assert!(
            names.contains(&"forward bf16 2×8×8×64 to 64, 1×1 stride 1 padding 0, sums".to_owned()),
            "{names:?}"
        );
        assert!(tasks.iter().all(|task| tasks.contains(&task.base()) && task.base().base() == task.base()));
    }
}
