//! `resnet train`: a recipe in, a run directory out.

use std::path::{Path, PathBuf};

use resnet::Starting;
use resnet::backend::{Job, dispatch};
use resnet_core::Backend;
use resnet_train::data::Dataset;
use resnet_train::metrics::History;
use resnet_train::recipe::{FreezeNorm, Recipe, Shipped};
use resnet_train::run::RunDir;
use resnet_train::trainer::{Outcome, ResumePolicy, Trainer};

use crate::args::{DeviceArgs, FinetuneArgs, RecipeArgs, label};
use crate::exit::{Interrupted, usage};
use crate::runs;
use crate::signals::Signals;
use crate::view::output::say;
use crate::view::watch::Watch;
use crate::view::{number, output};

/// Train a network by a recipe.
///
/// Without arguments: ResNet-18 on the embedded sample of Fashion-MNIST, about a minute on two cores.
/// `--list` shows the recipes that come with the program; any other name is a file.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet train
  resnet train fashion-mnist-28 --arch resnet20-cifar --epochs 10
  resnet train my-recipe.toml --lr 0.01 --set schedule.name=step --set schedule.milestones=[5,8]
  resnet train --weights resnet50-0676ba61.pth --data photos/ --epochs 5 --freeze-until layer4
  resnet train --resume runs/fashion-sample-1

Ctrl-C finishes the step, saves and stops; `resnet train --resume` goes on as if nothing had happened.")]
pub(crate) struct TrainArgs {
    /// Name or file of the recipe [default: fashion-sample]
    #[arg(value_name = "RECIPE")]
    positional: Option<String>,

    /// The same as a flag
    #[arg(long, value_name = "RECIPE", conflicts_with = "positional")]
    recipe: Option<String>,

    /// Directory to write the run to. Default: a new one in runs/
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Go on with a run, the newest one if none is named
    #[arg(long, value_name = "RUN", num_args = 0..=1, conflicts_with_all = ["positional", "recipe", "out"])]
    resume: Option<Option<PathBuf>>,

    /// Go on although recipe, data or backend are not what they were: from the saved weights, but no longer bit for bit
    #[arg(long, requires = "resume")]
    inexact: bool,

    /// The recipes that come with the program, one a line
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    change: RecipeArgs,

    #[command(flatten)]
    finetune: FinetuneArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn run(args: TrainArgs) -> anyhow::Result<()> {
    if args.list {
        return output::lines(Shipped::ALL.iter().map(|s| format!("{:22} {}", s.name, s.title())));
    }
    let signals = Signals::watch()?;
    let overrides = [args.finetune.overrides(), args.change.overrides()].concat(); // --set comes last, and wins
    let (target, mut recipe) = match &args.resume {
        Some(run) => {
            let path = run.clone().map_or_else(runs::newest, Ok)?;
            let dir = RunDir::resume(path)?;
            let mut recipe = dir.recipe()?;
            recipe.apply(&overrides)?;
            let policy = if args.inexact { ResumePolicy::Inexact } else { ResumePolicy::Exact };
            (Target::Resume(dir, policy), recipe)
        }
        None => {
            let name = args
                .recipe
                .as_deref()
                .or(args.positional.as_deref())
                .unwrap_or_else(|| args.change.data.default_recipe(args.finetune.default_recipe()));
            if let Some(path) = args.out.as_deref().filter(|path| RunDir::holds_run(path)) {
                let shown = path.display();
                return Err(usage(format!(
                    "{shown} holds a run already; go on with it by --resume {shown}, or choose another directory"
                )));
            }
            let target = args.out.clone().map_or_else(|| Target::New(runs::name_of(name)), Target::Directory);
            let mut recipe = Recipe::load(name)?;
            recipe.apply(&overrides)?;
            (target, recipe)
        }
    };
    let data = recipe.open_data()?;
    let goes_on = matches!(&target, Target::Resume(dir, _) if dir.has_checkpoint());
    let start = match recipe.finetune {
        Some(_) if !goes_on => Some(args.finetune.start(&mut recipe, &data, &args.change.network)?),
        _ => None,
    };
    dispatch(args.device.choice(), Train { recipe, data, start, target, signals })
}

/// Where the run goes.
enum Target {
    /// A new directory in `runs/`, by this name and a number.
    New(String),
    /// This directory.
    Directory(PathBuf),
    /// Where it was.
    Resume(RunDir, ResumePolicy),
}

struct Train {
    recipe: Recipe,
    data: Dataset,
    start: Option<Starting>,
    target: Target,
    signals: Signals,
}

impl Job for Train {
    type Output = ();
    type Error = anyhow::Error;

