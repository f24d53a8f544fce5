//! `resnet compare`: several networks, the same data, order and budget, one table.

use std::path::{Path, PathBuf};

use anyhow::Context;
use resnet::backend::{Job, dispatch};
use resnet_core::Backend;
use resnet_core::zoo::{self, Variant};
use resnet_train::data::Dataset;
use resnet_train::metrics::History;
use resnet_train::recipe::{DEFAULT, Recipe};
use resnet_train::run::RunDir;
use resnet_train::trainer::{Outcome, ResumePolicy, Trainer};

use crate::args::{DeviceArgs, RecipeArgs};
use crate::exit::{Interrupted, usage};
use crate::runs;
use crate::signals::Signals;
use crate::view::comparison::{Comparison, Contender, Trial};
use crate::view::output::say;
use crate::view::watch::Watch;

/// Train several networks alike and compare them.
///
/// Same data, same order, same budget; one table and one picture.
/// Every pair of network and seed is a run of its own inside the output directory.
/// Stopped and started again with the same --out, a comparison goes on where it was.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet compare --variants v1,v2 --arch resnet20-cifar --seeds 3
  resnet compare --arch plain20-cifar,resnet20-cifar,plain56-cifar,resnet56-cifar --epochs 3
  resnet compare fashion-mnist-28 --arch resnet18,resnet34 --out runs/depth

Writes compare.md, compare.json and compare.svg. The gradient norms are means over the run.")]
pub(crate) struct CompareArgs {
    /// Name or file of the recipe [default: fashion-sample]
    #[arg(value_name = "RECIPE")]
    recipe: Option<String>,

    /// Variants to compare, for every --arch
    #[arg(long, value_name = "V,…", value_delimiter = ',', conflicts_with = "variant")]
    variants: Vec<Variant>,

    /// Runs of each network, with seeds that follow each other
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,

    /// Directory to write to. Default: a new one in runs/
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// `--arch` takes several names here, separated by commas
    #[command(flatten)]
    change: RecipeArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn run(args: CompareArgs) -> anyhow::Result<()> {
    let signals = Signals::watch()?;
    let contenders = contenders(&args)?;
    if contenders.len() * args.seeds as usize == 0 {
        return Err(usage("--seeds 0: at least one run of each network is needed"));
    }
    let data = contenders[0].1.open_data()?;
    let out = match &args.out {
        Some(path) => path.clone(),
        None => free_directory()?,
    };
    std::fs::create_dir_all(&out).with_context(|| format!("{}: cannot create", out.display()))?;
    say(format!("data         {}", data.describe()));
    say(format!(
        "comparison   {} networks, {} seeds each, in {}\n",
        contenders.len(),
        args.seeds,
        out.display()
    ));

    let mut comparison = Comparison {
        command: command_line(),
        data: data.describe(),
        device: String::new(),
        contenders: contenders
            .iter()
            .map(|(name, _)| Contender { name: name.clone(), trials: vec![] })
            .collect(),
    };
    let n_runs = contenders.len() as u64 * args.seeds;
    for seed in 0..args.seeds {
        for (i, (name, recipe)) in contenders.iter().enumerate() {
            let mut recipe = recipe.clone();
            recipe.train.seed += seed;
            let number = seed * contenders.len() as u64 + i as u64 + 1;
            say(format!("run {number} of {n_runs}: {name}, seed {}", recipe.train.seed));
            let dir = out.join(format!("{}-seed{}", name.replace(' ', "-"), recipe.train.seed));
            let title = format!("{name} on {}, seed {}", data.name, recipe.train.seed);
            let job =
                RunTrial { recipe, data: data.clone(), dir, title, signals: &signals, is_first: number == 1 };
            let (trial, device) = dispatch(args.device.choice(), job).inspect_err(|e| {
                if e.is::<Interrupted>() {
                    let shown = out.display();
                    eprintln!("stopped and saved; the same command with --out {shown} goes on");
                }
            })?;
            comparison.device = device;
            comparison.contenders[i].trials.push(trial);
            write(&out, &comparison)?;
        }
    }
    say(format!("\n{}", comparison.text()));
    say(format!("\n{}: compare.md, compare.json, compare.svg, and a directory for each run", out.display()));
    Ok(())
}

/// Every network by name, with its checked recipe.
fn contenders(args: &CompareArgs) -> anyhow::Result<Vec<(String, Recipe)>> {
    let name = args.recipe.as_deref().unwrap_or(DEFAULT);
    let archs = args.change.network.arch.clone().unwrap_or(Recipe::load(name)?.model.arch);
    let mut found: Vec<(String, Recipe)> = vec![];
    for arch in archs.split(',').map(str::trim) {
        let named = zoo::arch(arch)?;
        let variants: Vec<Option<Variant>> = match args.variants.as_slice() {
            [] => vec![args.change.network.variant],
            several => several.iter().copied().map(Some).collect(),
        };
        for variant in variants {
            let mut change = args.change.clone();
            (change.network.arch, change.network.variant) = (Some(arch.to_owned()), variant);
            let mut recipe = change.recipe(name)?;
            recipe.run.grad_norms = true;
            let label = match variant {
                Some(v) if !args.variants.is_empty() || v != named.variant => format!("{arch} {v}"),
                _ => arch.to_owned(),
            };
            if found.iter().any(|(name, _)| *name == label) {
                return Err(usage(format!("{label} is given twice")));
            }
            found.push((label, recipe));
        }
    }
    Ok(found)
}

/// Trains one network with one seed, or goes on with it, or finds it done.
struct RunTrial<'a> {
    recipe: Recipe,
    data: Dataset,
    dir: PathBuf,
    title: String,
    signals: &'a Signals,
    is_first: bool,
}

