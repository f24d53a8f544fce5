//! Which tasks a step has, as far as its ops tell.

use std::collections::HashSet;

use resnet_core::TensorDesc;
use resnet_core::op::{Conv2d, Op};

use super::task::{Form, Reads, Task, Writes};

impl Task {
    /// The tasks of a step's ops that are worth timing, the largest first. Descriptors do not say what is fused, so it is taken from the
    /// rest of the step: in training, convolutions are normalised and have no bias; the classifier is too small to matter; a
    /// convolution reads what was made before it, see `reads`.
    pub fn likely(ops: &[Op]) -> Vec<Task> {
        let training = ops.iter().any(|op| matches!(op, Op::Conv2dBackwardWeight(_)));
        let normalised = ops.iter().any(|op| matches!(op, Op::BatchNorm(_)));
        let reads = reads(ops);
        let likely = |task: &Task| {
            let reads = |x: Reads| reads.contains(&(task.op, x));
            match task.form {
                _ if task.op.h() * task.op.w() == 1 => false,
                Form::Forward { x, bias, sums } => {
                    // Folded normalisations leave a bias.
                    reads(x) && bias != normalised && sums == (training && normalised)
                }
                Form::BackwardData { through_norm, dx } => {
                    let towards = if dx == Writes::Norm { Reads::Norm } else { Reads::Raw };
                    let fused = matches!(dx, Writes::Norm | Writes::Block | Writes::BlockTwice);
                    through_norm == normalised && reads(towards) && (normalised || !fused)
                }
                Form::BackwardWeight { x, through_norm } => reads(x) && through_norm == normalised,
            }
        };
        let mut tasks: Vec<Task> = Vec::new();
        for task in ops.iter().flat_map(Task::all).filter(likely) {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        let size = |op: &Conv2d| op.x_desc().len() + op.y_desc().len();
        tasks.sort_by_key(|task| std::cmp::Reverse(size(&task.op)));
        tasks
    }
}

/// How each convolution of a step reads its input, from the order of the ops: what was written before it, if the shapes are the same, and
/// normalised if a normalisation came in between. The first reads pictures. Both ways where it reads something else, as a projection does.
fn reads(ops: &[Op]) -> HashSet<(Conv2d, Reads)> {
    let mut found = HashSet::new();
    let mut before: Option<(TensorDesc, Reads)> = None;
    for op in ops {
        before = match op {
            Op::Conv2d(op) => {
                match before {
                    Some((desc, reads)) if desc == op.x_desc() => found.extend([(*op, reads)]),
                    None if found.is_empty() => found.extend([(*op, Reads::Raw)]),
                    _ => found.extend([(*op, Reads::Raw), (*op, Reads::Norm)]),
                }
                Some((op.y_desc(), Reads::Raw))
            }
            Op::Combine(op) => Some((op.desc(), Reads::Raw)),
            Op::MaxPool(op) => Some((op.y_desc(), Reads::Raw)),
            Op::BatchNorm(norm) => before.map(|(desc, reads)| {
                let reads = if norm.c() == desc.c { Reads::Norm } else { reads };
                (desc, reads)
            }),
            // From the first gradient on, shapes go backwards.
            Op::Conv2dBackwardData(_) | Op::Conv2dBackwardWeight(_) | Op::CombineBackward(_) => None,
            _ => before,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use resnet_core::DType;
    use resnet_core::op::{BatchNorm, Padding};

    use super::*;

    fn conv(h: usize) -> Conv2d {
        Conv2d::new((2, h, h, 64), 64, (1, 1), 1, Padding::all(0), 1, DType::Bf16).expect("is valid")
    }

    #[test]
    fn what_is_likely_follows_from_the_step() {
        let norm = Op::BatchNorm(BatchNorm::new(64, 128, 1e-5, 0.1, true).expect("is valid"));
        let forms = |ops: &[Op]| Task::likely(ops).iter().map(|task| task.form).collect::<Vec<_>>();
        let forward = |x, bias, sums| Form::Forward { x, bias, sums };
        let data = |dx| Form::BackwardData { through_norm: true, dx };
        let weight = |x| Form::BackwardWeight { x, through_norm: true };
        let op = conv(8);

        // The second convolution reads the first through its normalisation.
        let training = [
            Op::Conv2d(op),
            norm,
            Op::Conv2d(op),
            norm,
            Op::Conv2dBackwardData(op),
            Op::Conv2dBackwardWeight(op),
        ];
        assert_eq!(
            forms(&training),
            [
                forward(Reads::Raw, false, true),
                forward(Reads::Norm, false, true),
                data(Writes::Plain),
                data(Writes::Norm),
                data(Writes::Block),
                data(Writes::BlockTwice),
                data(Writes::Other),
                weight(Reads::Raw),
                weight(Reads::Norm),
            ]
        );
        // What another convolution wrote in between is not what it reads; one pixel is not worth timing.
        let inference = [Op::Conv2d(op), norm, Op::Conv2d(conv(1)), Op::Conv2d(op)];
        assert_eq!(
            forms(&inference),
            [forward(Reads::Raw, false, false), forward(Reads::Norm, false, false)]
        );
        assert_eq!(forms(&[Op::Conv2d(op)]), [forward(Reads::Raw, true, false)], "folded");
        // The largest first.
        let sizes: Vec<usize> =
            Task::likely(&[Op::Conv2d(conv(4)), Op::Conv2d(op)]).iter().map(|task| task.op.h()).collect();
        assert_eq!(sizes, [8, 8, 4]);
    }

    /// What is guessed from the ops is what the steps of real networks ask for, but for what two parts of a gradient meet in.
    #[test]
    fn guesses_hold_for_networks_of_the_zoo() {
        use resnet_core::LowerOptions;
        use resnet_core::lower::{Read, Step, lower};

        let of = |x: &Read| match (x.affine.is_some(), x.residual.is_some(), x.relu) {
            (false, false, false) => Reads::Raw,
            (true, false, true) => Reads::Norm,
            _ => Reads::Other,
        };
        for arch in ["resnet18", "resnet50"] {
            let graph = resnet_core::zoo::arch(arch).expect("is known").build().expect("is valid");
            let options = LowerOptions { dtype: DType::Bf16, ..LowerOptions::train(2) };
            let program = lower(&graph, options, &|_| false).expect("lowers");
            let steps = program.forward.iter().chain(&program.backward);
            let ops: Vec<Op> = steps.clone().flat_map(Step::ops).collect();
            let likely: HashSet<Task> = Task::likely(&ops).into_iter().collect();
            let mut asked = HashSet::new();
            for step in steps {
                let (op, form) = match step {
                    Step::Conv { op, x, bias, sums, .. } => {
                        (op, Form::Forward { x: of(x), bias: bias.is_some(), sums: sums.is_some() })
                    }
                    Step::ConvBackwardWeight { op, x, dy, .. } | Step::ConvBackward { op, x, dy, .. } => {
                        (op, Form::BackwardWeight { x: of(x), through_norm: dy.norm.is_some() })
                    }
                    _ => continue,
                };
                if op.h() * op.w() > 1 {
                    asked.insert(Task { op: *op, form });
                }
            }
            assert!(asked.is_subset(&likely), "{arch}: {:#?}", asked.difference(&likely).collect::<Vec<_>>());
            // Hardly anything is timed for nothing.
            let read: HashSet<&Task> =
                likely.iter().filter(|task| !matches!(task.form, Form::BackwardData { .. })).collect();
            assert!(read.len() <= asked.len() + 8, "{arch}: {} for {}", read.len(), asked.len());
        }
    }
}
