//! Convolutions as cuDNN is asked for them: which engines may be taken, and plans that are ready to run.

use std::cell::OnceCell;
use std::rc::Rc;

use resnet_core::DType;
use resnet_core::op::Conv2d;

use super::graph::Operand;
use super::names::DataType;
use super::pattern::End;
use super::plan::{Engine, Plan, Rounding, Target};
use super::{CudnnError, Pattern, error};

type Result<T> = std::result::Result<T, CudnnError>;

/// Engines that are tried for one graph at most, and how many of them may be compiled for it, which takes seconds each.
const MOST: usize = 8;
const MOST_COMPILED: usize = 1;
/// Settings that are tried of one engine.
const MOST_SETTINGS: usize = 2;

/// Memory that a plan may want while it runs. Those that want more copy operands into other layouts first.
const MOST_WORKSPACE: usize = 1 << 30;

/// cuDNN on a device, for convolutions.
pub struct Convolutions {
    target: Target,
}

/// An engine that may be taken for a graph. Its plan is made when it is asked for, once.
pub struct Candidate {
    pattern: Pattern,
    op: Conv2d,
    engine: Engine,
    plan: OnceCell<Rc<Prepared>>,
}

/// A plan and what it is a plan of.
pub struct Prepared {
    /// The graph.
    pub pattern: Pattern,
    /// The convolution as cuDNN computes it: channels of the input may be filled up, see [`padded`].
    pub op: Conv2d,
    /// cuDNN's number of the engine.
    pub engine: i64,
    /// Memory it needs while it runs.
    pub workspace_bytes: usize,
    plan: Plan,
}

/// The convolution that cuDNN is given for this one: 16-bit channels of the input are filled up to whole vectors of 16 bytes, because
/// its fast engines want them so. `None` where that does not do: then the kernels of this crate are taken.
pub fn padded(pattern: Pattern, op: &Conv2d) -> Option<Conv2d> {
    let vector = match op.dtype() {
        // Rows of tables begin at multiples of 16 bytes.
        DType::F32 => {
            return (!reads_tables(pattern) || op.c().is_multiple_of(4) && op.k().is_multiple_of(4))
                .then_some(*op);
        }
        DType::Bf16 | DType::F16 => 8,
    };
    if !op.k().is_multiple_of(vector) {
        return None; // the output would have to be cut to size afterwards
    }
    if op.c().is_multiple_of(vector) {
        return Some(*op);
    }
    // Tables have no numbers for channels that are filled up.
    if op.groups() > 1 || pattern.is_towards_input() || pattern.has_prologue() {
        return None;
    }
    let x = (op.n(), op.h(), op.w(), op.c().next_multiple_of(vector));
    Conv2d::new(x, op.k(), (op.r(), op.s()), op.stride(), op.padding(), 1, op.dtype()).ok()
}

/// Whether its operands lie in rows of tables of one number per channel.
fn reads_tables(pattern: Pattern) -> bool {
    let fused_end = matches!(pattern, Pattern::BackwardData { end, .. } if end != End::Nothing);
    pattern.has_prologue() || pattern.has_statistics() || fused_end
}

fn data(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::Bf16 => DataType::Bfloat16,
        DType::F16 => DataType::Half,
    }
}

impl Convolutions {
    /// On a device, or for one that is described.
    pub fn new(target: Target) -> Self {
        Convolutions { target }
    }

    /// The library with its version: `cuDNN 9.19.0`.
    pub fn name(&self) -> String {
        format!("cuDNN {}", error::version(self.target.library().version()))
    }

