//! Where ways are tried: operands for any task, its result, and the device's clock.

use resnet_core::{DType, Result};

use super::task::{Form, Task};
use super::ways::Way;
use crate::buffer::{buffer_bytes, element_bytes};
use crate::engine::Engine;
use crate::machine::Memory;
use crate::ops::conv::{backward_data, backward_weight, forward};
use crate::source::{CheckedGradOut, GradOutArgs, GradSourceArgs, GradSumsArgs, SourceArgs};
use crate::tensor::Scratch;

/// Results further apart are those of different computations. Roundings of 16-bit numbers differ by 2⁻⁸ of a value, and errors of
/// long sums stay far below that; two results that have nothing to do with each other differ by more than their own size.
const APART: f64 = 1.0 / 16.0;

/// Numbers that are compared: so many in each of so many places.
const PLACES: usize = 4;
const AT_ONE: usize = 4096;

/// Memory for the operands and results of any of some tasks.
pub(super) struct Lab {
    /// Activations, pseudo-random in ±1.
    activations: Memory,
    /// Weights and tables, pseudo-random in ±1.
    floats: Memory,
    results: Memory,
}

/// Addresses of a task's operands, and where its result goes.
struct Operands {
    x: u64,
    residual: u64,
    dz: u64,
    y: u64,
    floats: u64,
    result: u64,
    sums: u64,
}

/// Parts of a result: some of its elements, and its sums, each of which is compared for itself.
pub(super) struct Sample(Vec<Vec<f64>>);

/// Bytes that a task needs of activations, of floats, and for its results.
fn bytes(task: &Task) -> [usize; 3] {
    let op = &task.op;
    let (x, y) = (buffer_bytes(&op.x_desc()), buffer_bytes(&op.y_desc()));
    let mut activations = Scratch::default();
    let _ = [x, x, y, y].map(|bytes| activations.take(bytes));
    let mut results = Scratch::default();
    let sums = 2 * task.summed_channels() * size_of::<f64>();
    let _ = [buffer_bytes(&task.result_desc()), sums].map(|bytes| results.take(bytes));
    // The longest table has three rows.
    let floats = op.w_desc().len().max(3 * op.c().max(op.k())) * size_of::<f32>();
    [activations.bytes(), floats, results.bytes()]
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
        let most = tasks.map(bytes).fold([0; 3], |most, of| [0, 1, 2].map(|i| most[i].max(of[i])));
        let [activations, floats, results] = most;
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
        Ok(Lab { activations, floats, results: engine.machine.alloc(results)? })
    }

    fn operands(&self, task: &Task) -> Operands {
        let op = &task.op;
        let (x, y) = (buffer_bytes(&op.x_desc()), buffer_bytes(&op.y_desc()));
        let mut activations = Scratch::default();
        let [x, residual, dz, y] =
            [x, x, y, y].map(|bytes| self.activations.address() + activations.take(bytes) as u64);
        let mut results = Scratch::default();
        results.take(buffer_bytes(&task.result_desc()));
        let sums = self.results.address() + results.bytes() as u64;
        Operands { x, residual, dz, y, floats: self.floats.address(), result: self.results.address(), sums }
    }

    fn run(&self, engine: &mut Engine, task: &Task, way: &Way) -> Result<()> {
        let Operands { x, residual, dz, y, floats, result, sums } = self.operands(task);
        let source = |evaluated: bool| {
            let plain = SourceArgs::raw(x);
            if evaluated { SourceArgs { affine: floats, relu: 1, ..plain } } else { plain }
        };
        let gradient = |evaluated: bool| {
            let plain = GradSourceArgs::raw(dz);
            if evaluated { GradSourceArgs { coeffs: floats, y, ..plain } } else { plain }
        };
        let if_wanted = |wanted: bool, address: u64| if wanted { address } else { 0 };
        match task.form {
            Form::Forward { evaluated, bias, sums: summed } => {
                let (bias, sums) = (if_wanted(bias, floats), if_wanted(summed, sums));
                let inputs =
                    forward::Inputs { x: source(evaluated), w: floats, packed: 0, bias, y: result, sums };
                forward::run(engine, task, way, &inputs)
            }
            Form::BackwardData { evaluated, epilogue } => {
                let mut args = GradOutArgs::set(result);
                if epilogue {
                    args.mask = source(true);
                    args.add = residual;
                    args.sums[0] = GradSumsArgs { y: x, moments: floats, partials: 0 };
                }
                let dx = CheckedGradOut { args, sums: [if_wanted(epilogue, sums), 0] };
                let inputs = backward_data::Inputs { dy: gradient(evaluated), w: floats, packed: 0, dx };
                backward_data::run(engine, task, way, &inputs)
            }
            Form::BackwardWeight { x: evaluated, dy } => {
                let (x, dy) = (source(evaluated), gradient(dy));
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
        self.run(engine, task, way)?;
        let mut sample = Vec::new();
        let mut bytes = vec![0; n.min(AT_ONE) * each];
        for place in 0..PLACES {
            let first = (n - n.min(AT_ONE)) * place / (PLACES - 1);
            engine.machine.download(&self.results, first * each, &mut bytes)?;
            sample.extend(bytes.chunks_exact(each).map(|bytes| f64::from(number(dtype, bytes))));
        }
        let mut parts = vec![sample];
        let channels = task.summed_channels();
        if channels == 0 {
            return Ok(Sample(parts));
        }
        // Two rows: mean and squares around it, or two sums of the gradient.
        let mut rows = vec![0; 2 * channels * size_of::<f64>()];
        let first = (n * each).next_multiple_of(256);
        engine.machine.download(&self.results, first, &mut rows)?;
        let f64s: Vec<f64> = rows.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        parts.extend(f64s.chunks_exact(channels).map(<[f64]>::to_vec));
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
    /// Whether two ways computed the same, by the norm of the difference over that of the result.
    ///
    /// # Errors
    /// How far apart they are.
    pub(super) fn agrees_with(&self, wanted: &Sample) -> std::result::Result<(), String> {
        for (what, (got, wanted)) in
            ["results", "first sums", "second sums"].iter().zip(self.0.iter().zip(&wanted.0))
        {
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
        Sample(vec![first.clone(), first.iter().map(|v| 1e-6 * v).collect()])
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
        parts[1].iter_mut().for_each(|v| *v = -*v);
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
