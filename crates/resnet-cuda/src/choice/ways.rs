//! The ways there are to compute a convolution, and which is chosen.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use resnet_core::Result;

use super::graphs::Narrow;
use super::task::{Form, Task};
use super::{Choice, switch};
use crate::cache;
use crate::cudnn::plan::Rounding;
use crate::cudnn::{Convolutions, CudnnError, Prepared};
use crate::engine::Engine;
use crate::machine::Machine;
use crate::tensor::Element;
use crate::tensor::tile::Tile;

/// One way to compute a convolution.
#[derive(Clone)]
pub(crate) enum Way {
    /// Kernels of this crate on ordinary units.
    Simt,
    /// The same on tensor cores; the tile by rule where none is given.
    Tensor(Element, Option<Tile>),
    /// A plan of cuDNN.
    Cudnn(Rc<Prepared>),
}

/// Compute capability, times ten, of the devices that have warpgroups' instructions: no later one does.
pub(super) const HOPPER: u32 = 90;

impl Way {
    fn is_wgmma(&self) -> bool {
        matches!(self, Way::Tensor(_, Some(tile)) if tile.wgmma)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Simt => f.write_str("ordinary units"),
            Way::Tensor(_, None) => f.write_str("tensor cores"),
            Way::Tensor(_, Some(tile)) => write!(f, "tensor cores, tiles of {}", tile.name()),
            Way::Cudnn(plan) => f.write_str(&plan.name()),
        }
    }
}

/// Whether ways are timed, and where choices are kept.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Whether they are timed.
    pub on: bool,
    /// The folder with choices of earlier runs; `None` keeps none.
    pub folder: Option<PathBuf>,
    /// Whether gradients of weights from 16-bit tensors may be rounded to their type, as PyTorch's autocast does; they are stored as f32
    /// all the same. Most of cuDNN's engines give nothing else.
    pub narrow_gradients: bool,
    /// Whether scale and shift of a normalisation may be rounded to f16 where an f16 convolution reads through it. cuDNN's engines that
    /// were compiled in advance read nothing else.
    pub narrow_norms: bool,
}

impl Tuning {
    /// What `RESNET_CUDA_TUNING`, `RESNET_CUDA_NARROW_GRADIENTS` and `RESNET_CUDA_NARROW_NORMS` say, in the usual folder.
    ///
    /// # Errors
    /// A word that is neither `on` nor `off`.
    pub fn of_environment() -> Result<Self> {
        Ok(Tuning {
            on: switch("RESNET_CUDA_TUNING", true)?,
            folder: Some(cache::folder("plans")),
            narrow_gradients: switch("RESNET_CUDA_NARROW_GRADIENTS", false)?,
            narrow_norms: switch("RESNET_CUDA_NARROW_NORMS", false)?,
        })
    }
}

/// What was chosen for a task, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Direction, shape and what is fused.
    pub task: String,
    /// What computes it.
    pub way: String,
    /// Its median time in milliseconds, if it was timed.
    pub ms: Option<f32>,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Chosen { task, way, ms } = self;
        write!(f, "{task}: {way}")?;
        ms.map_or(Ok(()), |ms| write!(f, ", {ms:.3} ms"))
    }
}

/// What is chosen so far.
pub(crate) struct Ways {
    pub(crate) choice: Choice,
    pub(crate) tuning: Tuning,
    cudnn: Cudnn,
    chosen: HashMap<Task, (Way, Option<f32>)>,
    /// Whether the device has Hopper's instructions.
    hopper: bool,
    /// What is worth telling, each once.
    notes: Vec<String>,
}

enum Cudnn {
    NotAsked,
    Missing,
    Here(Rc<Convolutions>),
}

impl Ways {
    /// `capability`: that of the device, as in [`Traits`](crate::machine::Traits).
    pub(crate) fn new(choice: Choice, tuning: Tuning, capability: u32) -> Self {
        let hopper = capability == HOPPER;
        Ways { choice, tuning, cudnn: Cudnn::NotAsked, chosen: HashMap::new(), hopper, notes: Vec::new() }
    }

