//! `resnet eval`: how good a trained network is, and at what.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use resnet::backend::{Job, dispatch};
use resnet::plot;
use resnet_core::Backend;
use resnet_train::classifier::Classifier;
use resnet_train::data::{Dataset, Loader};
use resnet_train::evaluate::Evaluation;
use resnet_train::model::Model;
use resnet_train::recipe::Size;

use crate::args::{DataArgs, DeviceArgs, ModelArgs, Precision, label};
use crate::exit::usage;
use crate::runs;
use crate::view::output::say;
use crate::view::progress::Progress;
use crate::view::{evaluation, number, output};

/// Test a trained network.
///
/// Top-1, top-5 and loss; precision, recall and F1 of every class; the confusion matrix.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet eval
  resnet eval runs/fashion-sample-1
  resnet eval runs/fashion-sample-1 --data fashion-mnist --json
  resnet eval --weights resnet50-0676ba61.pth --data imagenet/val
  resnet eval weights.safetensors --channels 1 --size 28 --data fashion-mnist --mean 0.286 --std 0.353")]
pub(crate) struct EvalArgs {
    /// A run directory or a weights file, as --weights. Default: the newest run
    #[arg(value_name = "MODEL", conflicts_with = "weights")]
    model: Option<PathBuf>,

    /// The test part is used. Default: what the run was trained on
    #[command(flatten)]
    data: DataArgs,

    /// Pictures computed at a time; changes memory and speed, not the result
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,

    /// Threads that read pictures
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,

    /// Type of the activations
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,

    /// Where to draw the confusion matrix. Default: confusion.svg in the run directory, if the model is a run
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Everything as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model_args: ModelArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn run(args: EvalArgs) -> anyhow::Result<()> {
    let named = args.model.as_ref().or(args.model_args.weights.weights.as_ref());
    let path = named.cloned().map_or_else(runs::newest, Ok)?;
    let (file, model) = args.model_args.read(&path)?;
    let mut recipe = args.data.for_model(&path)?;
    recipe.model.size = Some(Size { height: model.spec.height, width: model.spec.width });
    recipe.run.eval_batch = Some(args.batch);
    recipe.run.workers = args.workers;
    recipe.model.channels = Some(model.spec.channels);
    recipe.validate()?;
    let data = recipe.open_data()?;
    let data = if fits_by_name(&model, &data) { data.with_classes(&model.classes)? } else { data };
    check_fit(&model, &data)?;
    let loader = recipe.test_loader(&data, &model.preprocessing)?;

    let (network, classes) = (label(&model.spec), model.classes.clone());
    if !args.json {
        say(format!("model        {}: {network}, {} classes", file.display(), model.spec.classes));
        say(format!("data         {}, its test part", data.describe()));
        say(format!("pictures     {}", model.preprocessing));
    }
    let svg = args.svg.clone().or_else(|| path.is_dir().then(|| path.join("confusion.svg")));
    let (json, choice) = (args.json, args.device.choice());
    let started = Instant::now();
    let (evaluation, bad) = dispatch(choice, Eval { model, loader, args })?;
    let seconds = started.elapsed().as_secs_f64();

    if json {
        let text =
            serde_json::to_string_pretty(&evaluation::json(&evaluation, &classes, &file, &data.describe()))?;
        output::lines([text])?;
    } else {
        let count = number::grouped(evaluation.count());
        say(format!("tested       {count} pictures in {}\n", number::seconds(seconds)));
        output::lines([evaluation::text(&evaluation, &classes)])?;
    }
    bad.iter().for_each(|e| eprintln!("warning: not counted: {e}"));
    if let Some(svg) = svg {
        draw(
            &svg,
            &format!("{network} on {}, accuracy {:.4}", data.name, evaluation.top1()),
            &evaluation,
            &classes,
        )?;
        eprintln!("confusion matrix drawn in {}", svg.display());
    }
    Ok(())
}

/// Whether the data has classes of the model in another order or number, as a part of them has.
fn fits_by_name(model: &Model, data: &Dataset) -> bool {
    data.classes.iter().all(|class| model.classes.contains(class))
}

fn check_fit(model: &Model, data: &Dataset) -> anyhow::Result<()> {
    if model.spec.channels != data.channels {
        let (found, wanted) = (data.channels, model.spec.channels);
        return Err(usage(format!("{} has {found} channels, the network wants {wanted}", data.name)));
    }
    if model.spec.classes < data.n_classes() {
        let (found, known) = (data.n_classes(), model.spec.classes);
        return Err(usage(format!("{} has {found} classes, the network knows {known}", data.name)));
    }
    if model
        .classes
        .iter()
        .zip(&data.classes)
        .any(|(ours, theirs)| ours != theirs && !ours.starts_with("class "))
    {
        eprintln!("warning: the classes of {} are not those the model was trained on", data.name);
    }
    Ok(())
}

struct Eval {
    model: Model,
    loader: Loader,
    args: EvalArgs,
}

impl Job for Eval {
    /// And what could not be read.
    type Output = (Evaluation, Vec<resnet_train::Error>);
    type Error = anyhow::Error;

    fn run<B: Backend>(self, backend: B) -> anyhow::Result<Self::Output> {
        let dtype = self.args.precision.dtype();
        let mut classifier = Classifier::new(backend, &self.model, self.loader.batch(), dtype)?;
        let mut progress = Progress::new("testing", 0, self.loader.n_batches() as u64);
        let evaluation = classifier.evaluate(&self.loader, |done, _| {
            progress.at(done as u64, "");
            true
        });
        progress.finish();
        Ok((evaluation?.context("no test pictures")?, self.loader.take_bad()))
    }
}

fn draw(path: &Path, title: &str, evaluation: &Evaluation, classes: &[String]) -> anyhow::Result<()> {
    let n = evaluation.n_classes();
    let counts: Vec<u64> = (0..n * n).map(|i| evaluation.confusion(i / n, i % n)).collect();
    let svg = plot::confusion(title, classes, &counts)?;
    std::fs::write(path, svg).with_context(|| format!("{}: cannot write", path.display()))
}
