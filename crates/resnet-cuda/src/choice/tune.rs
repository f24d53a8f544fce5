//! Choosing ways for the tasks of a step: from disk, or by trying what there is on the device.
//!
//! A candidate runs once before it is timed, and its result is compared with that of this crate's own kernels. Then it is timed by
//! the device's own clock. Operands are pseudo-random numbers in memory that is given back afterwards.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use resnet_core::op::{Conv2d, Op};
use resnet_core::{DType, Result};

use super::Choice;
use super::lab::{Lab, Sample};
use super::plans::{Entry, Kept, Plans};
use super::select::{Trial, fastest};
use super::task::Task;
use super::ways::Way;
use crate::cudnn::convolution::Candidate as Offer;
use crate::cudnn::{Convolutions, Pattern};
use crate::engine::Engine;

/// After so long no more kernels are compiled for engines that want it, 1 to 4 seconds each.
const COMPILING: Duration = Duration::from_secs(90);

/// A way that may be taken, before a plan is made of it.
enum Candidate {
    Own(Way),
    /// One of those that cuDNN offers for a graph.
    Cudnn(Rc<[Offer]>, usize),
}

impl Candidate {
    fn name(&self) -> String {
        match self {
            Candidate::Own(way) => way.to_string(),
            Candidate::Cudnn(offers, i) => offers[*i].name(),
        }
    }
}

/// Chooses ways for the ops of a step, where there is more than one.
///
/// # Errors
/// What cuDNN lacks, where it is forced; device errors.
pub(crate) fn choose(engine: &mut Engine, ops: &[Op]) -> Result<()> {
    let Some(cudnn) = engine.ways.cudnn(&mut *engine.machine)? else { return Ok(()) };
    let mut tasks = Task::likely(ops);
    if engine.ways.choice == Choice::Cudnn {
        // Whatever is asked for, there is a plan that does the product of it.
        for task in ops.iter().flat_map(Task::all).map(Task::base) {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
    }
    tasks.retain(|task| !engine.ways.is_chosen(task));
    if tasks.is_empty() {
        return Ok(());
    }
    let (mut plans, ignored) =
        Plans::load(engine.ways.tuning.folder.as_deref(), &engine.machine.describe(), &cudnn.name());
    ignored.into_iter().for_each(|note| engine.ways.note(note));
    tasks.retain(|task| !restore(engine, &cudnn, &plans, task));
    if engine.ways.tuning.on {
        timed(engine, &cudnn, &mut plans, &tasks)?;
        if let Err(note) = plans.save() {
            engine.ways.note(note);
        }
    } else if engine.ways.choice == Choice::Cudnn {
        for task in &tasks {
            first(engine, &cudnn, task);
        }
    }
    Ok(())
}

/// Takes what an earlier run chose. A plan that cuDNN does not take back is sought anew.
fn restore(engine: &mut Engine, cudnn: &Convolutions, plans: &Plans, task: &Task) -> bool {
    let choice = engine.ways.choice;
    let Some(Entry { way, ms }) = plans.get(&engine.ways.kept_as(), &task.to_string()) else { return false };
    let way = match way {
        Kept::Simt => Way::Simt,
        Kept::Tensor => match choice.element(&task.op) {
            Some(element) => Way::Tensor(element),
            None => return false,
        },
        Kept::Cudnn { pattern, engine: index, plan } => {
            let narrow = engine.ways.tuning.narrow_gradients;
            let Some(pattern) =
                Pattern::named(pattern).filter(|pattern| task.patterns(narrow).contains(pattern))
            else {
                return false;
            };
            match cudnn.restore(pattern, &task.op, *index, plan) {
                Ok(plan) => Way::Cudnn(Rc::new(plan)),
                Err(error) => {
                    engine
                        .ways
                        .note(format!("{task}: the plan of an earlier run is not taken back: {error}"));
                    return false;
                }
            }
        }
    };
    engine.ways.choose(*task, way, Some(*ms));
    true
}

/// What cuDNN offers, by graph and convolution: tasks that differ in what is done around it share plans.
#[derive(Default)]
struct Offers(HashMap<(Pattern, Conv2d), Rc<[Offer]>>);

impl Offers {
    /// For a task. A graph that is refused as a whole offers nothing.
    fn of(&mut self, engine: &mut Engine, cudnn: &Convolutions, task: &Task) -> Vec<Candidate> {
        let rounding = engine.ways.choice.rounding();
        let mut found = Vec::new();
        for &pattern in task.patterns(engine.ways.tuning.narrow_gradients) {
            let offers = self.0.entry((pattern, task.op)).or_insert_with(|| {
                cudnn.candidates(pattern, &task.op, rounding).map(Rc::from).unwrap_or_else(|error| {
                    engine.ways.note(format!("{task}: cuDNN refuses {}: {error}", pattern.name()));
                    Rc::from([])
                })
            });
            found.extend((0..offers.len()).map(|i| Candidate::Cudnn(Rc::clone(offers), i)));
            // Statistics by two sums are for where cuDNN's own operation for them is refused: the engines are the same.
            if pattern == Pattern::ForwardStatistics && !offers.is_empty() {
                break;
            }
        }
        found
    }
}

/// The first plan that can be made, where nothing is timed.
fn first(engine: &mut Engine, cudnn: &Convolutions, task: &Task) {
    for candidate in Offers::default().of(engine, cudnn, task) {
        let Candidate::Cudnn(offers, i) = &candidate else { continue };
        match cudnn.prepare(&offers[*i]) {
            Ok(plan) => return engine.ways.choose(*task, Way::Cudnn(plan), None),
            Err(error) => engine.ways.note(format!("{task}: {}: {error}", candidate.name())),
        }
    }
}

/// Times what there is for each task.
fn timed(engine: &mut Engine, cudnn: &Convolutions, plans: &mut Plans, tasks: &[Task]) -> Result<()> {
    let started = Instant::now();
    let mut offers = Offers::default();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        let tasks: Vec<Task> = tasks.iter().filter(|task| task.op.dtype() == dtype).copied().collect();
        if tasks.is_empty() {
            continue;
        }
        let lab = match Lab::new(engine, dtype, &tasks) {
            Ok(lab) => lab,
            Err(error) => {
                engine.ways.note(format!("convolutions are not timed: {error}"));
                if engine.ways.choice == Choice::Cudnn {
                    tasks.iter().for_each(|task| first(engine, cudnn, task));
                }
                continue;
            }
        };
        for task in &tasks {
            let offered = offers.of(engine, cudnn, task);
            time_one(engine, cudnn, plans, &lab, task, (offered, started))?;
        }
        // What was tried may have wanted much more than what was chosen.
        engine.release_scratch();
    }
    Ok(())
}

