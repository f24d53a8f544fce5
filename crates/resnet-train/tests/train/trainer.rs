//! The loop: what it learns, what it tells, what it does when something fails.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use resnet_core::DType;
use resnet_cpu::CpuBackend;
use resnet_train::Error;
use resnet_train::checkpoint::Store;
use resnet_train::checkpoint::vfs::{FileWriter, StdVfs, Vfs};
use resnet_train::classifier::Classifier;
use resnet_train::metrics::History;
use resnet_train::model::Model;
use resnet_train::run::RunDir;
use resnet_train::trainer::{Event, Outcome, Trainer};

use super::tiny;

fn silent(_: &Event<'_>) {}

#[test]
fn learns_and_leaves_a_directory_worth_looking_at() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let recipe = tiny::recipe(&["run.grad_norms=true", "train.clip_norm=5", "train.epochs=4"]);
    let mut trainer = tiny::trainer(2, &recipe);
    assert!(trainer.plan().flops > 0 && trainer.plan().parameter_bytes > 0);
    trainer.start_in(RunDir::create(&run).unwrap()).unwrap();
    let (mut lines, mut n_steps, mut saved) = (vec![], 0, vec![]);
    let mut observer = |event: &Event<'_>| match event {
        Event::Step(p) => {
            n_steps += 1;
            assert_eq!((p.step, p.total_steps, p.steps_in_epoch), (n_steps, 48, 12));
            assert!(p.loss.is_finite() && p.images_per_s.is_finite() && p.seconds_left >= 0.0);
        }
        Event::Epoch(record) => lines.push(record.to_string()),
        Event::Saved { path, .. } => saved.push(path.file_name().unwrap().to_owned()),
        Event::Warning(e) => panic!("{e}"),
        _ => {}
    };
    let outcome = trainer.train(&mut observer, &|| false).unwrap();
    let Outcome::Finished { best: Some(best) } = outcome else { panic!("{outcome:?}") };
    assert!(best.accuracy > 0.9, "{best:?}");
    assert_eq!(n_steps, 48);
    assert_eq!(saved, ["step-0000000", "step-0000012", "step-0000024", "step-0000036", "step-0000048"]);

    assert_eq!(lines.len(), 4);
    let words: Vec<&str> = lines[0].split([' ', ',']).filter(|w| !w.is_empty()).collect();
    let named = [words[0], words[2], words[4], words[5], words[7], words[8], words[11], words[13]];
    assert_eq!(named, ["epoch", "loss", "train", "acc", "test", "acc", "s", "img/s"], "{}", lines[0]);

    let history = History::read(&run.join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = history.steps.iter().map(|s| s.step).collect();
    assert_eq!(steps, [5, 10, 12, 15, 20, 24, 25, 30, 35, 36, 40, 45, 48]);
    for step in &history.steps {
        let (all, first, last) = (
            step.grad_norm.unwrap(),
            step.grad_norm_first_stage.unwrap(),
            step.grad_norm_last_stage.unwrap(),
        );
        assert!(first > 0.0 && last > 0.0 && first.hypot(last) <= all * (1.0 + 1e-5), "{step:?}");
    }
    assert_eq!(history.epochs.len(), 4);
    assert!(history.epochs[3].loss < history.epochs[0].loss);

    // The best weights answer as they did when they were the best.
    let model = Model::read(&run.join("model.safetensors")).unwrap();
    assert_eq!(model.classes[3], "quadrant 3");
    let mut classifier = Classifier::new(CpuBackend::new(Some(1)).unwrap(), &model, 16, DType::F32).unwrap();
    let loader = recipe.test_loader(trainer.data(), &recipe.preprocessing(trainer.data()).unwrap()).unwrap();
    let evaluation = classifier.evaluate(&loader, |_, _| true).unwrap().unwrap();
    assert_eq!((evaluation.top1(), evaluation.loss()), (best.accuracy, best.loss));
    assert_eq!(evaluation.count(), 50);
    let probabilities = classifier.probabilities(&[100; 2 * tiny::SIDE * tiny::SIDE], 2).unwrap();
    assert_eq!(probabilities.len(), 2);
    assert!(probabilities.iter().all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    assert_eq!(probabilities[0], probabilities[1], "equal pictures, equal answers");

    // The effective recipe is there, and the directory is taken.
    let other = RunDir::create(&run).unwrap_err();
    assert!(matches!(other, Error::RunDir { .. }), "{other}");
    let other = RunDir::resume(&run).unwrap_err();
    assert!(matches!(other, Error::RunTaken { .. }), "{other}");
    assert!(other.to_string().contains(&format!("process {}", std::process::id())), "{other}");
    drop(trainer);
    assert_eq!(RunDir::resume(&run).unwrap().recipe().unwrap(), recipe);
}

#[test]
fn threads_and_workers_do_not_change_a_bit() {
    let train = |threads: usize, workers: &str| {
        let recipe = tiny::recipe(&["augment.pad_crop=1", "augment.flip=0.5", "train.max_steps=8", workers]);
        let mut trainer = tiny::trainer(threads, &recipe);
        trainer.train(&mut silent, &|| false).unwrap();
        trainer.values().unwrap()
    };
    let one = train(1, "run.workers=1");
    assert_eq!(train(2, "run.workers=1"), one);
    assert_eq!(train(1, "run.workers=3"), one);
    assert_eq!(train(3, "run.workers=2"), one);
}

#[test]
fn the_seed_decides() {
    let train = |seed: &str| {
        let mut trainer = tiny::trainer(1, &tiny::recipe(&["train.max_steps=2", seed]));
        trainer.train(&mut silent, &|| false).unwrap();
        trainer.values().unwrap()
    };
    assert_eq!(train("train.seed=1"), train("train.seed=1"));
    assert_ne!(train("train.seed=1"), train("train.seed=2"));
}

/// Where every picture is the same, the parts of a batch have the statistics of the whole, so accumulating over parts must
/// give the step of the whole batch. A wrong scale would be off by the size of the step itself.
#[test]
fn accumulated_gradients_are_those_of_the_whole_batch() {
    let same = || {
        let mut data = tiny::data();
        let picture: Vec<u8> = (0..tiny::SIDE * tiny::SIDE).map(|i| (i * 37 % 251) as u8).collect();
        let pictures = resnet_train::data::InMemory::new(
            "same",
            (tiny::SIDE, tiny::SIDE, 1),
            picture.repeat(64),
            vec![1; 64],
            tiny::N_CLASSES,
        );
        data.train = Arc::new(pictures.unwrap());
        data
    };
    let train = |parts: &str, steps: &str| {
        let recipe = tiny::recipe(&["optimizer.weight_decay=0", "schedule.name=constant", parts, steps]);
        let mut trainer = Trainer::new(CpuBackend::new(Some(1)).unwrap(), recipe, same()).unwrap();
        let start = trainer.values().unwrap();
        trainer.train(&mut silent, &|| false).unwrap();
        let end = trainer.values().unwrap();
        let is_trained = |i: &usize| trainer.graph().params()[*i].kind.is_trainable();
        let moved =
            |i: usize| end[i].iter().zip(&start[i]).map(|(a, b)| f64::from(a - b)).collect::<Vec<_>>();
        (0..end.len()).filter(is_trained).flat_map(moved).collect::<Vec<f64>>()
    };
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let whole = train("train.micro_batches=1", "train.max_steps=1");
    for parts in ["train.micro_batches=2", "train.micro_batches=4", "train.micro_batches=16"] {
        let parted = train(parts, "train.max_steps=1");
        let apart = norm(&mut whole.iter().zip(&parted).map(|(a, b)| a - b));
        assert!(apart < 0.01 * norm(&mut whole.iter().copied()), "{parts}: {apart}");
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let recipe = tiny::recipe(&["optimizer.lr=1e20", "schedule.name=constant", "run.save_every=1"]);
    let error = tiny::go_on(1, &recipe, &run, &|| false).unwrap_err();
    let Error::NonFinite { step, lr, .. } = &error else { panic!("{error}") };
    assert!((1..=12).contains(step), "{error}");
    assert_eq!(*lr, 1e20);
    let message = error.to_string();
    assert!(message.contains(&format!("step {step}")) && message.contains("not finite"), "{message}");
    let store = Store::new(Arc::new(StdVfs), run.join("checkpoints"), 2);
    let newest = store.newest().unwrap();
    assert!(newest.rejected.is_empty());
    assert!(newest.found.unwrap().step < *step);
}

/// The real file system until it is full.
#[derive(Debug)]
struct Disk {
    is_full: Arc<AtomicBool>,
}

impl Vfs for Disk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        StdVfs.create_dir_all(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        StdVfs.create(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        StdVfs.sync_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        StdVfs.rename(from, to)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        StdVfs.remove_dir_all(path)
    }
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        StdVfs.read(path, limit)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        StdVfs.list(path)
    }
}

/// Trains with a disk that is full from one step to another; returns the steps saved, the steps of warnings and the outcome.
fn with_full_disk(full: std::ops::Range<u64>) -> (Vec<u64>, Vec<u64>, resnet_train::Result<Outcome>) {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(AtomicBool::new(full.start == 0));
    let run = RunDir::create(dir.path().join("run")).unwrap();
    let mut trainer = tiny::trainer(1, &tiny::recipe(&[]));
    if let Err(e) = trainer.start_in(run.with_vfs(Arc::new(Disk { is_full: is_full.clone() }))) {
        return (vec![], vec![], Err(e));
    }
    let (mut saved, mut warned, mut step) = (vec![], vec![], 0);
    let mut observer = |event: &Event<'_>| match event {
        Event::Step(p) => {
            step = p.step;
            is_full.store(full.contains(&step), Ordering::Relaxed);
        }
        Event::Saved { .. } => saved.push(step),
        Event::Warning(e) => {
            assert!(
                e.to_string().contains("checkpoints") || e.to_string().contains("model.safetensors"),
                "{e}"
            );
            warned.push(step);
        }
        _ => {}
    };
    let outcome = trainer.train(&mut observer, &|| false);
    let store = Store::new(Arc::new(StdVfs), dir.path().join("run/checkpoints"), 2);
    let newest = store.newest().unwrap().found.map(|found| found.step);
    assert_eq!(newest, saved.last().copied());
    (saved, warned, outcome)
}

