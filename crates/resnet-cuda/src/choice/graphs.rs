//! Which graphs of cuDNN may compute a task.

use resnet_core::DType;

use super::task::{Form, Reads, Task, Writes};
use crate::cudnn::Pattern;
use crate::cudnn::pattern::{After, Before, End};

/// What may be rounded more than this crate's kernels do, and whether graphs with prologues and ends are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Narrow {
    /// Gradients of weights, to the tensors' type.
    pub gradients: bool,
    /// Scale and shift of a normalisation, to f16.
    pub norms: bool,
    /// f32 operands, to tf32. Without it there are no matrix units for f32, and nothing is fused in f32.
    pub operands: bool,
}

impl Task {
    /// The graphs of cuDNN that may do it, the plain one first. What a graph does not do is done by a pass before or after it.
    ///
    /// A gradient of weights in f32 is what is asked for. In the tensors' own type it is rounded once more.
    pub fn patterns(&self, narrow: Narrow) -> Vec<Pattern> {
        let dtype = self.op.dtype();
        let fuses = dtype != DType::F32 || narrow.operands;
        let half_norms = dtype == DType::F16 && narrow.norms;
        let norm = |x: Reads| x == Reads::Norm && fuses;
        match self.form {
            Form::Forward { x, bias, sums } => {
                // Statistics beside a bias are taken afterwards.
                let afters: &[After] = match (bias, sums) {
                    (true, _) => &[After::Bias],
                    (false, false) => &[After::Nothing],
                    (false, true) => &[After::Statistics, After::Sums],
                };
                let mut patterns = vec![];
                if sums && !bias {
                    patterns.push(Pattern::FORWARD);
                    if dtype == DType::F16 {
                        patterns.push(Pattern::Forward(Before::Nothing, After::DirectStatistics));
                    }
                }
                patterns.extend(afters.iter().map(|after| Pattern::Forward(Before::Nothing, *after)));
                if norm(x) {
                    if sums && !bias && half_norms {
                        patterns.push(Pattern::Forward(Before::NarrowNorm, After::DirectStatistics));
                    }
                    patterns.extend(afters.iter().map(|after| Pattern::Forward(Before::Norm, *after)));
                }
                patterns
            }
            Form::BackwardData { through_norm, dx } => {
                let end = match dx {
                    Writes::Plain | Writes::Other => End::Nothing,
                    Writes::Norm => End::Masked,
                    Writes::Block => End::Shortcut,
                    Writes::BlockTwice => End::ShortcutTwice,
                };
                let mut patterns = vec![Pattern::BACKWARD_DATA];
                let mut fused = vec![];
                if fuses && through_norm {
                    fused.push(Pattern::BackwardData { through_norm, end });
                }
                if fuses && end != End::Nothing {
                    fused.push(Pattern::BackwardData { through_norm: false, end });
                }
                // Compiling is given so much time in all. A larger window evaluates the gradient as many times as it has taps.
                if self.op.r() * self.op.s() > 1 {
                    fused.reverse();
                }
                patterns.extend(fused);
                patterns
            }
            Form::BackwardWeight { x, .. } => {
                let mut patterns = vec![];
                if dtype != DType::F32 && narrow.gradients {
                    patterns.push(Pattern::BACKWARD_WEIGHT_NARROW);
                    if norm(x) && half_norms {
                        patterns.push(Pattern::BackwardWeight { x: Before::NarrowNorm, narrow: true });
                    }
                }
                patterns.push(Pattern::BACKWARD_WEIGHT);
                patterns
            }
        }
    }
}
