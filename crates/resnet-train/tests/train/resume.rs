//! A run that was stopped or killed goes on bit for bit.

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use resnet_core::rng::{Purpose, Stream};
use resnet_train::Error;
use resnet_train::checkpoint::{FORMAT, State};
use resnet_train::recipe::Recipe;
use resnet_train::run::RunDir;
use resnet_train::trainer::{Event, Outcome, ResumePolicy};

use super::tiny;

const EVERYTHING: [&str; 12] = [
    "train.micro_batches=2",
    "train.clip_norm=1",
    "train.label_smoothing=0.1",
    "augment.pad_crop=1",
    "augment.flip=0.5",
    "augment.erase=0.5",
    "schedule.warmup_epochs=1.5",
    "schedule.final_factor=0.1",
    "run.workers=2",
    "run.save_every=4",
    "run.grad_norms=true",
    "train.max_steps=33",
];

fn uninterrupted(recipe: &Recipe) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let outcome = tiny::go_on(1, recipe, &dir.path().join("run"), &|| false).unwrap();
    assert!(matches!(outcome, Outcome::Finished { best: Some(_) }), "{outcome:?}");
    tiny::remains(&dir.path().join("run"))
}

/// Stops after random numbers of steps, 1 to 9, until the run is done; one and two threads in turn.
fn stopped_again_and_again(recipe: &Recipe, seed: u64) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Stream::new(seed, Purpose::Synthetic, 0, 0);
    for part in 0.. {
        let left = Cell::new(1 + rng.below(9));
        let stop = || {
            left.set(left.get() - 1);
            left.get() == 0
        };
        let outcome = tiny::go_on(1 + part % 2, recipe, &dir.path().join("run"), &stop).unwrap();
        if matches!(outcome, Outcome::Finished { .. }) {
            assert!(part > 1, "it was not stopped often: {part}");
            break;
        }
    }
    tiny::remains(&dir.path().join("run"))
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit() {
    let cases: [&[&str]; 5] = [
        &[],
        &["optimizer.name=adam"],
        &["optimizer.name=adamw", "optimizer.weight_decay=0.05", "optimizer.decay_norm_and_bias=true"],
        &["run.check_every=5", "run.eval_every=2"],
        &EVERYTHING,
    ];
    for (seed, overrides) in cases.into_iter().enumerate() {
        let recipe = tiny::recipe(overrides);
        assert_eq!(stopped_again_and_again(&recipe, seed as u64), uninterrupted(&recipe), "{overrides:?}");
    }
}

/// The other half of the next test: trains in the directory that the environment names. Without one there is nothing to do.
#[test]
fn child_that_is_killed() {
    if let Some(dir) = std::env::var_os("RESNET_TEST_TRAIN_IN") {
        tiny::go_on(1, &tiny::recipe(&EVERYTHING), Path::new(&dir), &|| false).unwrap();
    }
}

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, run) = (dir.path().join("whole"), dir.path().join("run"));
    let child = |run: &Path| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "resume::child_that_is_killed"])
            .env("RESNET_TEST_TRAIN_IN", run)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let started = Instant::now();
    assert!(child(&whole).wait().unwrap().success());
    let longest = started.elapsed() / 2;
    let mut rng = Stream::new(7, Purpose::Synthetic, 0, 0);
    let mut n_killed = 0;
    for _ in 0..15 {
        let mut child = child(&run);
        std::thread::sleep(longest.mul_f64(rng.uniform()));
        child.kill().unwrap(); // SIGKILL
        n_killed += usize::from(!child.wait().unwrap().success());
    }
    assert!(child(&run).wait().unwrap().success());
    assert!(n_killed > 2, "only {n_killed} children were killed before they were done");
    assert_eq!(tiny::remains(&run), tiny::remains(&whole));
}

