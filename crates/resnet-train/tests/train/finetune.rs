//! Learning on from weights: what is frozen stays to the bit, rates differ as asked, and a run goes on exactly.

use std::cell::Cell;
use std::path::Path;

use resnet_core::{ParamKind, Preprocessing, init};
use resnet_cpu::CpuBackend;
use resnet_train::recipe::{Finetune, FreezeNorm, Recipe, Start};
use resnet_train::run::RunDir;
use resnet_train::trainer::{Event, Outcome, ResumePolicy, Trainer};

use super::tiny;

/// Values that no network starts with: running statistics moved, normalisations away from the identity.
fn values(recipe: &Recipe) -> Vec<Vec<f32>> {
    let graph = recipe.spec(&tiny::data()).unwrap().build().unwrap();
    let mut values = init::initial_values(&graph, 11);
    for (i, (value, param)) in values.iter_mut().zip(graph.params()).enumerate() {
        let shift = |k: usize| 0.01 * ((7 * k + i) % 10) as f32;
        match param.kind {
            ParamKind::RunningMean => value.iter_mut().enumerate().for_each(|(k, v)| *v = shift(k)),
            ParamKind::RunningVar | ParamKind::Gamma => {
                value.iter_mut().enumerate().for_each(|(k, v)| *v = 0.8 + shift(k));
            }
            _ => {}
        }
    }
    values
}

/// A recipe that starts from weights of its own network.
fn recipe(overrides: &[&str], change: impl FnOnce(&mut Finetune)) -> Recipe {
    let mut recipe = tiny::recipe(overrides);
    let network = recipe.spec(&tiny::data()).unwrap();
    let preprocessing = Preprocessing::exact(tiny::SIDE, tiny::SIDE, vec![0.3], vec![0.21]);
    let start = Start { sha256: "0".repeat(64), network, preprocessing };
    let mut finetune = Finetune { start: Some(start), ..Finetune::default() };
    change(&mut finetune);
    recipe.finetune = Some(finetune);
    recipe
}

fn trainer(recipe: &Recipe) -> Trainer<CpuBackend> {
    let backend = CpuBackend::new(Some(1)).unwrap();
    Trainer::fine_tune(backend, recipe.clone(), tiny::data(), values(recipe)).unwrap()
}

