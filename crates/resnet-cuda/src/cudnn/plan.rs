//! Which engines run a graph on a device, and plans.

use std::rc::Rc;

use super::graph::Operand;
use super::library::{Cudnn, Descriptor, Handle, Value};
use super::names::{
    Attribute, HEURISTIC_A, HEURISTIC_B, HEURISTIC_FALLBACK, Kind, RUNTIME_COMPILATION, Type, note,
};
use super::{CudnnError, Graph};

type Result<T> = std::result::Result<T, CudnnError>;

/// Configurations asked of one mode of the heuristics at most.
const MOST: usize = 64;

/// Notes that an engine may carry at most.
const NOTES: usize = 16;

/// The device that plans are made for: by its description, or the one that will run them.
#[derive(Clone)]
pub struct Target {
    library: Cudnn,
    device: Device,
}

#[derive(Clone)]
enum Device {
    Described(Rc<Descriptor>),
    Here(Rc<Handle>),
}

/// One way to run a graph: an engine with its settings.
pub struct Engine {
    config: Rc<Descriptor>,
    operands: Rc<[(Operand, i64)]>,
    /// cuDNN's number for the engine, among those for this kind of graph.
    pub index: i64,
    /// Whether it is compiled for the graph when a plan is made.
    pub compiled_at_run_time: bool,
    /// What is said of its arithmetic.
    pub numerics: Numerics,
}

/// What cuDNN says of an engine's arithmetic (`cudnnBackendNumericalNote_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numerics(Vec<i32>);

/// How operands may be rounded as they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Not at all: f32 stays f32, and 16-bit operands are what they are in memory.
    None,
    /// f32 to 10 bits of mantissa.
    Tf32,
}

impl Numerics {
    /// Whether it gives the same bits on every run.
    pub fn deterministic(&self) -> bool {
        !self.0.contains(&note::NONDETERMINISTIC)
    }

    /// Whether an engine may be used: it repeats its bits, sums products plainly (neither Winograd's algorithm nor Fourier transforms,
    /// whose errors no bound here covers) in f32, and rounds operands no more than it is allowed to. `narrow`: operands of 16 bits.
    pub fn allowed(&self, narrow: bool, rounding: Rounding) -> bool {
        let refused = |note: &i32| match *note {
            note::NONDETERMINISTIC | note::REDUCED_PRECISION_REDUCTION | note::FFT => true,
            note::TENSOR_CORE | note::DOWN_CONVERT_INPUTS => !narrow && rounding == Rounding::None,
            other => note::WINOGRAD.contains(&other),
        };
        !self.0.iter().any(refused)
    }
}

/// What is executed.
pub struct Plan {
    plan: Rc<Descriptor>,
    device: Device,
    operands: Rc<[(Operand, i64)]>,
}

impl Target {
    /// A device by its description; see [`device`](super::device).
    ///
    /// # Errors
    /// A description that cuDNN cannot read.
    pub fn described(library: &Cudnn, json: &str) -> Result<Self> {
        let mut device = library.descriptor(Kind::DeviceProperties)?;
        device.set(Attribute::DeviceJson, Value::Text(json))?;
        Ok(Target { library: library.clone(), device: Device::Described(device.finish()?) })
    }

    /// The device of a handle. Plans run on its stream.
    pub(crate) fn here(handle: Handle) -> Self {
        Target { library: handle.library().clone(), device: Device::Here(Rc::new(handle)) }
    }

    /// The library.
    pub fn library(&self) -> &Cudnn {
        &self.library
    }

    /// Every way to run a graph, those expected to be fast first, fallbacks last. An engine with the same settings may come twice.
    ///
    /// # Errors
    /// A graph that no engine runs, with what cuDNN says about it.
    pub fn engines(&self, graph: Graph) -> Result<Vec<Engine>> {
        let operands: Rc<[(Operand, i64)]> = graph.operands().into();
        let graph = graph.finish(match &self.device {
            Device::Here(handle) => Some(handle),
            Device::Described(_) => None,
        })?;
        let mut engines = Vec::new();
        let mut refused = None;
        for mode in [HEURISTIC_A, HEURISTIC_B, HEURISTIC_FALLBACK] {
            // A mode that knows nothing about a graph refuses it; the others may still know something.
            match self.heuristics(&graph, &operands, mode) {
                Ok(found) => engines.extend(found),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) if engines.is_empty() => Err(error),
            _ => Ok(engines),
        }
    }

    fn heuristics(
        &self,
        graph: &Rc<Descriptor>,
        operands: &Rc<[(Operand, i64)]>,
        mode: i32,
    ) -> Result<Vec<Engine>> {
        let mut heuristics = self.library.descriptor(Kind::Heuristics)?;
        heuristics.set(Attribute::HeuristicsGraph, Value::Descriptors(&[graph]))?;
        heuristics.set(Attribute::HeuristicsMode, Value::Mode(Type::HeuristicMode, mode))?;
        if let Device::Described(device) = &self.device {
            heuristics.set(Attribute::HeuristicsDevice, Value::Descriptors(&[device]))?;
        }
        let heuristics = heuristics.finish()?;
        let room =
            (0..MOST).map(|_| self.library.descriptor(Kind::EngineConfig)).collect::<Result<Vec<_>>>()?;
        let n = heuristics.fill(Attribute::HeuristicsResults, &room)?;
        room.into_iter().take(n).map(|config| Engine::read(config.filled(), operands)).collect()
    }

