//! Where ways are tried: operands for any task, its result, and the device's clock.

use resnet_core::{DType, Result};

use super::task::{Form, Reads, Task, Writes};
use super::ways::Way;
use crate::buffer::{buffer_bytes, element_bytes};
use crate::copies::{self, Side};
use crate::engine::Engine;
use crate::machine::Memory;
use crate::ops::conv::{backward_data, backward_weight, forward};
use crate::source::{CheckedGradOut, GradOutArgs, GradSourceArgs, GradSumsArgs, SourceArgs};
use crate::tensor::Scratch;

/// Results further apart are those of different computations. Roundings of 16-bit numbers differ by 2⁻⁸ of a value, and errors of
/// long sums stay far below that; two results that have nothing to do with each other differ by more than their own size.
const APART: f64 = 1.0 / 16.0;

/// Numbers that are compared: so many in each of so many places, from the first to the last.
const PLACES: usize = 4;
const AT_ONE: usize = 4096;

/// Memory for the operands and results of any of some tasks.
pub(super) struct Lab {
    /// Activations, pseudo-random in ±1.
    activations: Memory,
    /// Weights and tables, pseudo-random in ±1.
    floats: Memory,
    /// Weights as a way keeps them from step to step.
    packed: Memory,
    results: Memory,
}

/// Addresses of a task's operands, and where its result goes.
struct Operands {
    x: u64,
    residual: u64,
    dz: u64,
    y: u64,
    w: u64,
    affine: u64,
    moments: [u64; 2],
    coeffs: u64,
    bias: u64,
    result: u64,
    sums: [u64; 2],
}

/// Parts of a result, each of which is compared for itself: elements of some places, and sums.
pub(super) struct Sample(Vec<(&'static str, Vec<f64>)>);

/// Where things lie, in pieces of activations, floats, and results.
struct Layout {
    activations: [usize; 4],
    floats: [usize; 6],
    results: [usize; 3],
    bytes: [usize; 3],
}

impl Layout {
    fn of(task: &Task) -> Self {
        let op = &task.op;
        let (x, y) = (buffer_bytes(&op.x_desc()), buffer_bytes(&op.y_desc()));
        let (channels, _) = task.summed();
        let sums = 2 * channels * size_of::<f64>();
        let row = |rows: usize, c: usize| rows * c * size_of::<f32>();
        // Tables lie apart, so that one taken for another is found.
        let floats = [
            row(op.w_desc().len(), 1),
            row(2, op.c()),
            row(2, op.c()),
            row(2, op.c()),
            row(3, op.k()),
            row(1, op.k()),
        ];
        let (mut a, mut f, mut r) = (Scratch::default(), Scratch::default(), Scratch::default());
        Layout {
            activations: [x, x, y, y].map(|bytes| a.take(bytes)),
            floats: floats.map(|bytes| f.take(bytes)),
            results: [buffer_bytes(&task.result_desc()), sums, sums].map(|bytes| r.take(bytes)),
            bytes: [a.bytes(), f.bytes(), r.bytes()],
        }
    }
}

/// Multiples of 1/64 in ±1, which all types hold.
fn numbers(n: usize) -> impl Iterator<Item = f32> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..n).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 32) % 129) as f32 / 64.0 - 1.0
    })
}