impl Job for RunTrial<'_> {
    /// The result, and the device in words.
    type Output = (Trial, String);
    type Error = anyhow::Error;

    fn run<B: Backend>(self, backend: B) -> anyhow::Result<(Trial, String)> {
        let mut trainer = Trainer::new(backend, self.recipe, self.data)?;
        let mut history = History::default();
        if RunDir::holds_run(&self.dir) {
            trainer.resume_from(RunDir::resume(&self.dir)?, ResumePolicy::Exact)?;
            history = History::read(&self.dir.join("metrics.jsonl"))?;
        } else {
            trainer.start_in(RunDir::create(&self.dir)?)?;
        }
        let horizon = trainer.horizon();
        if trainer.step() > 0 {
            say(format!(
                "found in {} after step {} of {}",
                self.dir.display(),
                trainer.step(),
                horizon.total_steps
            ));
        }
        let curves = Some(self.dir.join("curves.svg"));
        let mut watch =
            Watch::new(self.title, horizon.steps_per_epoch, curves, history).again(!self.is_first);
        let outcome = trainer.train(&mut watch, &|| self.signals.received().is_some());
        watch.clear();
        if let Outcome::Stopped { .. } = outcome? {
            return Err(Interrupted { signal: self.signals.received().unwrap_or(2) }.into());
        }
        let trial = Trial {
            seed: trainer.recipe().train.seed,
            n_params: trainer.plan().n_params,
            history: watch.history,
        };
        Ok((trial, trainer.backend().describe()))
    }
}

fn free_directory() -> anyhow::Result<PathBuf> {
    let path = |n: u32| Path::new(runs::HOME).join(format!("compare-{n}"));
    (1..).map(path).find(|p| !p.exists()).context("no free name in runs/")
}

/// The command as it can be typed again.
fn command_line() -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,/:".contains(c);
    let quoted = |arg: String| if arg.chars().all(is_plain) { arg } else { format!("'{arg}'") };
    std::iter::once("resnet".to_owned())
        .chain(std::env::args().skip(1).map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

fn write(out: &Path, comparison: &Comparison) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(&comparison.json())? + "\n";
    for (name, text) in
        [("compare.md", comparison.markdown()), ("compare.json", json), ("compare.svg", comparison.svg()?)]
    {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(())
}
