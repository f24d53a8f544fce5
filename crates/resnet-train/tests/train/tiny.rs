//! A network, pictures and a recipe that train in milliseconds.

use std::path::Path;
use std::sync::Arc;

use resnet_core::rng::{Purpose, Stream};
use resnet_cpu::CpuBackend;
use resnet_train::checkpoint::Store;
use resnet_train::checkpoint::vfs::StdVfs;
use resnet_train::data::{Dataset, InMemory};
use resnet_train::recipe::Recipe;
use resnet_train::run::RunDir;
use resnet_train::trainer::{Event, Outcome, ResumePolicy, Trainer};
use sha2::{Digest, Sha256};

pub(crate) const SIDE: usize = 8;
pub(crate) const N_CLASSES: usize = 4;

/// Noise with one bright quadrant, which is the class.
fn pictures(n: usize, seed: u64) -> Arc<InMemory> {
    let (mut pixels, mut labels) = (vec![], vec![]);
    for i in 0..n {
        let mut rng = Stream::new(seed, Purpose::Synthetic, 0, i as u64);
        let class = rng.below(N_CLASSES);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let bright = (y / (SIDE / 2), x / (SIDE / 2)) == (class / 2, class % 2);
                pixels.push(rng.below(128) as u8 + if bright { 64 } else { 0 });
            }
        }
        labels.push(class as u8);
    }
    Arc::new(InMemory::new("pictures", (SIDE, SIDE, 1), pixels, labels, N_CLASSES).unwrap())
}

pub(crate) fn data() -> Dataset {
    let classes = (0..N_CLASSES).map(|c| format!("quadrant {c}")).collect();
    Dataset::new("quadrants", "made up", classes, pictures(203, 1), pictures(50, 2)).unwrap()
}

/// 12 steps per epoch, 3 epochs.
pub(crate) fn recipe(overrides: &[&str]) -> Recipe {
    let mut recipe = Recipe::default();
    recipe
        .apply(&[
            "model.arch=resnet8-cifar",
            "train.epochs=3",
            "train.batch=16",
            "optimizer.lr=0.05",
            "run.log_every=5",
            "run.eval_batch=16",
        ])
        .unwrap();
    recipe.apply(overrides).unwrap();
    recipe
}

pub(crate) fn trainer(threads: usize, recipe: &Recipe) -> Trainer<CpuBackend> {
    Trainer::new(CpuBackend::new(Some(threads)).unwrap(), recipe.clone(), data()).unwrap()
}

/// Starts or resumes in a directory and trains until `stop`.
pub(crate) fn go_on(
    threads: usize,
    recipe: &Recipe,
    dir: &Path,
    stop: &dyn Fn() -> bool,
) -> resnet_train::Result<Outcome> {
    let mut trainer = trainer(threads, recipe);
    if RunDir::holds_run(dir) {
        trainer.resume_from(RunDir::resume(dir)?, ResumePolicy::Exact)?;
    } else {
        trainer.start_in(RunDir::create(dir)?)?;
    }
    trainer.train(&mut |_: &Event<'_>| {}, stop)
}

/// Everything that must be the same whatever interrupted a run: weights and optimizer state, the best model, the last
/// checkpoint's state and the log, these two without times.
pub(crate) fn remains(dir: &Path) -> Vec<String> {
    let hash = |bytes: &[u8]| format!("{:x?}", &Sha256::digest(bytes)[..]);
    let store = Store::new(Arc::new(StdVfs), dir.join("checkpoints"), 2);
    let newest = store.newest().unwrap();
    assert!(newest.rejected.is_empty(), "{:?}", newest.rejected);
    let found = newest.found.unwrap();
    let mut all = vec![format!("model {}", hash(&std::fs::read(dir.join("model.safetensors")).unwrap()))];
    for (name, bytes) in found.content {
        if name == "state.json" {
            all.push(without(&String::from_utf8(bytes).unwrap(), &["epoch_seconds", "metrics_bytes"]));
        } else {
            all.push(format!("{name} {}", hash(&bytes)));
        }
    }
    let log = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    all.extend(log.lines().map(|line| without(line, &["time"])));
    all
}

fn without(json: &str, fields: &[&str]) -> String {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    for field in fields {
        assert!(value.as_object_mut().unwrap().remove(*field).is_some());
    }
    value.to_string()
}
