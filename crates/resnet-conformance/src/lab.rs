//! What every law does with a backend: put tensors on it, poison what must be overwritten, read results back.

use resnet_core::{Arithmetic, Backend, HostData, HostDataMut, Result, Role, TensorDesc};

use crate::bound::Bounded;
use crate::reference::{Buffer, Reference};

/// Short forms for tests.
pub(crate) trait Lab: Backend {
    /// A buffer with this tensor. It lies in memory that held NaN before, so that nothing depends on zeroed memory.
    fn put(&mut self, desc: TensorDesc, values: &[f32]) -> Result<Self::Buffer> {
        let mut buffer = self.poisoned(desc)?;
        self.upload(&desc, HostData::F32(values), &mut buffer)?;
        Ok(buffer)
    }

    /// A buffer of bytes: pixels or window positions.
    fn put_u8(&mut self, desc: TensorDesc, values: &[u8]) -> Result<Self::Buffer> {
        let mut buffer = self.poisoned(desc)?;
        self.upload(&desc, HostData::U8(values), &mut buffer)?;
        Ok(buffer)
    }

    /// A buffer of labels.
    fn put_labels(&mut self, values: &[u32]) -> Result<Self::Buffer> {
        let desc = TensorDesc::labels(values.len());
        let mut buffer = self.poisoned(desc)?;
        self.upload(&desc, HostData::U32(values), &mut buffer)?;
        Ok(buffer)
    }

    /// A buffer for this tensor, filled with NaN.
    fn poisoned(&mut self, desc: TensorDesc) -> Result<Self::Buffer> {
        let bytes = self.buffer_bytes(&desc);
        let mut buffer = self.alloc(bytes)?;
        if let Some(all) = self.table_in(bytes) {
            self.upload(&all, HostData::F32(&vec![f32::NAN; all.c]), &mut buffer)?;
        }
        Ok(buffer)
    }

    /// The longest table of one row that fits into this many bytes: a way to see a buffer as plain numbers.
    fn table_in(&self, bytes: usize) -> Option<TensorDesc> {
        let fits = |c: &usize| self.buffer_bytes(&TensorDesc::table(1, *c)) <= bytes;
        // A backend may pad its tables, so look for the longest that fits.
        let mut c = bytes / 4;
        while c > 0 && !fits(&c) {
            let needed = self.buffer_bytes(&TensorDesc::table(1, c));
            c = usize::min(c - 1, (c as u128 * bytes as u128 / needed as u128) as usize);
        }
        (c > 0).then(|| TensorDesc::table(1, c))
    }

    /// The tensor in a buffer, whatever its type, as f32.
    fn get(&mut self, desc: TensorDesc, buffer: &Self::Buffer) -> Result<Vec<f32>> {
        match desc.role {
            Role::Pixels | Role::Index => {
                let mut bytes = vec![0; desc.len()];
                self.download(&desc, buffer, HostDataMut::U8(&mut bytes))?;
                Ok(bytes.into_iter().map(f32::from).collect())
            }
            _ => {
                let mut values = vec![0.0; desc.len()];
                self.download(&desc, buffer, HostDataMut::F32(&mut values))?;
                Ok(values)
            }
        }
    }
}

impl<B: Backend> Lab for B {}

/// A result left in a buffer.
#[derive(Debug)]
pub(crate) struct Output<Buf> {
    pub(crate) name: &'static str,
    pub(crate) desc: TensorDesc,
    pub(crate) buffer: Buf,
}

/// Makes an [`Output`].
pub(crate) fn output<Buf>(name: &'static str, desc: TensorDesc, buffer: Buf) -> Output<Buf> {
    Output { name, desc, buffer }
}

/// Something to compute on any backend: the reference and the one under test get the same inputs.
pub(crate) trait Case: std::fmt::Debug {
    /// The backend method, for messages and tables.
    fn op(&self) -> &'static str;

    /// How a backend sums its products.
    fn arithmetic<B: Backend>(&self, _backend: &B) -> Arithmetic {
        Arithmetic::Sums
    }

    /// Computes it and hands back everything that was written.
    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>>;
}

/// Worst errors of a backend against the reference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Worst {
    pub(crate) relative: f64,
    pub(crate) over_bound: f64,
}

/// Runs a case on a backend and on the reference, and compares every element of every output.
///
/// # Errors
/// A message that names op, output, element index, what was got and wanted, and the bound.
pub(crate) fn compare<B: Backend>(
    backend: &mut B,
    case: &impl Case,
    worst: &mut Worst,
) -> std::result::Result<(), String> {
    let op = case.op();
    let wanted = case
        .run(&mut Reference::bounding(case.arithmetic(backend)))
        .map_err(|e| format!("{op}: the reference failed: {e}"))?;
    let outputs = case.run(backend).map_err(|e| format!("{op}: {}: {e}", backend.name()))?;
    compare_outputs(backend, op, &outputs, &wanted, worst)
}

/// Compares every element of every output of a backend with the reference's.
///
/// # Errors
/// As [`compare`].
pub(crate) fn compare_outputs<B: Backend>(
    backend: &mut B,
    op: &str,
    outputs: &[Output<B::Buffer>],
    wanted: &[Output<Buffer<Bounded>>],
    worst: &mut Worst,
) -> std::result::Result<(), String> {
    let mut failure = None;
    for (output, wanted) in outputs.iter().zip(wanted) {
        let got = backend.get(output.desc, &output.buffer).map_err(|e| format!("{op}: download: {e}"))?;
        let wanted = &wanted.buffer.values()[..got.len()];
        if let Err(message) = compare_values(&got, wanted, worst) {
            failure.get_or_insert(format!("{op}: output `{}` ({}): {message}", output.name, output.desc));
        }
    }
    failure.map_or(Ok(()), Err)
}

fn compare_values(got: &[f32], wanted: &[Bounded], worst: &mut Worst) -> std::result::Result<(), String> {
    let largest = wanted.iter().map(|w| w.value.abs()).filter(|w| w.is_finite()).fold(0.0, f64::max);
    let mut failure = None;
    for (i, (&got, wanted)) in got.iter().zip(wanted).enumerate() {
        let got = f64::from(got);
        let over = wanted.over(got);
        if largest > 0.0 && wanted.value.is_finite() {
            worst.relative = worst.relative.max((got - wanted.value).abs() / largest);
        }
        worst.over_bound = worst.over_bound.max(over);
        if over > 1.0 {
            failure.get_or_insert_with(|| {
                let (value, lo, hi) = (wanted.value, wanted.lo - wanted.value, wanted.hi - wanted.value);
                format!("element {i}: got {got:e}, wanted {value:e}, bound {lo:+.3e} {hi:+.3e}, {over:.3} times the bound")
            });
        } else if !(wanted.lo.is_finite() && wanted.hi.is_finite()) && wanted.value.is_finite() {
            failure.get_or_insert_with(|| {
                format!("element {i}: the bound around {} is not finite", wanted.value)
            });
        }
    }
    failure.map_or(Ok(()), Err)
}