    /// Engines that may be taken, those expected to be fastest first. See [`Numerics::allowed`](super::plan::Numerics::allowed).
    ///
    /// # Errors
    /// Why there is none: what cuDNN says about a graph that it does not run at all, or what is said of the engines that run it.
    pub fn candidates(&self, pattern: Pattern, op: &Conv2d, rounding: Rounding) -> Result<Vec<Candidate>> {
        let op = padded(pattern, op).ok_or(CudnnError::Unpadded)?;
        let graph = pattern.graph(self.target.library(), &op, data(op.dtype()))?;
        let narrow = op.dtype() != DType::F32;
        let mut taken: Vec<Candidate> = Vec::new();
        let engines = self.target.engines(graph)?;
        let offered = engines.len();
        for engine in engines {
            let count = |of: &dyn Fn(&Engine) -> bool| taken.iter().filter(|taken| of(&taken.engine)).count();
            let wanted = engine.numerics.allowed(narrow, rounding)
                && count(&|other| other.index == engine.index) < MOST_SETTINGS
                && (!engine.compiled_at_run_time
                    || count(&|other| other.compiled_at_run_time) < MOST_COMPILED);
            if wanted && taken.len() < MOST {
                taken.push(Candidate { pattern, op, engine, plan: OnceCell::new() });
            }
        }
        if taken.is_empty() { Err(CudnnError::NoEngine { offered }) } else { Ok(taken) }
    }

    /// The plan of a candidate.
    ///
    /// # Errors
    /// What the engine finds it cannot do after all; too large a workspace.
    pub fn prepare(&self, candidate: &Candidate) -> Result<Rc<Prepared>> {
        let Candidate { pattern, op, engine, plan } = candidate;
        if let Some(plan) = plan.get() {
            return Ok(Rc::clone(plan));
        }
        let made = Rc::new(Prepared::new(*pattern, *op, engine.index, self.target.plan(engine)?)?);
        Ok(Rc::clone(plan.get_or_init(|| made)))
    }

    /// A plan that [`Prepared::json`] gave as text.
    ///
    /// # Errors
    /// Text that is no plan of this version for this device, or a convolution that cuDNN is not given.
    pub fn restore(&self, pattern: Pattern, op: &Conv2d, engine: i64, json: &str) -> Result<Prepared> {
        let op = padded(pattern, op).ok_or(CudnnError::Unpadded)?;
        let graph = pattern.graph(self.target.library(), &op, data(op.dtype()))?;
        let plan = self.target.plan_from_json(json, graph.operands())?;
        Prepared::new(pattern, op, engine, plan)
    }
}

impl Candidate {
    /// Whether its plan is still to be made, and a kernel compiled for it.
    pub fn is_to_be_compiled(&self) -> bool {
        self.engine.compiled_at_run_time && self.plan.get().is_none()
    }

    /// Whether making its plan compiles a kernel.
    pub fn is_compiled_at_run_time(&self) -> bool {
        self.engine.compiled_at_run_time
    }

    /// Whether something is done to an operand as it is read.
    pub fn has_prologue(&self) -> bool {
        self.pattern.has_prologue()
    }

    /// For messages.
    pub fn name(&self) -> String {
        name(self.pattern, self.engine.index)
    }
}

impl Prepared {
    fn new(pattern: Pattern, op: Conv2d, engine: i64, plan: Plan) -> Result<Self> {
        let workspace_bytes = plan.workspace_bytes()?;
        if workspace_bytes > MOST_WORKSPACE {
            return Err(CudnnError::Workspace { needed: workspace_bytes, most: MOST_WORKSPACE });
        }
        Ok(Prepared { pattern, op, engine, workspace_bytes, plan })
    }

    /// For messages.
    pub fn name(&self) -> String {
        name(self.pattern, self.engine)
    }

    /// The plan as text.
    ///
    /// # Errors
    /// What cuDNN refuses to tell.
    pub fn json(&self) -> Result<String> {
        self.plan.json()
    }

    /// Puts it into the queue; see [`Plan::execute`].
    ///
    /// # Errors
    /// As [`Plan::execute`].
    pub fn execute(&self, address: impl Fn(Operand) -> u64, workspace: u64) -> Result<()> {
        self.plan.execute(address, workspace)
    }
}

fn name(pattern: Pattern, engine: i64) -> String {
    format!("cuDNN engine {engine} for {pattern}")
}