/// Names of parameters that training changed.
fn changed(recipe: &Recipe) -> Vec<String> {
    let mut trainer = trainer(recipe);
    let before = trainer.values().unwrap();
    trainer.train(&mut |_: &Event<'_>| {}, &|| false).unwrap();
    let after = trainer.values().unwrap();
    let names = trainer.graph().params().iter().map(|p| p.name.clone());
    names.zip(before.iter().zip(&after)).filter(|(_, (a, b))| a != b).map(|(name, _)| name).collect()
}

#[test]
fn what_is_frozen_stays_to_the_bit_and_the_rest_learns() {
    let short = ["train.max_steps=3"];
    let until = |norm| recipe(&short, |f| (f.freeze_until, f.freeze_norm) = (Some("layer3".into()), norm));
    let stands_before =
        |name: &String| ["conv1", "bn1", "layer1", "layer2"].iter().any(|p| name.starts_with(p));

    let moved = changed(&until(FreezeNorm::FrozenLayers));
    assert!(!moved.iter().any(stands_before), "{moved:?}");
    for name in
        ["layer3.0.conv1.weight", "layer3.0.bn2.running_var", "layer3.0.bn1.bias", "fc.weight", "fc.bias"]
    {
        assert!(moved.iter().any(|m| m == name), "{name} is not in {moved:?}");
    }
    let moved = changed(&until(FreezeNorm::None));
    let before: Vec<&String> = moved.iter().filter(|name| stands_before(name)).collect();
    assert!(!before.is_empty() && before.iter().all(|name| name.contains("running_")), "{before:?}");

    let moved = changed(&recipe(&short, |f| f.freeze_norm = FreezeNorm::All));
    assert!(!moved.iter().any(|name| name.contains("bn")), "{moved:?}");
    assert!(moved.contains(&"conv1.weight".to_owned()), "gradients pass: {moved:?}");
}

#[test]
fn rates_differ_from_stage_to_stage() {
    let plain = [
        "train.max_steps=1",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        "optimizer.weight_decay=0",
        "schedule.name=constant",
    ];
    let step = |change: fn(&mut Finetune)| {
        let mut trainer = trainer(&recipe(&plain, change));
        let before = trainer.values().unwrap();
        trainer.train(&mut |_: &Event<'_>| {}, &|| false).unwrap();
        let after = trainer.values().unwrap();
        let names: Vec<String> = trainer.graph().params().iter().map(|p| p.name.clone()).collect();
        (names, before, after)
    };
    let (names, start, even) = step(|_| {});
    let (_, _, graded) = step(|f| (f.lr_decay, f.head_lr) = (0.5, 4.0));
    for (name, factor) in [
        ("fc.weight", 4.0),
        ("layer3.0.conv1.weight", 1.0),
        ("layer2.0.conv1.weight", 0.5),
        ("layer1.0.bn1.weight", 0.25),
        ("conv1.weight", 0.125),
    ] {
        let i = names.iter().position(|n| n == name).unwrap();
        for ((s, e), g) in start[i].iter().zip(&even[i]).zip(&graded[i]) {
            // Both steps are rounded to f32 where they are added to the weight.
            let (wanted, found) = (factor * f64::from(e - s), f64::from(g - s));
            let rounding =
                f64::from(f32::EPSILON) * (1.0 + factor) * f64::from(s.abs().max(e.abs()).max(g.abs()));
            assert!((wanted - found).abs() <= rounding, "{name}: {found} for {wanted}");
        }
    }
}

#[test]
fn a_run_goes_on_bit_for_bit_without_its_weights() {
    let recipe = recipe(&["train.max_steps=20", "run.save_every=4"], |f| {
        (f.freeze_until, f.lr_decay, f.head_lr) = (Some("layer2".into()), 0.5, 3.0);
    });
    let train = |dir: &Path, stop: &dyn Fn() -> bool| {
        let mut trainer = if RunDir::holds_run(dir) {
            // As the command does: the recipe comes from the run, the weights from the checkpoint.
            let run = RunDir::resume(dir).unwrap();
            assert!(run.has_checkpoint());
            let kept = run.recipe().unwrap();
            assert_eq!(kept, recipe, "every number survives TOML");
            let mut trainer = tiny::trainer(1, &kept);
            trainer.resume_from(run, ResumePolicy::Exact).unwrap();
            trainer
        } else {
            let mut trainer = trainer(&recipe);
            trainer.start_in(RunDir::create(dir).unwrap()).unwrap();
            trainer
        };
        trainer.train(&mut |_: &Event<'_>| {}, stop).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    train(&whole, &|| false);
    for part in 0.. {
        let left = Cell::new(6);
        let stop = || {
            left.set(left.get() - 1);
            left.get() == 0
        };
        if matches!(train(&parts, &stop), Outcome::Finished { .. }) {
            assert!(part > 1);
            break;
        }
    }
    assert_eq!(tiny::remains(&parts), tiny::remains(&whole));
}

#[test]
fn a_start_that_is_not_there_or_does_not_fit_is_refused() {
    let message = |e: resnet_train::Error| e.to_string();
    let mut without = tiny::trainer(1, &recipe(&[], |_| {}));
    let error = message(without.train(&mut |_: &Event<'_>| {}, &|| false).unwrap_err());
    assert!(error.contains("finetune.weights"), "{error}");

    let refused = |recipe: Recipe| {
        let backend = CpuBackend::new(Some(1)).unwrap();
        message(Trainer::new(backend, recipe, tiny::data()).unwrap_err())
    };
    let error = refused(recipe(&[], |f| f.freeze_until = Some("layer9".into())));
    assert!(error.contains("layer9") && error.contains("layer3") && error.contains("fc"), "{error}");
    let error = refused(recipe(&[], |f| f.head_lr = 0.0));
    assert!(error.contains("finetune.head_lr"), "{error}");
    let error = refused(recipe(&[], |f| {
        let start = f.start.as_mut().unwrap();
        start.network = start.network.clone().classes(9);
    }));
    assert!(error.contains("9 classes") && error.contains('4'), "{error}");
}

#[test]
fn the_preprocessing_is_that_of_the_weights() {
    let recipe = recipe(&["train.max_steps=1"], |_| {});
    let mut trainer = trainer(&recipe);
    assert_eq!(trainer.model().unwrap().preprocessing.mean, [0.3]);
    let mut told = recipe;
    told.apply(&["data.mean=[0.4]", "data.std=[0.5]"]).unwrap();
    assert_eq!(told.preprocessing(&tiny::data()).unwrap().mean, [0.4]);
}
