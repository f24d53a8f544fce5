//! Trying the candidates of one task on the device.

use std::time::{Duration, Instant};

use resnet_core::{Error, Result};

use super::lab::{Lab, Sample};
use super::plans::{Entry, Kept, Plans};
use super::select::{Trial, fastest};
use super::task::Task;
use super::tune::Candidate;
use super::ways::Way;
use crate::cudnn::Convolutions;
use crate::engine::Engine;

/// After so long no more kernels are compiled for engines that want it, 1 to 4 seconds each.
const COMPILING: Duration = Duration::from_secs(90);

/// The candidates of one task.
struct Trials<'a> {
    engine: &'a mut Engine,
    cudnn: Option<&'a Convolutions>,
    lab: &'a Lab,
    task: Task,
    /// What kernels of this crate compute.
    wanted: Sample,
    candidates: Vec<Candidate>,
    /// Plans are made as their turn comes.
    ways: Vec<Option<Way>>,
    started: Instant,
    /// What a candidate did to the device, after which nothing runs on it any more.
    broken: Option<String>,
}

impl Trials<'_> {
    fn try_out(&mut self, index: usize) -> std::result::Result<(), String> {
        let way = match &self.candidates[index] {
            Candidate::Own(way) => way.clone(),
            Candidate::Cudnn(offers, i) => {
                let offer = &offers[*i];
                if offer.is_to_be_compiled() && self.started.elapsed() > COMPILING {
                    return Err(format!("not tried: {} s of compiling are enough", COMPILING.as_secs()));
                }
                let cudnn = self.cudnn.ok_or("there is no cuDNN")?;
                Way::Cudnn(cudnn.prepare(offer).map_err(|error| error.to_string())?)
            }
        };
        let result = self.lab.result(self.engine, &self.task, &way).map_err(|error| error.to_string())?;
        result.agrees_with(&self.wanted)?;
        self.ways[index] = Some(way);
        Ok(())
    }
}

impl Trial for Trials<'_> {
    fn warm_up(&mut self, index: usize) -> std::result::Result<(), String> {
        if self.broken.is_some() {
            return Err("the device is lost".to_owned());
        }
        let tried = self.try_out(index);
        if let (Err(why), Err(_)) = (&tried, self.engine.machine.synchronize()) {
            let name = self.candidates[index].name();
            self.broken = Some(format!(
                "{}: {name} cannot be tried on this device: {why}; RESNET_CUDA_KERNEL=tensor, simt or cudnn does without",
                self.task
            ));
        }
        tried
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

/// Tries the candidates of a task, and takes and keeps the fastest.
///
/// # Errors
/// Device errors of this crate's own kernels.
pub(super) fn run(
    engine: &mut Engine,
    cudnn: Option<&Convolutions>,
    plans: &mut Plans,
    lab: &Lab,
    task: Task,
    candidates: Vec<Candidate>,
    started: Instant,
) -> Result<()> {
    let own = engine.ways.own(&task);
    let wanted = lab.result(engine, &task, &own)?;
    let ways = candidates.iter().map(|_| None).collect();
    let mut trials = Trials { engine, cudnn, lab, task, wanted, candidates, ways, started, broken: None };
    let (best, refused) = fastest(trials.candidates.len(), &mut trials);
    let Trials { engine, candidates, mut ways, broken, .. } = trials;
    if let Some(action) = broken {
        return Err(Error::Device { backend: crate::NAME, action });
    }
    for (i, why) in refused {
        engine.ways.note(format!("{task}: {}: {why}", candidates[i].name()));
    }
    let Some((way, ms)) = best.and_then(|best| Some((ways.swap_remove(best.index)?, best.ms))) else {
        return Ok(());
    };
    let kept = match &way {
        Way::Simt => Some(Kept::Simt),
        Way::Tensor(_, tile) => tile.map(|tile| Kept::Tensor { tile: tile.name() }),
        Way::Cudnn(plan) => plan.json().ok().map(|json| Kept::Cudnn {
            pattern: plan.pattern.to_string(),
            engine: plan.engine,
            plan: json,
        }),
    };
    if let Some(way) = kept {
        plans.put(&engine.ways.kept_as(), &task.to_string(), Entry { way, ms });
    }
    engine.ways.choose(task, way, Some(ms));
    Ok(())
}