#[test]
fn what_cannot_be_exact_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let left = Cell::new(5);
    let stop = || {
        left.set(left.get() - 1);
        left.get() == 0
    };
    tiny::go_on(1, &tiny::recipe(&[]), &run, &stop).unwrap();

    let changed = tiny::recipe(&["optimizer.lr=0.06", "train.epochs=4", "run.log_every=7"]);
    let mut trainer = tiny::trainer(1, &changed);
    let error = trainer.resume_from(RunDir::resume(&run).unwrap(), ResumePolicy::Exact).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::Inexact { .. }), "{message}");
    assert!(
        message.contains("optimizer.lr: 0.06, 0.05") && message.contains("train.epochs: 4, 3"),
        "{message}"
    );
    assert!(!message.contains("log_every"), "{message}");

    let mut trainer = tiny::trainer(1, &changed);
    let resumed = trainer.resume_from(RunDir::resume(&run).unwrap(), ResumePolicy::Inexact).unwrap();
    assert_eq!((resumed.step, resumed.differences.len()), (5, 2));
    let outcome = trainer.train(&mut |_: &Event<'_>| {}, &|| false).unwrap();
    assert!(matches!(outcome, Outcome::Finished { .. }));
    assert_eq!(trainer.step(), 48);

    drop(trainer);
    let wider = tiny::recipe(&["optimizer.lr=0.06", "train.epochs=4", "model.arch=resnet14-cifar"]);
    let mut trainer = tiny::trainer(1, &wider);
    let error = trainer.resume_from(RunDir::resume(&run).unwrap(), ResumePolicy::Inexact).unwrap_err();
    assert!(error.to_string().contains("layer1.1"), "{error}");
}

#[test]
fn a_finished_run_resumes_into_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let recipe = tiny::recipe(&["train.epochs=1"]);
    tiny::go_on(1, &recipe, &run, &|| false).unwrap();
    let before = tiny::remains(&run);
    let outcome = tiny::go_on(2, &recipe, &run, &|| panic!("no step is left")).unwrap();
    assert!(matches!(outcome, Outcome::Finished { best: Some(_) }));
    assert_eq!(tiny::remains(&run), before);
}

#[test]
fn a_damaged_newest_checkpoint_costs_one_save_interval() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let recipe = tiny::recipe(&["run.save_every=4"]);
    let left = Cell::new(10);
    let stop = || {
        left.set(left.get() - 1);
        left.get() == 0
    };
    tiny::go_on(1, &recipe, &run, &stop).unwrap();
    let damaged = run.join("checkpoints/step-0000010/tensors.safetensors");
    let bytes = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let mut trainer = tiny::trainer(1, &recipe);
    let resumed = trainer.resume_from(RunDir::resume(&run).unwrap(), ResumePolicy::Exact).unwrap();
    assert_eq!(resumed.step, 8);
    assert!(resumed.rejected[0].to_string().contains("step-0000010"), "{}", resumed.rejected[0]);
    trainer.train(&mut |_: &Event<'_>| {}, &|| false).unwrap();
    drop(trainer);
    std::fs::remove_dir_all(run.join("checkpoints/step-0000010")).ok();
    assert_eq!(tiny::remains(&run), uninterrupted(&recipe));
}

#[test]
fn a_state_of_another_version_or_with_another_field_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    tiny::go_on(1, &tiny::recipe(&["train.max_steps=1"]), &run, &|| false).unwrap();
    let path = run.join("checkpoints/step-0000001/state.json");
    let json = std::fs::read_to_string(&path).unwrap();
    let parse = |json: &str| State::parse(&path, json.as_bytes());
    let state = parse(&json).unwrap();
    assert_eq!((state.step, state.format), (1, FORMAT));
    assert_eq!(parse(&String::from_utf8(state.to_json(&path).unwrap()).unwrap()).unwrap(), state);
    let message = parse(&json.replace("\"format\": 1", "\"format\": 2")).unwrap_err().to_string();
    assert!(message.contains("format 2") && message.contains("format 1"), "{message}");
    let message =
        parse(&json.replace("\"format\": 1", "\"format\": 1, \"mood\": 2")).unwrap_err().to_string();
    assert!(message.contains("mood"), "{message}");
    let message = parse(&json.replacen("\"step\": 1,", "", 1)).unwrap_err().to_string();
    assert!(message.contains("missing field `step`"), "{message}");
}
