//! Which engines run a graph on a device, and plans.

use std::rc::Rc;

use super::library::{Cudnn, Descriptor, Value};
use super::names::{
    Attribute, HEURISTIC_A, HEURISTIC_FALLBACK, Kind, NONDETERMINISTIC, RUNTIME_COMPILATION, Type,
};
use super::{CudnnError, Graph};

type Result<T> = std::result::Result<T, CudnnError>;

/// Configurations asked of one mode of the heuristics at most.
const MOST: usize = 64;

/// Notes that an engine may carry at most.
const NOTES: usize = 16;

/// The device that plans are made for, by its description.
pub struct Target {
    library: Cudnn,
    device: Rc<Descriptor>,
}

/// One way to run a graph: an engine with its settings.
pub struct Engine {
    config: Rc<Descriptor>,
    /// cuDNN's number for the engine, among those for this kind of graph.
    pub index: i64,
    /// Whether it is compiled for the graph when a plan is made.
    pub compiled_at_run_time: bool,
    /// Whether it gives the same bits on every run.
    pub deterministic: bool,
}

/// What is executed.
pub struct Plan {
    plan: Rc<Descriptor>,
}

impl Target {
    /// A device by its description; see [`device`](super::device).
    ///
    /// # Errors
    /// A description that cuDNN cannot read.
    pub fn described(library: &Cudnn, json: &str) -> Result<Self> {
        let mut device = library.descriptor(Kind::DeviceProperties)?;
        device.set(Attribute::DeviceJson, Value::Text(json))?;
        Ok(Target { library: library.clone(), device: device.finish()? })
    }

    /// Every way to run a graph, those expected to be fast first, fallbacks last.
    ///
    /// # Errors
    /// A graph that no engine runs, with what cuDNN says about it.
    pub fn engines(&self, graph: Graph) -> Result<Vec<Engine>> {
        let graph = graph.finish()?;
        let mut engines = Vec::new();
        let mut refused = None;
        for mode in [HEURISTIC_A, HEURISTIC_FALLBACK] {
            // A mode that knows nothing about a graph refuses it; the other may still know something.
            match self.heuristics(&graph, mode) {
                Ok(found) => engines.extend(found),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) if engines.is_empty() => Err(error),
            _ => Ok(engines),
        }
    }

    fn heuristics(&self, graph: &Rc<Descriptor>, mode: i32) -> Result<Vec<Engine>> {
        let mut heuristics = self.library.descriptor(Kind::Heuristics)?;
        heuristics.set(Attribute::HeuristicsGraph, Value::Descriptors(&[graph]))?;
        heuristics.set(Attribute::HeuristicsMode, Value::Mode(Type::HeuristicMode, mode))?;
        heuristics.set(Attribute::HeuristicsDevice, Value::Descriptors(&[&self.device]))?;
        let heuristics = heuristics.finish()?;
        let room =
            (0..MOST).map(|_| self.library.descriptor(Kind::EngineConfig)).collect::<Result<Vec<_>>>()?;
        let n = heuristics.fill(Attribute::HeuristicsResults, &room)?;
        room.into_iter().take(n).map(|config| Engine::read(config.filled())).collect()
    }

    /// Makes the plan of an engine; engines that are compiled at run time are compiled now.
    ///
    /// # Errors
    /// What the engine finds it cannot do after all.
    pub fn plan(&self, engine: &Engine) -> Result<Plan> {
        let mut plan = self.library.descriptor(Kind::Plan)?;
        plan.set(Attribute::PlanConfig, Value::Descriptors(&[&engine.config]))?;
        plan.set(Attribute::PlanDevice, Value::Descriptors(&[&self.device]))?;
        Ok(Plan { plan: plan.finish()? })
    }

    /// A plan from what [`Plan::json`] gave, by the same version for the same device.
    ///
    /// # Errors
    /// Text that is no plan of this version and device.
    pub fn plan_from_json(&self, json: &str) -> Result<Plan> {
        let mut plan = self.library.descriptor(Kind::Plan)?;
        plan.set(Attribute::PlanJson, Value::Text(json))?;
        plan.set(Attribute::PlanDevice, Value::Descriptors(&[&self.device]))?;
        Ok(Plan { plan: plan.finish()? })
    }
}

impl Engine {
    fn read(config: Rc<Descriptor>) -> Result<Self> {
        let room = [config.library().descriptor(Kind::Engine)?];
        config.fill(Attribute::ConfigEngine, &room)?;
        let [engine] = room;
        let index = engine.numbers::<i64>(Attribute::EngineIndex, Type::Int64, 1)?;
        let behavior = engine.numbers::<i32>(Attribute::EngineBehaviorNote, Type::BehaviorNote, NOTES)?;
        let numerics = engine.numbers::<i32>(Attribute::EngineNumericalNote, Type::NumericalNote, NOTES)?;
        Ok(Engine {
            config,
            index: index.first().copied().unwrap_or(-1),
            compiled_at_run_time: behavior.contains(&RUNTIME_COMPILATION),
            deterministic: !numerics.contains(&NONDETERMINISTIC),
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
}
