//! How far rounding throws a whole computation off, found by trying.
//!
//! A bound that holds for any input grows with every layer and says nothing about a network after ten of them.
//! So networks are compared by what f32 rounding *does* to them: the reference is run a few times over [`Noisy`] numbers, which spoil
//! the result of every single operation by a random error of up to one unit roundoff of f32.
//! Where activations have 16 bits, what is stored or multiplied is spoiled by up to one unit roundoff of their type besides.
//! The spread of the results is the effect of rounding on this network with these weights and this batch, its chaos included:
//! ReLUs that flip, pools whose winner changes, optimizers that divide by almost nothing.
//!
//! # The test
//! Let `r` be the root mean square, over `N = 8` noisy runs, of the distance (L2, per tensor) to the run without noise.
//! A backend whose rounding is no worse than that of plain loops in f32 has a distance of the same distribution.
//! In one dimension, where chance is largest, the ratio of a normal variable to the root mean square of 8 others has Student's
//! distribution with 8 degrees of freedom; it exceeds [`UNLIKELY`] `= 12` with a probability of 2·10⁻⁶.
//! In more dimensions, which average, it does so more rarely still.
//! A backend that sums in blocks or fuses multiplications rounds less than plain loops do, which leaves further room.
//!
//! # Source
//! Vignes, *A stochastic arithmetic for reliable scientific computation*, 1993 (CESTAC); Parker, *Monte Carlo Arithmetic*, 1997.

use std::ops::{Add, Div, Mul, Neg, Sub};

use resnet_core::{Backend, DType};

use crate::bound::U;
use crate::number::{Number, Sum, unit_roundoff};
use crate::reference::Reference;

/// How many noisy runs are made.
pub const N_RUNS: usize = 8;

/// A distance of more than this many times the noisy runs' is no chance.
pub const UNLIKELY: f64 = 12.0;

/// An f64 whose every operation is off by up to one unit roundoff of f32. The seed chooses the errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noisy<const SEED: u64>(f64);

impl<const SEED: u64> Noisy<SEED> {
    fn spoiled(x: f64) -> Self {
        Self::spoiled_by(x, U)
    }

    fn spoiled_by(x: f64, roundoff: f64) -> Self {
        // The error follows from the value, as a rounding error does.
        let mut z = x.to_bits() ^ SEED.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = (z ^ (z >> 31)) as i64 as f64 / i64::MAX as f64;
        Self(x * (1.0 + roundoff * unit))
    }
}

macro_rules! spoiled_operation {
    ($trait:ident, $method:ident, $op:tt) => {
        impl<const SEED: u64> $trait for Noisy<SEED> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                Self::spoiled(self.0 $op other.0)
            }
        }
    };
}
spoiled_operation!(Add, add, +);
spoiled_operation!(Sub, sub, -);
spoiled_operation!(Mul, mul, *);
spoiled_operation!(Div, div, /);

impl<const SEED: u64> Neg for Noisy<SEED> {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl<const SEED: u64> Number for Noisy<SEED> {
    type Sum = Self;

    fn exact(value: f64) -> Self {
        Self(value)
    }
    fn rounded(value: f64) -> Self {
        Self::spoiled(value)
    }
    fn value(self) -> f64 {
        self.0
    }
    fn sqrt(self) -> Self {
        Self::spoiled(Number::sqrt(self.0))
    }
    fn exp(self) -> Self {
        Self::spoiled(self.0.exp())
    }
    fn ln(self) -> Self {
        Self::spoiled(self.0.ln())
    }
    fn max(self, other: Self) -> Self {
        Self(Number::max(self.0, other.0))
    }
    fn min(self, other: Self) -> Self {
        Self(Number::min(self.0, other.0))
    }
    fn where_positive(self, gate: Self) -> Self {
        Self(self.0.where_positive(gate.0))
    }
    fn stored(self, dtype: DType) -> Self {
        match dtype {
            DType::F32 => self,
            _ => Self::spoiled_by(self.0, unit_roundoff(dtype)),
        }
    }
    fn operand(self, dtype: DType) -> Self {
        self.stored(dtype)
    }
}

impl<const SEED: u64> Sum<Noisy<SEED>> for Noisy<SEED> {
    fn add(&mut self, term: Self) {
        *self = *self + term;
    }
    fn total(&self) -> Self {
        *self
    }
}

/// A tensor of a whole computation, by name.
pub type Named = (String, Vec<f64>);

/// What any backend can compute.
pub trait Computation: Sync {
    /// Everything that is to be compared, the same tensors in the same order from every backend.
    ///
    /// # Errors
    /// What the backend returns.
    fn run<B: Backend>(&self, backend: &mut B) -> resnet_core::Result<Vec<Named>>;
}

fn noisy<C: Computation, const SEED: u64>(computation: &C) -> resnet_core::Result<Vec<Named>> {
    computation.run(&mut Reference::<Noisy<SEED>>::default())
}

/// How far a result is off, and how far it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The tensor's name.
    pub name: String,
    /// Its distance to the run without noise.
    pub off: f64,
    /// Root mean square of the noisy runs' distances.
    pub typical: f64,
    /// The largest distance that chance may be blamed for.
    pub allowed: f64,
}

