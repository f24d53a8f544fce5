//! A convolution as it is asked for: direction, shape, and what is fused with it.

use std::fmt;

use resnet_core::op::{Conv2d, Op};
use resnet_core::{DType, TensorDesc};

use crate::cudnn::Pattern;
use crate::source::{CheckedGradOut, GradSourceArgs, SourceArgs};

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
        /// The input is normalised, added to or cut off by a ReLU when it is read.
        evaluated: bool,
        /// A bias is added.
        bias: bool,
        /// Batch statistics are wanted.
        sums: bool,
    },
    /// `dx`.
    BackwardData {
        /// The gradient is that of a normalisation.
        evaluated: bool,
        /// The gradient is added to, masked or summed before it is let go.
        epilogue: bool,
    },
    /// `dw`.
    BackwardWeight {
        /// The input is evaluated.
        x: bool,
        /// The gradient is evaluated.
        dy: bool,
    },
}

/// Whether a source is more than a tensor as it lies in memory.
pub(crate) fn is_evaluated(x: &SourceArgs) -> bool {
    x.affine != 0 || x.residual != 0 || x.relu != 0
}

impl Task {
    pub(crate) fn forward(op: &Conv2d, x: &SourceArgs, bias: u64, sums: u64) -> Self {
        let form = Form::Forward { evaluated: is_evaluated(x), bias: bias != 0, sums: sums != 0 };
        Task { op: *op, form }
    }

    pub(crate) fn backward_data(op: &Conv2d, dy: &GradSourceArgs, dx: &CheckedGradOut) -> Self {
        Task { op: *op, form: Form::BackwardData { evaluated: dy.y != 0, epilogue: !dx.is_plain() } }
    }

    pub(crate) fn backward_weight(op: &Conv2d, x: &SourceArgs, dy: &GradSourceArgs) -> Self {
        Task { op: *op, form: Form::BackwardWeight { x: is_evaluated(x), dy: dy.y != 0 } }
    }

    /// The tensor that it writes.
    pub(crate) fn result_desc(&self) -> TensorDesc {
        match self.form {
            Form::Forward { .. } => self.op.y_desc(),
            Form::BackwardData { .. } => self.op.x_desc(),
            Form::BackwardWeight { .. } => self.op.w_desc(),
        }
    }

    /// The channels over which it sums what it writes; 0 where no sums are wanted.
    pub(crate) fn summed_channels(&self) -> usize {
        match self.form {
            Form::Forward { sums: true, .. } => self.op.k(),
            Form::BackwardData { epilogue: true, .. } => self.op.c(),
            _ => 0,
        }
    }

    /// The same direction with nothing fused, but for a bias.
    pub fn base(self) -> Self {
        let form = match self.form {
            Form::Forward { bias, .. } => Form::Forward { evaluated: false, bias, sums: false },
            Form::BackwardData { .. } => Form::BackwardData { evaluated: false, epilogue: false },
            Form::BackwardWeight { .. } => Form::BackwardWeight { x: false, dy: false },
        };
        Task { form, ..self }
    }

    /// Every task of an op; none if it is no convolution.
    pub fn all(op: &Op) -> Vec<Task> {
        const BOTH: [bool; 2] = [false, true];
        let mut forms = Vec::new();
        let op = match op {
            Op::Conv2d(op) => {
                for evaluated in BOTH {
                    for bias in BOTH {
                        forms.extend(BOTH.map(|sums| Form::Forward { evaluated, bias, sums }));
                    }
                }
                op
            }
            Op::Conv2dBackwardData(op) => {
                for evaluated in BOTH {
                    forms.extend(BOTH.map(|epilogue| Form::BackwardData { evaluated, epilogue }));
                }
                op
            }
            Op::Conv2dBackwardWeight(op) => {
                for x in BOTH {
                    forms.extend(BOTH.map(|dy| Form::BackwardWeight { x, dy }));
                }
                op
            }
            _ => return Vec::new(),
        };
        forms.into_iter().map(|form| Task { op: *op, form }).collect()
    }