impl Lab {
    /// Memory for tasks of one type.
    ///
    /// # Errors
    /// Too little memory.
    pub(super) fn new<'a>(
        engine: &mut Engine,
        dtype: DType,
        tasks: impl Iterator<Item = &'a Task>,
    ) -> Result<Self> {
        let need = |task: &Task| (Layout::of(task).bytes, copies::most_bytes(&task.op));
        let ([activations, floats, results], packed) =
            tasks.map(need).fold(([0; 3], 0), |(most, packed), (bytes, copy)| {
                ([0, 1, 2].map(|i| most[i].max(bytes[i])), packed.max(copy))
            });
        let mut fill = |bytes: usize, dtype: DType| -> Result<Memory> {
            // A block that is not a multiple of any extent, again and again.
            let block: Vec<u8> = match dtype {
                DType::F32 => numbers(1_000_003).flat_map(f32::to_le_bytes).collect(),
                DType::Bf16 => {
                    numbers(1_000_003).flat_map(|v| half::bf16::from_f32(v).to_le_bytes()).collect()
                }
                DType::F16 => numbers(1_000_003).flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect(),
            };
            let memory = engine.machine.alloc(bytes)?;
            for offset in (0..bytes).step_by(block.len()) {
                engine.machine.upload(&memory, offset, &block[..block.len().min(bytes - offset)])?;
            }
            Ok(memory)
        };
        let activations = fill(activations, dtype)?;
        let floats = fill(floats, DType::F32)?;
        let (packed, results) = (engine.machine.alloc(packed)?, engine.machine.alloc(results)?);
        Ok(Lab { activations, floats, packed, results })
    }

    fn operands(&self, task: &Task) -> Operands {
        let Layout { activations, floats, results, .. } = Layout::of(task);
        let [x, residual, dz, y] = activations.map(|at| self.activations.address() + at as u64);
        let [w, affine, first, second, coeffs, bias] = floats.map(|at| self.floats.address() + at as u64);
        let [result, sums, other] = results.map(|at| self.results.address() + at as u64);
        Operands {
            x,
            residual,
            dz,
            y,
            w,
            affine,
            moments: [first, second],
            coeffs,
            bias,
            result,
            sums: [sums, other],
        }
    }

    /// The side of the product whose weights a task reads.
    fn side(task: &Task) -> Option<Side> {
        match task.form {
            Form::Forward { .. } => Some(Side::Forward),
            Form::BackwardData { .. } => Some(Side::BackwardData),
            Form::BackwardWeight { .. } => None,
        }
    }

    /// Weights as the way keeps them from step to step: a step does not make them, so a trial is not to time that.
    fn pack(&self, engine: &mut Engine, task: &Task, way: &Way) -> Result<()> {
        let kept = Self::side(task).and_then(|side| copies::kept(way, &task.op, side));
        let w = self.operands(task).w;
        kept.map_or(Ok(()), |(element, side)| {
            copies::pack(engine, &task.op, element, side, (w, self.packed.address()))
        })
    }

    fn packed(&self, task: &Task, way: &Way) -> u64 {
        let kept = Self::side(task).and_then(|side| copies::kept(way, &task.op, side));
        kept.map_or(0, |_| self.packed.address())
    }

    fn run(&self, engine: &mut Engine, task: &Task, way: &Way) -> Result<()> {
        let Operands { x, residual, dz, y, w, affine, moments, coeffs, bias, result, sums } =
            self.operands(task);
        let packed = self.packed(task, way);
        let source = |reads: Reads| match reads {
            Reads::Raw => SourceArgs::raw(x),
            Reads::Norm => SourceArgs { affine, relu: 1, ..SourceArgs::raw(x) },
            Reads::Other => SourceArgs { affine, residual, relu: 1, ..SourceArgs::raw(x) },
        };
        let gradient = |through_norm: bool| {
            let plain = GradSourceArgs::raw(dz);
            if through_norm { GradSourceArgs { coeffs, y, ..plain } } else { plain }
        };
        let if_wanted = |wanted: bool, address: u64| if wanted { address } else { 0 };
        match task.form {
            Form::Forward { x, bias: biased, sums: summed } => {
                let (bias, sums) = (if_wanted(biased, bias), if_wanted(summed, sums[0]));
                forward::run(
                    engine,
                    task,
                    way,
                    &forward::Inputs { x: source(x), w, packed, bias, y: result, sums },
                )
            }
            Form::BackwardData { through_norm, dx } => {
                let mut args = GradOutArgs::set(result);
                match dx {
                    Writes::Plain => {}
                    Writes::Norm => args.mask = source(Reads::Norm),
                    Writes::Block | Writes::BlockTwice => {
                        args.mask = source(Reads::Raw);
                        args.add = residual;
                    }
                    Writes::Other => {
                        args.mask = source(Reads::Norm);
                        args.add = residual;
                    }
                }
                let mut to = [0; 2];
                for i in 0..dx.norms() {
                    // Towards a normalisation inside a block it is the masking tensor; elsewhere any will do.
                    let raw = if i == 0 && dx != Writes::Norm { residual } else { x };
                    args.sums[i] = GradSumsArgs { y: raw, moments: moments[i], partials: 0 };
                    to[i] = sums[i];
                }
                let dx = CheckedGradOut { args, sums: to };
                let inputs = backward_data::Inputs { dy: gradient(through_norm), w, packed, dx };
                backward_data::run(engine, task, way, &inputs)
            }
            Form::BackwardWeight { x, through_norm } => {
                let (x, dy) = (source(x), gradient(through_norm));
                let inputs = backward_weight::Inputs { x, dy, dw: result, accumulate: 0 };
                backward_weight::run(engine, task, way, &inputs)
            }
        }
    }

    /// Runs a task and reads part of its result.
    ///
    /// # Errors
    /// What the way refuses; device errors.
    pub(super) fn result(&self, engine: &mut Engine, task: &Task, way: &Way) -> Result<Sample> {
        let written = task.result_desc();
        let (n, dtype) = (written.len(), written.dtype);
        // What is not written stays NaN and is found.
        let each = element_bytes(dtype);
        engine.machine.fill(&self.results, 0, self.results.bytes(), 0xff)?;
        self.pack(engine, task, way)?;
        self.run(engine, task, way)?;
        let mut parts = Vec::new();
        let mut bytes = vec![0; n.min(AT_ONE) * each];
        for place in 0..PLACES {
            let first = (n - n.min(AT_ONE)) * place / (PLACES - 1);
            engine.machine.download(&self.results, first * each, &mut bytes)?;
            let numbers = bytes.chunks_exact(each).map(|bytes| f64::from(number(dtype, bytes)));
            parts.push(("results", numbers.collect()));
        }
        let (channels, norms) = task.summed();
        // Two rows: mean and squares around it, or two sums of the gradient.
        let mut rows = vec![0; 2 * channels * size_of::<f64>()];
        for (at, names) in Layout::of(task).results[1..]
            .iter()
            .zip([["first sums", "second sums"], ["third sums", "fourth sums"]])
            .take(norms)
        {
            engine.machine.download(&self.results, *at, &mut rows)?;
            let f64s: Vec<f64> = rows.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
            parts.extend(names.into_iter().zip(f64s.chunks_exact(channels.max(1)).map(<[f64]>::to_vec)));
        }
        Ok(Sample(parts))
    }

    /// How long a task takes on the device.
    ///
    /// # Errors
    /// What the way refuses; device errors.
    pub(super) fn milliseconds(&self, engine: &mut Engine, task: &Task, way: &Way) -> Result<f32> {
        let from = engine.machine.stamp()?;
        self.run(engine, task, way)?;
        let to = engine.machine.stamp()?;
        engine.machine.milliseconds(&from, &to)
    }
}