#[test]
fn a_full_disk_warns_and_heals() {
    let (saved, warned, outcome) = with_full_disk(10..20);
    // The save after the first epoch fails, ten steps later it is tried again with success.
    assert_eq!(saved, [0, 22, 24, 36]);
    assert!(warned.contains(&12) && warned.iter().all(|s| *s == 12), "{warned:?}");
    assert!(matches!(outcome, Ok(Outcome::Finished { .. })), "{outcome:?}");
}

#[test]
fn a_disk_full_at_the_start_or_end_is_an_error() {
    let (saved, _, outcome) = with_full_disk(0..1);
    assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
    assert!(saved.is_empty());
    let (saved, warned, outcome) = with_full_disk(30..99);
    assert_eq!(saved, [0, 12, 24]);
    assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
    assert!(warned.iter().all(|s| *s == 36), "{warned:?}"); // the best weights
}

#[test]
fn a_batch_larger_than_the_data_says_so() {
    let recipe = tiny::recipe(&["train.batch=204"]);
    let error =
        Trainer::new(CpuBackend::new(Some(1)).unwrap(), recipe, tiny::data()).unwrap_err().to_string();
    assert!(error.contains("204") && error.contains("203"), "{error}");
}

#[test]
fn a_model_is_read_strictly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let mut trainer = tiny::trainer(1, &tiny::recipe(&["model.classes=6"]));
    let model = trainer.model().unwrap();
    assert_eq!(model.classes[3..], ["quadrant 3", "class 4", "class 5"]);
    let bytes = model.to_bytes(trainer.graph()).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Model::read(&path).unwrap(), model);
    let refused = |from: &str, to: &str| {
        // Replacements of equal length keep the file's sizes right.
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut changed = bytes.clone();
        changed[at..at + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, changed).unwrap();
        Model::read(&path).unwrap_err().to_string()
    };
    for (from, to, named) in [
        ("bilinear", "bicubic_", "bicubic_"),
        ("preprocessing", "preprocessink", "preprocessing"),
        (r#",\"class 5\""#, "            ", "classes"),
    ] {
        let message = refused(from, to);
        assert!(message.contains("model.safetensors") && message.contains(named), "{message}");
    }
}

#[test]
fn an_unwritable_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = RunDir::create(file.join("run")).unwrap_err().to_string();
    assert!(error.contains("file/run") || error.contains("file"), "{error}");
    let error = RunDir::resume(dir.path().join("absent")).unwrap_err().to_string();
    assert!(error.contains("absent") && error.contains("no run"), "{error}");
}