impl Verdict {
    /// Whether rounding explains it. Written so that a NaN fails.
    pub fn holds(&self) -> bool {
        self.off <= self.allowed
    }
}

/// The results of the noisy runs and of the run without noise.
#[derive(Clone, Debug)]
pub struct Spread {
    exact: Vec<Named>,
    runs: Vec<Vec<Named>>,
}

impl Spread {
    /// Runs a computation in f64 and [`N_RUNS`] times over noisy numbers, side by side.
    ///
    /// # Errors
    /// What the computation returns.
    pub fn of<C: Computation>(computation: &C) -> resnet_core::Result<Self> {
        type Run<C> = fn(&C) -> resnet_core::Result<Vec<Named>>;
        let noisy: [Run<C>; N_RUNS] = [
            noisy::<C, 1>,
            noisy::<C, 2>,
            noisy::<C, 3>,
            noisy::<C, 4>,
            noisy::<C, 5>,
            noisy::<C, 6>,
            noisy::<C, 7>,
            noisy::<C, 8>,
        ];
        std::thread::scope(|scope| {
            let runs = noisy.map(|run| scope.spawn(move || run(computation)));
            let exact = computation.run(&mut Reference::new())?;
            let join = |run: std::thread::ScopedJoinHandle<'_, _>| match run.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            Ok(Self { exact, runs: runs.into_iter().map(join).collect::<resnet_core::Result<_>>()? })
        })
    }

    /// What the run without noise gave.
    pub fn exact(&self) -> &[Named] {
        &self.exact
    }

    /// Takes the results of the run without noise and of those with it, all with the same tensors in the same order.
    pub fn new(exact: Vec<Named>, runs: Vec<Vec<Named>>) -> Self {
        Self { exact, runs }
    }

    /// The first `n` tensors only.
    pub fn first(&self, n: usize) -> Self {
        Self {
            exact: self.exact[..n].to_vec(),
            runs: self.runs.iter().map(|run| run[..n].to_vec()).collect(),
        }
    }

    /// All but the first `n` tensors.
    pub fn rest(&self, n: usize) -> Self {
        Self {
            exact: self.exact[n..].to_vec(),
            runs: self.runs.iter().map(|run| run[n..].to_vec()).collect(),
        }
    }

    /// Judges results that were computed with a unit roundoff of `unit`, tensor by tensor. `floor` is a relative error that is allowed
    /// anyway, such as that of a download to f32. A tensor of another length is infinitely far off.
    pub fn judge(&self, got: &[Named], unit: f64, floor: f64) -> Vec<Verdict> {
        let judge = |(t, ((name, wanted), (_, got))): (usize, (&Named, &Named))| {
            let square: f64 = self.runs.iter().map(|run| distance(&run[t].1, wanted).powi(2)).sum();
            let typical = (square / self.runs.len() as f64).sqrt() * unit / U;
            let allowed = UNLIKELY * typical + floor * length(wanted);
            let off = if got.len() == wanted.len() { distance(got, wanted) } else { f64::INFINITY };
            Verdict { name: name.clone(), off, typical, allowed }
        };
        self.exact.iter().zip(got).enumerate().map(judge).collect()
    }

    /// As [`Spread::judge`].
    ///
    /// # Errors
    /// The first tensor that is farther off than rounding explains, and by how much.
    pub fn explain(&self, got: &[Named], unit: f64, floor: f64) -> Result<(), String> {
        let verdicts = self.judge(got, unit, floor);
        for (verdict, ((_, wanted), (_, got))) in verdicts.iter().zip(self.exact.iter().zip(got)) {
            let Verdict { name, off, typical, allowed } = verdict;
            if !verdict.holds() {
                let worst = (0..wanted.len().min(got.len()))
                    .max_by(|&i, &j| (got[i] - wanted[i]).abs().total_cmp(&(got[j] - wanted[j]).abs()))
                    .unwrap_or(0);
                return Err(format!(
                    "{name}: off by {off:.3e} where rounding explains {typical:.3e} (limit {allowed:.3e}, length {:.3e}); \
                     element {worst}: got {:e}, wanted {:e}",
                    length(wanted),
                    got.get(worst).copied().unwrap_or(f64::NAN),
                    wanted.get(worst).copied().unwrap_or(f64::NAN)
                ));
            }
        }
        Ok(())
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

fn length(a: &[f64]) -> f64 {
    a.iter().map(|a| a * a).sum::<f64>().sqrt()
}