fn number(dtype: DType, bytes: &[u8]) -> f32 {
    match (dtype, bytes) {
        (DType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        (DType::Bf16, &[a, b]) => half::bf16::from_le_bytes([a, b]).to_f32(),
        (DType::F16, &[a, b]) => half::f16::from_le_bytes([a, b]).to_f32(),
        _ => f32::NAN,
    }
}

impl Sample {
    /// Whether two ways computed the same, part by part, by the norm of the difference over that of the part. The first and the last
    /// place of a result lie at the border of a picture, where a halo that is not zero shows.
    ///
    /// # Errors
    /// How far apart they are.
    pub(super) fn agrees_with(&self, wanted: &Sample) -> std::result::Result<(), String> {
        for ((what, got), (_, wanted)) in self.0.iter().zip(&wanted.0) {
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let difference = norm(&mut got.iter().zip(wanted).map(|(got, wanted)| got - wanted));
            let size = norm(&mut wanted.iter().copied());
            // Not `>`, which would let a NaN pass.
            let near = difference <= APART * size;
            if !near {
                let apart = difference / size;
                return Err(format!(
                    "its {what} are {apart:.3} of their size away from those of this crate's kernels, so it is not used"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(numbers: impl Iterator<Item = f32>) -> Sample {
        let first: Vec<f64> = numbers.map(f64::from).collect();
        let sums = first.iter().map(|v| 1e-6 * v).collect();
        Sample(vec![("results", first), ("first sums", sums)])
    }

    #[test]
    fn roundings_agree_and_other_results_do_not() {
        let wanted = sample(numbers(1000));
        let with = |f: fn(usize, f32) -> f32| sample(numbers(1000).enumerate().map(|(i, v)| f(i, v)));
        assert_eq!(with(|_, v| v).agrees_with(&wanted), Ok(()));
        let rounded = |i: usize, v: f32| v * if i.is_multiple_of(2) { 1.0 + 1.0 / 256.0 } else { 1.0 };
        assert_eq!(with(rounded).agrees_with(&wanted), Ok(()));
        let one_is_missing = |i: usize, v: f32| if i == 7 { f32::NAN } else { v };
        for wrong in [with(|_, v| -v), with(|_, v| 2.0 * v), with(|_, _| 0.0), with(one_is_missing)] {
            let error = wrong.agrees_with(&wanted).expect_err("differs");
            assert!(error.contains("its results are"), "{error}");
        }
        assert!(sample(numbers(1001).skip(1)).agrees_with(&wanted).is_err());
        // Sums are compared for themselves, however small they are beside the result.
        let Sample(mut parts) = with(|_, v| v);
        parts[1].1.iter_mut().for_each(|v| *v = -*v);
        let error = Sample(parts).agrees_with(&wanted).expect_err("differs");
        assert!(error.contains("first sums"), "{error}");
    }

    #[test]
    fn numbers_are_held_by_every_type() {
        for v in numbers(1000) {
            assert!((-1.0..=1.0).contains(&v));
            assert_eq!(half::bf16::from_f32(v).to_f32(), v);
            assert_eq!(half::f16::from_f32(v).to_f32(), v);
        }
    }
}