    /// A plan's descriptor, made for this device.
    fn blank(&self) -> Result<Descriptor> {
        let mut plan = self.library.descriptor(Kind::Plan)?;
        match &self.device {
            Device::Described(device) => plan.set(Attribute::PlanDevice, Value::Descriptors(&[device]))?,
            Device::Here(handle) => plan.set(Attribute::PlanHandle, Value::Handle(handle))?,
        }
        Ok(plan)
    }

    /// Makes the plan of an engine; engines that are compiled at run time are compiled now.
    ///
    /// # Errors
    /// What the engine finds it cannot do after all.
    pub fn plan(&self, engine: &Engine) -> Result<Plan> {
        let mut plan = self.blank()?;
        plan.set(Attribute::PlanConfig, Value::Descriptors(&[&engine.config]))?;
        let operands = Rc::clone(&engine.operands);
        Ok(Plan { plan: plan.finish()?, device: self.device.clone(), operands })
    }

    /// A plan from what [`Plan::json`] gave, by the same version for the same device, of a graph with these operands.
    ///
    /// # Errors
    /// Text that is no plan of this version and device.
    pub fn plan_from_json(&self, json: &str, operands: &[(Operand, i64)]) -> Result<Plan> {
        let mut plan = self.blank()?;
        plan.set(Attribute::PlanJson, Value::Text(json))?;
        Ok(Plan { plan: plan.finish()?, device: self.device.clone(), operands: operands.into() })
    }
}

impl Engine {
    fn read(config: Rc<Descriptor>, operands: &Rc<[(Operand, i64)]>) -> Result<Self> {
        let room = [config.library().descriptor(Kind::Engine)?];
        config.fill(Attribute::ConfigEngine, &room)?;
        let [engine] = room;
        let index = engine.numbers::<i64>(Attribute::EngineIndex, Type::Int64, 1)?;
        let behavior = engine.numbers::<i32>(Attribute::EngineBehaviorNote, Type::BehaviorNote, NOTES)?;
        let numerics = engine.numbers::<i32>(Attribute::EngineNumericalNote, Type::NumericalNote, NOTES)?;
        Ok(Engine {
            config,
            operands: Rc::clone(operands),
            index: index.first().copied().unwrap_or(-1),
            compiled_at_run_time: behavior.contains(&RUNTIME_COMPILATION),
            numerics: Numerics(numerics),
        })
    }
}

impl Plan {
    /// Memory it needs while it runs.
    ///
    /// # Errors
    /// What cuDNN refuses to tell.
    pub fn workspace_bytes(&self) -> Result<usize> {
        let bytes = self.plan.numbers::<i64>(Attribute::PlanWorkspace, Type::Int64, 1)?;
        Ok(bytes.first().and_then(|&bytes| usize::try_from(bytes).ok()).unwrap_or(0))
    }

    /// The plan as text, to be kept.
    ///
    /// # Errors
    /// What cuDNN refuses to tell.
    pub fn json(&self) -> Result<String> {
        self.plan.text(Attribute::PlanJson)
    }

    /// Puts the plan into the stream's queue. It allocates nothing on the device and waits for nothing, so it can be captured.
    ///
    /// `address` tells where each operand lies: a live allocation that is long enough, aligned to 16 bytes. So is `workspace`, of
    /// [`Plan::workspace_bytes`].
    ///
    /// # Errors
    /// What cuDNN refuses; a plan for a device that was only described.
    pub fn execute(&self, address: impl Fn(Operand) -> u64, workspace: u64) -> Result<()> {
        let Device::Here(handle) = &self.device else { return Err(CudnnError::NotHere) };
        let ids: Vec<i64> = self.operands.iter().map(|&(_, id)| id).collect();
        let addresses: Vec<u64> = self.operands.iter().map(|&(operand, _)| address(operand)).collect();
        let mut pack = handle.library().descriptor(Kind::VariantPack)?;
        pack.set(Attribute::PackIds, Value::Int64(&ids))?;
        pack.set(Attribute::PackAddresses, Value::Addresses(&addresses))?;
        pack.set(Attribute::PackWorkspace, Value::Addresses(&[workspace]))?;
        handle.execute(&self.plan, &*pack.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_decide_which_engines_are_allowed() {
        let engine = |notes: &[i32]| Numerics(notes.to_vec());
        let plain = engine(&[]);
        assert!(plain.allowed(false, Rounding::None) && plain.deterministic());
        // Matrix instructions round nothing of 16-bit operands, and f32 only where that was asked for.
        let matrix = engine(&[note::TENSOR_CORE, note::DOWN_CONVERT_INPUTS]);
        assert!(matrix.allowed(true, Rounding::None) && matrix.allowed(false, Rounding::Tf32));
        assert!(!matrix.allowed(false, Rounding::None));
        for refused in [note::NONDETERMINISTIC, note::REDUCED_PRECISION_REDUCTION, note::FFT]
            .into_iter()
            .chain(note::WINOGRAD)
        {
            let engine = engine(&[note::TENSOR_CORE, refused]);
            assert!(!engine.allowed(true, Rounding::None) && !engine.allowed(false, Rounding::Tf32));
        }
        assert!(!engine(&[note::NONDETERMINISTIC]).deterministic());
    }
}
