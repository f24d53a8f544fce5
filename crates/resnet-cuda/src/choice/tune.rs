//! Choosing ways for the tasks of a step: from disk, or by trying what there is on the device.
//!
//! A candidate runs once before it is timed, and its result is compared with that of this crate's own kernels. Then it is timed by
//! the device's own clock. Operands are pseudo-random numbers in memory that is given back afterwards.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use resnet_core::op::{Conv2d, Op};
use resnet_core::{DType, Error, Result};

use super::lab::Lab;
use super::plans::{Entry, Kept, Plans};
use super::task::{Shape, Task};
use super::ways::{HOPPER, Way};
use super::{Choice, trial};
use crate::cudnn::convolution::Candidate as Offer;
use crate::cudnn::pattern::After;
use crate::cudnn::{Convolutions, Pattern};
use crate::engine::Engine;
use crate::tensor::tile::Tile;

/// A way that may be taken, before a plan is made of it.
pub(super) enum Candidate {
    Own(Way),
    /// One of those that cuDNN offers for a graph.
    Cudnn(Rc<[Offer]>, usize),
}

impl Candidate {
    pub(super) fn name(&self) -> String {
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
    if let Some(action) = refused(engine.ways.choice, engine.traits.capability) {
        return Err(Error::Device { backend: crate::NAME, action });
    }
    let cudnn = engine.ways.cudnn(&mut *engine.machine)?;
    if !matches!(engine.ways.choice, Choice::Auto | Choice::Tf32 | Choice::Cudnn)
        || engine.traits.capability == 0
    {
        return Ok(()); // forced, or there is no device to try anything on
    }
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
    let cudnn = cudnn.as_deref();
    let library = cudnn.map_or("without cuDNN".to_owned(), Convolutions::name);
    let (mut plans, ignored) =
        Plans::load(engine.ways.tuning.folder.as_deref(), &engine.machine.describe(), &library);
    ignored.into_iter().for_each(|note| engine.ways.note(note));
    tasks.retain(|task| !restore(engine, cudnn, &plans, task));
    if engine.ways.tuning.on {
        timed(engine, cudnn, &mut plans, &tasks)?;
        if let Err(note) = plans.save() {
            engine.ways.note(note);
        }
    } else if engine.ways.choice == Choice::Cudnn {
        for task in &tasks {
            first(engine, cudnn, task);
        }
    }
    Ok(())
}

/// Why a choice is none for a device of this compute capability; the emulator has 0 and does everything.
fn refused(choice: Choice, capability: u32) -> Option<String> {
    let can = choice != Choice::Wgmma || [0, HOPPER].contains(&capability);
    (!can).then(|| {
        format!(
            "RESNET_CUDA_KERNEL=wgmma needs a Hopper device (compute capability 9.0), and this one has {}.{}; use \
             `tensor` or `auto`",
            capability / 10,
            capability % 10
        )
    })
}

/// Takes what an earlier run chose. A plan that cuDNN does not take back is sought anew.
fn restore(engine: &mut Engine, cudnn: Option<&Convolutions>, plans: &Plans, task: &Task) -> bool {
    let choice = engine.ways.choice;
    let Some(Entry { way, ms }) = plans.get(&engine.ways.kept_as(), &task.to_string()) else { return false };
    let way = match way {
        Kept::Simt => Way::Simt,
        Kept::Tensor { tile } => match (choice.element(&task.op), Tile::named(tile)) {
            (Some(element), Some(tile)) => Way::Tensor(element, Some(tile)),
            _ => return false,
        },
        Kept::Cudnn { pattern, engine: index, plan } => {
            let narrow = engine.ways.narrow();
            let named = Pattern::named(pattern).filter(|pattern| task.patterns(narrow).contains(pattern));
            let (Some(pattern), Some(cudnn)) = (named, cudnn) else { return false };
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
    fn of(&mut self, engine: &mut Engine, cudnn: Option<&Convolutions>, task: &Task) -> Vec<Candidate> {
        let Some(cudnn) = cudnn else { return Vec::new() };
        let rounding = engine.ways.choice.rounding();
        let mut found = Vec::new();
        // Statistics by two sums are for where cuDNN's own operation for them is refused: the engines are the same.
        let mut summed = None;
        for pattern in task.patterns(engine.ways.narrow()) {
            if matches!(pattern, Pattern::Forward(before, After::Sums) if summed == Some(before)) {
                continue;
            }
            let offers = self.0.entry((pattern, task.op)).or_insert_with(|| {
                cudnn.candidates(pattern, &task.op, rounding).map(Rc::from).unwrap_or_else(|error| {
                    engine.ways.note(format!("{}: {pattern} by cuDNN: {error}", Shape(&task.op)));
                    Rc::from([])
                })
            });
            found.extend((0..offers.len()).map(|i| Candidate::Cudnn(Rc::clone(offers), i)));
            if let Pattern::Forward(before, After::Statistics) = pattern
                && !offers.is_empty()
            {
                summed = Some(before);
            }
        }
        found
    }
}

/// The first plan that can be made, where nothing is timed.
fn first(engine: &mut Engine, cudnn: Option<&Convolutions>, task: &Task) {
    let Some(cudnn) = cudnn else { return };
    for candidate in Offers::default().of(engine, Some(cudnn), task) {
        let Candidate::Cudnn(offers, i) = &candidate else { continue };
        // Nobody compares the halo of what is not tried.
        if offers[*i].has_prologue() {
            continue;
        }
        match cudnn.prepare(&offers[*i]) {
            Ok(plan) => return engine.ways.choose(*task, Way::Cudnn(plan), None),
            Err(error) => engine.ways.note(format!("{task}: {}: {error}", candidate.name())),
        }
    }
}

/// Times what there is for each task.
fn timed(engine: &mut Engine, cudnn: Option<&Convolutions>, plans: &mut Plans, tasks: &[Task]) -> Result<()> {
    let started = Instant::now();
    let mut offers = Offers::default();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        let mut of_type = Vec::new();
        for task in tasks.iter().filter(|task| task.op.dtype() == dtype) {
            let mut candidates = Vec::new();
            if engine.ways.choice != Choice::Cudnn {
                candidates.extend(engine.ways.all_own(task).into_iter().map(Candidate::Own));
            }
            candidates.extend(offers.of(engine, cudnn, task));
            // Where there is one way it is taken by rule.
            if candidates.len() > 1 || engine.ways.choice == Choice::Cudnn {
                of_type.push((*task, candidates));
            }
        }
        if of_type.is_empty() {
            continue;
        }
        let lab = match Lab::new(engine, dtype, of_type.iter().map(|(task, _)| task)) {
            Ok(lab) => lab,
            Err(error) => {
                engine.ways.note(format!("convolutions are not timed: {error}"));
                if engine.ways.choice == Choice::Cudnn {
                    of_type.iter().for_each(|(task, _)| first(engine, cudnn, task));
                }
                continue;
            }
        };
        for (task, candidates) in of_type {
            trial::run(engine, cudnn, plans, &lab, task, candidates, started)?;
        }
        // What was tried may have wanted much more than what was chosen.
        engine.release_scratch();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warpgroups_are_hoppers() {
        for capability in [0, 90] {
            assert_eq!(refused(Choice::Wgmma, capability), None);
        }
        for (capability, name) in [(80, "8.0"), (100, "10.0"), (120, "12.0")] {
            let why = refused(Choice::Wgmma, capability).expect("has none");
            assert!(why.contains("RESNET_CUDA_KERNEL=wgmma") && why.contains(name), "{why}");
            assert_eq!(refused(Choice::Auto, capability), None);
        }
    }
}