    fn run<B: Backend>(self, backend: B) -> anyhow::Result<()> {
        let mut trainer = match self.start {
            Some(start) => Trainer::fine_tune(backend, self.recipe, self.data, start.values)?,
            None => Trainer::new(backend, self.recipe, self.data)?,
        };
        print_plan(&trainer);
        let (dir, resumed) = attach(&mut trainer, self.target)?;
        say(format!("run          {}", dir.display()));
        let history = match resumed {
            Some(step) => {
                say(format!("             goes on after step {step} of {}", trainer.horizon().total_steps));
                History::read(&dir.join("metrics.jsonl"))?
            }
            None => History::default(),
        };
        say("");
        let title = format!(
            "{} on {}, seed {}",
            label(trainer.spec()),
            trainer.data().name,
            trainer.recipe().train.seed
        );
        let per_epoch = trainer.horizon().steps_per_epoch;
        let mut watch = Watch::new(title, per_epoch, Some(dir.join("curves.svg")), history);
        let signals = &self.signals;
        let outcome = trainer.train(&mut watch, &|| signals.received().is_some());
        watch.clear();
        let outcome = outcome.inspect_err(|e| {
            if !matches!(e, resnet_train::Error::NonFinite { .. }) {
                eprintln!(
                    "what was saved last is kept; `resnet train --resume {}` goes on from there",
                    dir.display()
                );
            }
        });
        match outcome? {
            Outcome::Finished { .. } => {
                finish(&trainer, &dir, &watch.history)?;
                Ok(())
            }
            Outcome::Stopped { step } => {
                eprintln!(
                    "stopped after step {step}, saved; go on with: resnet train --resume {}",
                    dir.display()
                );
                Err(Interrupted { signal: signals.received().unwrap_or(2) }.into())
            }
        }
    }
}

/// What is trained on what, and what it takes, before anything is computed.
fn print_plan<B: Backend>(trainer: &Trainer<B>) {
    let (spec, recipe, horizon) = (trainer.spec(), trainer.recipe(), trainer.horizon());
    say(format!("data         {}", trainer.data().describe()));
    say(format!(
        "network      {}, {}×{}×{} → {} classes, {} layers, {:.3} GMAC per picture",
        label(spec),
        spec.channels,
        spec.height,
        spec.width,
        spec.classes,
        trainer.graph().nodes().len(),
        trainer.graph().macs() as f64 / 1e9
    ));
    print_finetuning(trainer);
    say(format!("device       {}: {}", trainer.backend().name(), trainer.backend().describe()));
    if let Some(feeding) = trainer.feeding() {
        say(format!("batches      {feeding}"));
    }
    say(trainer.plan());
    say(format!(
        "training     {} epochs, {} steps of {} pictures, {}, learning rate {}, seed {}",
        recipe.train.epochs,
        number::grouped(horizon.total_steps),
        recipe.train.batch,
        rule_name(recipe),
        recipe.optimizer.lr(),
        recipe.train.seed
    ));
}

/// What training starts from, and what of it stays.
fn print_finetuning<B: Backend>(trainer: &Trainer<B>) {
    let Some(finetune) = &trainer.recipe().finetune else { return };
    let Some(start) = &finetune.start else { return };
    let file = finetune.weights.as_deref().unwrap_or(Path::new("weights"));
    say(format!("start        {}, SHA-256 {}…", file.display(), start.sha256.get(..8).unwrap_or_default()));
    say(format!("pictures     {}", start.preprocessing));
    let frozen = match &finetune.freeze_until {
        Some(name) => format!("everything before {name}"),
        None => "no layer".into(),
    };
    let norms = match finetune.freeze_norm {
        FreezeNorm::FrozenLayers => "running statistics stay in frozen layers",
        FreezeNorm::None => "running statistics follow the pictures everywhere",
        FreezeNorm::All => "all normalisations stay as they are",
    };
    let (trained, all) = (trainer.plan().n_params, trainer.graph().trainable_params());
    let share = format!(
        "{} of {} parameters are trained",
        number::grouped(trained as u64),
        number::grouped(all as u64)
    );
    say(format!("frozen       {frozen}: {share}; {norms}"));
    if (finetune.lr_decay, finetune.head_lr) != (1.0, 1.0) {
        say(format!(
            "rates        × {} for the classifier, × {} from stage to stage towards the picture",
            finetune.head_lr, finetune.lr_decay
        ));
    }
}

fn rule_name(recipe: &Recipe) -> &'static str {
    use resnet_core::op::Optimizer;
    match recipe.optimizer.rule() {
        Optimizer::Sgd { nesterov: true, .. } => "SGD with Nesterov's momentum",
        Optimizer::Sgd { .. } => "SGD with momentum",
        Optimizer::Adam { .. } => "Adam",
        Optimizer::AdamW { .. } => "AdamW",
    }
}

