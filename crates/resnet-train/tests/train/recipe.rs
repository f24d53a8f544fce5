//! Recipes: reading, overriding, refusing.

use resnet_core::zoo;
use resnet_train::data::sample;
use resnet_train::recipe::{OptimizerRecipe, Precision, Recipe, Shipped, Size};
use resnet_train::schedule::Schedule;

fn message(result: resnet_train::Result<impl std::fmt::Debug>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn shipped_recipes_are_valid_and_name_their_command() {
    for shipped in Shipped::ALL {
        let recipe = shipped.recipe().unwrap();
        zoo::arch(&recipe.model.arch).unwrap();
        for line in ["# Run ", "# Expect ", "# Source "] {
            assert!(shipped.text.contains(line), "{} has no {line}", shipped.name);
        }
        assert!(shipped.title().len() > 20);
        assert_eq!(Recipe::load(shipped.name).unwrap(), recipe);
    }
}

#[test]
fn every_recipe_survives_toml_and_json() {
    let mut recipes: Vec<Recipe> = Shipped::ALL.iter().map(|s| s.recipe().unwrap()).collect();
    recipes.push(Recipe::default());
    let mut odd = Recipe::default();
    odd.apply(&[
        "model.size=96x128",
        "model.variant=v1.5",
        "model.init=keras",
        "optimizer.name=adamw",
        "optimizer.lr=0.0012345678901234567",
        "schedule.name=step",
        "train.clip_norm=0.1",
        "train.max_steps=17",
        "train.precision=bf16",
    ])
    .unwrap();
    recipes.push(odd);
    for recipe in recipes {
        assert_eq!(Recipe::parse("again", &recipe.to_toml().unwrap()).unwrap(), recipe);
        let json = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
    }
}

#[test]
fn overrides_reach_every_kind_of_field() {
    let mut recipe = Recipe::default();
    recipe
        .apply(&[
            "optimizer.beta1=0.8", // before its optimizer is named
            "optimizer.name=adam",
            "train.epochs=7",
            "train.label_smoothing = 0.1",
            "train.precision=bf16",
            "model.size=32",
            "model.zero_init_residual=true",
            "data.dir=2024",
            "data.mean=[0.5]",
            "data.std=[0.25]",
            "schedule.name=constant",
        ])
        .unwrap();
    let OptimizerRecipe::Adam(adam) = &recipe.optimizer else { panic!("{:?}", recipe.optimizer) };
    assert_eq!((adam.beta1, adam.beta2), (0.8, 0.999));
    assert_eq!(recipe.train.epochs, 7);
    assert_eq!(recipe.train.label_smoothing, 0.1);
    assert_eq!(recipe.train.precision, Precision::Bf16);
    assert_eq!(recipe.model.size, Some(Size::square(32)));
    assert_eq!(recipe.model.zero_init_residual, Some(true));
    assert_eq!(recipe.data.dir.as_deref(), Some("2024".as_ref()));
    assert!(matches!(recipe.schedule, Schedule::Constant(_)));
    recipe.set("model.size", "none").unwrap();
    assert_eq!(recipe.model.size, None);
}

#[test]
fn naming_the_same_optimizer_again_changes_nothing() {
    let mut recipe = Recipe::default();
    recipe.apply(&["optimizer.lr=0.3", "optimizer.name=sgd"]).unwrap();
    assert_eq!(recipe.optimizer.lr(), 0.3);
}

#[test]
fn wrong_overrides_name_field_found_and_wanted() {
    let cases: [(&str, &[&str]); 16] = [
        ("optimizer.lrr=1", &["optimizer.lrr=1", "lrr", "expected", "lr", "momentum"]),
        ("optimiser.lr=1", &["optimiser", "optimizer", "schedule"]),
        ("train.epochs=many", &["train.epochs=many", "many", "u64"]),
        ("train.epochs=0", &["train.epochs", "0", "at least 1"]),
        ("train.epochs=-1", &["train.epochs", "-1"]),
        ("optimizer.name=lion", &["lion", "sgd", "adam", "adamw"]),
        ("optimizer.lr=-0.1", &["optimizer.lr", "-0.1", "above 0"]),
        ("optimizer.lr=nan", &["optimizer.lr", "NaN", "finite"]),
        ("train.micro_batches=3", &["train.micro_batches", "3", "128", "divides"]),
        ("model.size=0", &["model.size", "0", "96"]),
        ("model.variant=v3", &["v3", "v1.5"]),
        ("model.arch=resnet19", &["resnet19", "resnet18"]),
        ("data.name=imagenet", &["data.name", "imagenet", "fashion-mnist-sample", "mnist"]),
        ("augment.flip=1.5", &["augment.flip", "1.5", "0 to 1"]),
        ("run.keep=1", &["run.keep", "1", "at least 2"]),
        ("no equals sign", &["table.field=value"]),
    ];
    for (text, wanted) in cases {
        let message = message(Recipe::default().apply(&[text]));
        for part in wanted {
            assert!(message.contains(part), "{text}: `{part}` is not in: {message}");
        }
    }
}

#[test]
fn wrong_files_name_file_and_line() {
    let found = message(Recipe::parse("my.toml", "[train]\nepochs = 3\nbatchsize = 4\n"));
    for part in ["my.toml", "line 3", "batchsize", "batch"] {
        assert!(found.contains(part), "{found}");
    }
    let found = message(Recipe::parse("my.toml", "[optimizer]\nname = \"adam\"\nmomentum = 0.9\n"));
    assert!(found.contains("momentum") && found.contains("beta1"), "{found}");
    let found = message(Recipe::load("no-such-recipe"));
    assert!(found.contains("no-such-recipe") && found.contains("fashion-sample"), "{found}");
}

#[test]
fn differences_are_named_and_the_run_table_is_free() {
    let ours = Recipe::default();
    let mut theirs = ours.clone();
    theirs.apply(&["run.log_every=3", "data.dir=elsewhere"]).unwrap();
    assert!(ours.differences(&theirs).unwrap().is_empty());
    theirs.apply(&["optimizer.lr=0.05", "train.clip_norm=1"]).unwrap();
    let found = ours.differences(&theirs).unwrap();
    assert_eq!(
        found,
        ["optimizer.lr: 0.1, 0.05 in the other", "train.clip_norm: \"none\", 1.0 in the other"]
    );
}

#[test]
fn recipe_and_data_must_fit() {
    let data = sample::fashion_mnist().unwrap();
    let with = |text: &str| {
        let mut recipe = Recipe::default();
        recipe.apply(&[text]).unwrap();
        recipe
    };
    let loader = |text: &str| {
        let recipe = with(text);
        recipe.train_loader(&data, &recipe.preprocessing(&data).unwrap())
    };
    let found = message(with("model.classes=9").spec(&data));
    assert!(found.contains('9') && found.contains("10 classes"), "{found}");
    let found = message(with("model.channels=3").spec(&data));
    assert!(found.contains('3') && found.contains('1'), "{found}");
    let found = message(loader("train.batch=100000"));
    assert!(found.contains("100000") && found.contains("5000") || found.contains("5,000"), "{found}");
    let spec = with("model.size=32").spec(&data).unwrap();
    assert_eq!((spec.channels, spec.height, spec.width, spec.classes), (1, 32, 32, 10));
    assert_eq!(loader("model.size=32").unwrap().shape(), (32, 32, 1));
}