    /// The kernels of this crate that may be taken.
    pub(crate) fn all_own(&self, task: &Task) -> Vec<Way> {
        let mut ways = vec![Way::Simt];
        if let Some(element) = self.choice.element(&task.op) {
            let with = |tile: &Tile| Way::Tensor(element, Some(*tile));
            // A weight gradient has no tall tiles: its pixels are shared out besides.
            let weight = matches!(task.form, Form::BackwardWeight { .. });
            ways.extend(Tile::ALL.iter().filter(|tile| !weight || **tile != Tile::TALL).map(with));
            let hopper = Tile::WGMMA.iter().filter(|tile| self.hopper && tile.supports(&task.op, element));
            ways.extend(hopper.map(with));
            ways.reverse(); // what is expected to be fast first
        }
        ways
    }

    /// By kernels of this crate.
    pub(crate) fn own(&self, task: &Task) -> Way {
        let Some(element) = self.choice.element(&task.op) else { return Way::Simt };
        let columns = if let Form::Forward { .. } = task.form { task.op.k() } else { task.op.c() };
        let tile = Some(Tile::of_wgmma(columns))
            .filter(|tile| self.choice == Choice::Wgmma && tile.supports(&task.op, element));
        Way::Tensor(element, tile)
    }

    /// The way that is taken: what was chosen for the task; where cuDNN is forced its plain plan; else a kernel of this crate.
    pub(crate) fn way(&self, task: &Task) -> Way {
        let chosen = match self.chosen.get(task) {
            None if self.choice == Choice::Cudnn => self.chosen.get(&task.base()),
            chosen => chosen,
        };
        chosen.map_or_else(|| self.own(task), |(way, _)| way.clone())
    }

    pub(crate) fn is_chosen(&self, task: &Task) -> bool {
        self.chosen.contains_key(task)
    }

    pub(crate) fn choose(&mut self, task: Task, way: Way, ms: Option<f32>) {
        self.chosen.insert(task, (way, ms));
    }

    /// The name under which choices are kept: what may be chosen depends on it.
    pub(crate) fn kept_as(&self) -> String {
        let gradients = if self.tuning.narrow_gradients { " with narrow gradients" } else { "" };
        let norms = if self.tuning.narrow_norms { " with narrow normalisations" } else { "" };
        format!("{}{gradients}{norms}", self.choice.name())
    }

    /// What may be rounded more than this crate's kernels do.
    pub(crate) fn narrow(&self) -> Narrow {
        Narrow {
            gradients: self.tuning.narrow_gradients,
            norms: self.tuning.narrow_norms,
            operands: self.choice.rounding() == Rounding::Tf32,
        }
    }

    /// Forgets every choice, after a change of what may be chosen.
    pub(crate) fn restart(&mut self) {
        self.chosen.clear();
        self.notes.clear();
    }

    /// From now on a task is computed by kernels of this crate.
    fn give_up(&mut self, task: &Task, why: &str) {
        let own = self.own(task);
        self.note(format!("{task}: {why}; {own} from now on"));
        self.chosen.insert(*task, (own, None));
    }

    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Everything that was chosen, in the order of names.
    pub(crate) fn list(&self) -> Vec<Chosen> {
        let row = |(task, (way, ms)): (&Task, &(Way, Option<f32>))| Chosen {
            task: task.to_string(),
            way: way.to_string(),
            ms: *ms,
        };
        let mut rows: Vec<Chosen> = self.chosen.iter().map(row).collect();
        rows.sort_by(|a, b| a.task.cmp(&b.task));
        rows
    }

    /// Half a line for people, once there is something to say.
    pub(crate) fn describe(&self) -> String {
        let count = |is: fn(&Way) -> bool| self.chosen.values().filter(|(way, _)| is(way)).count();
        let mut parts = Vec::new();
        for (n, what) in [
            (count(|way| matches!(way, Way::Cudnn(_))), "by cuDNN"),
            (count(|way| way.is_wgmma()), "on Hopper's warpgroups"),
            (count(|way| matches!(way, Way::Tensor(..)) && !way.is_wgmma()), "on tensor cores"),
            (count(|way| matches!(way, Way::Simt)), "on ordinary units"),
        ] {
            if n > 0 {
                parts.push(format!("{n} {what}"));
            }
        }
        let library = match &self.cudnn {
            Cudnn::Here(cudnn) => format!(", {}", cudnn.name()),
            Cudnn::NotAsked | Cudnn::Missing => String::new(),
        };
        let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
        format!("convolutions: {}{library}{parts}", self.choice.name())
    }