/// The candidates of one task.
struct Trials<'a> {
    engine: &'a mut Engine,
    cudnn: &'a Convolutions,
    lab: &'a Lab,
    task: Task,
    /// What kernels of this crate compute.
    wanted: Sample,
    candidates: Vec<Candidate>,
    /// Plans are made as their turn comes.
    ways: Vec<Option<Way>>,
    started: Instant,
}

impl Trial for Trials<'_> {
    fn warm_up(&mut self, index: usize) -> std::result::Result<(), String> {
        let way = match &self.candidates[index] {
            Candidate::Own(way) => way.clone(),
            Candidate::Cudnn(offers, i) => {
                let offer = &offers[*i];
                if offer.is_to_be_compiled() && self.started.elapsed() > COMPILING {
                    return Err(format!("not tried: {} s of compiling are enough", COMPILING.as_secs()));
                }
                Way::Cudnn(self.cudnn.prepare(offer).map_err(|error| error.to_string())?)
            }
        };
        let result = self.lab.result(self.engine, &self.task, &way).map_err(|error| error.to_string())?;
        result.agrees_with(&self.wanted)?;
        self.ways[index] = Some(way);
        Ok(())
    }

    fn time(&mut self, index: usize) -> std::result::Result<f32, String> {
        match &self.ways[index] {
            Some(way) => {
                self.lab.milliseconds(self.engine, &self.task, way).map_err(|error| error.to_string())
            }
            None => Err("it was not made".to_owned()),
        }
    }
}

fn time_one(
    engine: &mut Engine,
    cudnn: &Convolutions,
    plans: &mut Plans,
    lab: &Lab,
    task: &Task,
    (offered, started): (Vec<Candidate>, Instant),
) -> Result<()> {
    let own = engine.ways.own(task);
    let wanted = lab.result(engine, task, &own)?;
    let mut candidates = Vec::new();
    if engine.ways.choice != Choice::Cudnn {
        if matches!(own, Way::Tensor(_)) {
            candidates.push(Candidate::Own(own.clone()));
        }
        candidates.push(Candidate::Own(Way::Simt));
    }
    candidates.extend(offered);

    let ways = candidates.iter().map(|_| None).collect();
    let mut trials = Trials { engine, cudnn, lab, task: *task, wanted, candidates, ways, started };
    let (best, refused) = fastest(trials.candidates.len(), &mut trials);
    let Trials { engine, candidates, mut ways, .. } = trials;
    for (i, why) in refused {
        engine.ways.note(format!("{task}: {}: {why}", candidates[i].name()));
    }
    let Some((way, ms)) = best.and_then(|best| Some((ways.swap_remove(best.index)?, best.ms))) else {
        return Ok(());
    };
    let kept = match &way {
        Way::Simt => Some(Kept::Simt),
        Way::Tensor(_) => Some(Kept::Tensor),
        Way::Cudnn(plan) => plan.json().ok().map(|json| Kept::Cudnn {
            pattern: plan.pattern.name().to_owned(),
            engine: plan.engine,
            plan: json,
        }),
    };
    if let Some(way) = kept {
        plans.put(&engine.ways.kept_as(), &task.to_string(), Entry { way, ms });
    }
    engine.ways.choose(*task, way, Some(ms));
    Ok(())
}