/// Ties the trainer to its directory. Returns the directory, and where a resumed run goes on.
fn attach<B: Backend>(trainer: &mut Trainer<B>, target: Target) -> anyhow::Result<(PathBuf, Option<u64>)> {
    let (dir, policy) = match target {
        Target::New(name) => (runs::create_numbered(&name)?, None),
        Target::Directory(path) => (RunDir::create(path)?, None),
        Target::Resume(dir, policy) => (dir, Some(policy)),
    };
    let path = dir.path().to_owned();
    let Some(policy) = policy else {
        trainer.start_in(dir)?;
        return Ok((path, None));
    };
    let resumed = trainer.resume_from(dir, policy).map_err(|e| match e {
        resnet_train::Error::Inexact { .. } => usage(format!(
            "{e}\nleave these as they were, or add --inexact to go on from the saved weights all the same"
        )),
        e => e.into(),
    })?;
    for why in &resumed.rejected {
        eprintln!("warning: {why}; an older checkpoint is taken");
    }
    for difference in &resumed.differences {
        eprintln!("warning: not as it was: {difference}");
    }
    Ok((path, Some(resumed.step)))
}

/// The result, where it is, and what can be done with it.
fn finish<B: Backend>(trainer: &Trainer<B>, dir: &Path, history: &History) -> anyhow::Result<()> {
    let best = trainer.best();
    let last = history.epochs.last();
    let summary = serde_json::json!({
        "arch": trainer.spec().arch,
        "variant": trainer.spec().variant,
        "data": trainer.data().describe(),
        "parameters": trainer.plan().n_params,
        "backend": trainer.backend().name(),
        "device": trainer.backend().describe(),
        "steps": trainer.step(),
        "best": best,
        "last": last,
        "training_seconds": history.epochs.iter().map(|e| e.time.seconds).sum::<f64>(),
    });
    let path = dir.join("summary.json");
    std::fs::write(&path, serde_json::to_string_pretty(&summary)? + "\n")
        .map_err(|source| resnet_train::Error::Io { path, action: "write", source })?;
    if let Some(best) = best {
        say(format!(
            "\nbest test accuracy {:.4} after epoch {}, loss {:.4}",
            best.accuracy, best.epoch, best.loss
        ));
    }
    let shown = dir.display();
    say(format!(
        "
{shown}
  model.safetensors  the best weights, ready to use
  curves.svg         loss and accuracy over time
  metrics.jsonl      the log; summary.json its result
  recipe.toml        what was trained, and how
  checkpoints/       to go on from

next
  resnet eval {shown}
  resnet predict {shown} PICTURE…"
    ));
    Ok(())
}