    /// cuDNN, if it may be asked and is there. It is looked for once.
    ///
    /// # Errors
    /// What is missing, where cuDNN is forced.
    pub(crate) fn cudnn(&mut self, machine: &mut dyn Machine) -> Result<Option<Rc<Convolutions>>> {
        if !self.choice.asks_cudnn() {
            return Ok(None);
        }
        if matches!(self.cudnn, Cudnn::NotAsked) {
            self.cudnn = match machine.cudnn() {
                Ok(target) => Cudnn::Here(Rc::new(Convolutions::new(target))),
                Err(error) if self.choice == Choice::Cudnn => {
                    let action = format!("RESNET_CUDA_KERNEL=cudnn: {error}");
                    return Err(resnet_core::Error::Device { backend: crate::NAME, action });
                }
                Err(CudnnError::NoDevice { .. }) => Cudnn::Missing,
                Err(error) => {
                    self.note(format!("convolutions run without cuDNN: {error}"));
                    Cudnn::Missing
                }
            };
        }
        Ok(match &self.cudnn {
            Cudnn::Here(cudnn) => Some(Rc::clone(cudnn)),
            Cudnn::NotAsked | Cudnn::Missing => None,
        })
    }
}

/// Runs a task the way that is chosen for it. Where cuDNN fails, kernels of this crate take over, from now on: cuDNN fails before anything
/// is accumulated, so the task can be run again. A recording cannot be mended so, because it would not be what ran before.
pub(crate) fn by(
    engine: &mut Engine,
    task: &Task,
    run: impl Fn(&mut Engine, &Way) -> Result<()>,
) -> Result<()> {
    let way = engine.ways.way(task);
    match run(engine, &way) {
        Err(error) if matches!(way, Way::Cudnn(_)) && !engine.recording => {
            engine.ways.give_up(task, &error.to_string());
            let own = engine.ways.own(task);
            run(engine, &own)
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use resnet_core::DType;
    use resnet_core::op::{Conv2d, Op, Padding};

    use super::*;

    fn conv(c: usize, window: usize, stride: usize, dtype: DType) -> Conv2d {
        let x = (2, 8, 8, c);
        Conv2d::new(x, 64, (window, window), stride, Padding::all(window / 2), 1, dtype).expect("is valid")
    }

    fn wgmma(choice: Choice, capability: u32, op: Conv2d) -> Vec<(usize, bool)> {
        let tuning = Tuning { on: true, folder: None, narrow_gradients: false, narrow_norms: false };
        let ways = Ways::new(choice, tuning, capability);
        let tasks = [Op::Conv2d(op), Op::Conv2dBackwardData(op), Op::Conv2dBackwardWeight(op)];
        let count = |task: &Task| {
            let n = ways.all_own(task).iter().filter(|way| way.is_wgmma()).count();
            (n, ways.own(task).is_wgmma())
        };
        tasks.iter().flat_map(Task::all).map(|task| count(&task)).collect()
    }

    #[test]
    fn warpgroups_are_tried_on_hopper_and_forced_by_name() {
        let all = |of: Vec<(usize, bool)>, wanted| assert!(of.iter().all(|of| *of == wanted), "{of:?}");
        let bottleneck = conv(256, 1, 1, DType::Bf16);
        all(wgmma(Choice::Auto, 90, bottleneck), (2, false));
        all(wgmma(Choice::Auto, 90, conv(256, 1, 1, DType::F16)), (2, false));
        for capability in [0, 80, 100] {
            all(wgmma(Choice::Auto, capability, bottleneck), (0, false));
        }
        // On the emulator, where nothing is timed, by name.
        all(wgmma(Choice::Wgmma, 0, bottleneck), (0, true));
        for other in [
            conv(256, 1, 2, DType::Bf16),
            conv(256, 3, 1, DType::Bf16),
            conv(12, 1, 1, DType::Bf16),
            conv(256, 1, 1, DType::F32),
        ] {
            all(wgmma(Choice::Auto, 90, other), (0, false));
            all(wgmma(Choice::Wgmma, 90, other), (0, false));
        }
    }

    #[test]
    fn ways_are_told_apart_in_words() {
        let tensor = |tile| Way::Tensor(Element::Bf16, Some(tile)).to_string();
        assert_eq!(tensor(Tile::WIDE_WGMMA), "tensor cores, tiles of wgmma 128×128");
        assert_eq!(tensor(Tile::LARGE), "tensor cores, tiles of 128×128");
        for tile in Tile::ALL.into_iter().chain(Tile::WGMMA) {
            assert_eq!(Tile::named(&tile.name()), Some(tile));
        }
    }
}