    /// The tasks of a step's ops that are worth timing. Descriptors do not say what is fused, so it is taken from the rest of the step:
    /// in training, convolutions are normalised and have no bias; the classifier is too small to matter.
    pub fn likely(ops: &[Op]) -> Vec<Task> {
        let training = ops.iter().any(|op| matches!(op, Op::Conv2dBackwardWeight(_)));
        let normalised = ops.iter().any(|op| matches!(op, Op::BatchNorm(_)));
        let likely = |task: &Task| match task.form {
            _ if task.op.h() * task.op.w() == 1 => false,
            Form::Forward { bias, sums, .. } => {
                bias != normalised && sums == (training && normalised) // folded normalisations leave a bias
            }
            Form::BackwardData { evaluated, epilogue } => evaluated == normalised && epilogue,
            Form::BackwardWeight { dy, .. } => dy == normalised,
        };
        let mut tasks: Vec<Task> = Vec::new();
        for task in ops.iter().flat_map(Task::all).filter(likely) {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        tasks
    }

    /// The graphs of cuDNN that may do it, the most fused last. What a graph does not do is done by a pass before or after it.
    ///
    /// Prologues are not among them: between operations cuDNN rounds to the tensors' type, so the value that the convolution reads
    /// could have another sign than the value that the mask on the way back is computed from.
    ///
    /// A gradient of weights in f32 is what is asked for. In the tensors' own type it is rounded once more, and taken where `narrow` allows it.
    pub fn patterns(&self, narrow: bool) -> &'static [Pattern] {
        match self.form {
            Form::Forward { bias: true, .. } => &[Pattern::ForwardBias],
            Form::Forward { sums: true, .. } => {
                &[Pattern::Forward, Pattern::ForwardStatistics, Pattern::ForwardSums]
            }
            Form::Forward { .. } => &[Pattern::Forward],
            Form::BackwardData { .. } => &[Pattern::BackwardData],
            Form::BackwardWeight { .. } if narrow && self.op.dtype() != DType::F32 => {
                &[Pattern::BackwardWeightNarrow, Pattern::BackwardWeight]
            }
            Form::BackwardWeight { .. } => &[Pattern::BackwardWeight],
        }
    }
}

/// One line: direction, shape and what is fused. It names a task on disk too.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Task { op, form } = self;
        let (direction, with): (&str, [(bool, &str); 3]) = match *form {
            Form::Forward { evaluated, bias, sums } => {
                ("forward", [(evaluated, "evaluated"), (bias, "bias"), (sums, "sums")])
            }
            Form::BackwardData { evaluated, epilogue } => {
                ("backward-data", [(evaluated, "evaluated"), (epilogue, "epilogue"), (false, "")])
            }
            Form::BackwardWeight { x, dy } => {
                ("backward-weight", [(x, "x evaluated"), (dy, "dy evaluated"), (false, "")])
            }
        };
        let dtype = match op.dtype() {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
        };
        let pad = op.padding();
        write!(f, "{direction} {dtype} {}×{}×{}×{} to {}, ", op.n(), op.h(), op.w(), op.c(), op.k())?;
        write!(f, "{}×{} stride {} padding {}", op.r(), op.s(), op.stride(), pad.top)?;
        if [pad.left, pad.bottom, pad.right] != [pad.top; 3] {
            write!(f, ",{},{},{}", pad.left, pad.bottom, pad.right)?;
        }
        if op.groups() > 1 {
            write!(f, " in {} groups", op.groups())?;
        }
        for (is, what) in with {
            if is {
                write!(f, ", {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use resnet_core::op::{BatchNorm, Padding};

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
        assert_eq!(tasks.len(), 3 * (8 + 4 + 4));
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

    #[test]
    fn what_is_likely_follows_from_the_step() {
        let norm = Op::BatchNorm(BatchNorm::new(64, 128, 1e-5, 0.1, true).expect("is valid"));
        let names =
            |ops: &[Op]| Task::likely(ops).iter().map(|task| format!("{:?}", task.form)).collect::<Vec<_>>();
        let training =
            [Op::Conv2d(conv(8)), norm, Op::Conv2dBackwardData(conv(8)), Op::Conv2dBackwardWeight(conv(8))];
        assert_eq!(
            names(&training),
            [
                "Forward { evaluated: false, bias: false, sums: true }",
                "Forward { evaluated: true, bias: false, sums: true }",
                "BackwardData { evaluated: true, epilogue: true }",
                "BackwardWeight { x: false, dy: true }",
                "BackwardWeight { x: true, dy: true }",
            ]
        );
        assert_eq!(
            names(&[Op::Conv2d(conv(8)), norm, Op::Conv2d(conv(1)), Op::Conv2d(conv(8))]),
            [
                "Forward { evaluated: false, bias: false, sums: false }",
                "Forward { evaluated: true, bias: false, sums: false }"
            ]
        );
        assert_eq!(
            names(&[Op::Conv2d(conv(8))]),
            [
                "Forward { evaluated: false, bias: true, sums: false }",
                "Forward { evaluated: true, bias: true, sums: false }"
            ]
        );
    }
}
