//! `resnet predict`: what a trained network sees in pictures.

mod answer;
mod input;

use std::path::{Path, PathBuf};

use resnet::backend::{Job, dispatch};
use resnet::picture::PictureReader;
use resnet_core::Backend;
use resnet_train::classifier::Classifier;
use resnet_train::model::Model;

use crate::args::{DataArgs, DeviceArgs, ModelArgs, Precision, label};
use crate::exit::usage;
use crate::view::progress::Progress;
use answer::{Answers, Form, Prediction, Seen};
use input::{Input, Part};

/// Say what is in pictures.
///
/// The most probable classes of each, by name.
/// Pictures are resized, cut and normalised as the weights want it.
/// A file that cannot be read is named and left out; the exit code is then 1.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet predict runs/fashion-sample-1 shoe.png bag.jpg
  resnet predict runs/fashion-sample-1 pictures/ --top 1 --json
  resnet predict --weights resnet50-0676ba61.pth 'holiday/*.jpg' --csv > seen.csv
  resnet predict --weights resnet50-0676ba61.pth - < cat.jpg
  resnet predict runs/photos-1 --data shards/ --part all --json > answers.jsonl
  find . -name '*.png' | resnet predict runs/fashion-sample-1 -")]
pub(crate) struct PredictArgs {
    /// A run directory or a weights file, if there is no --weights; then pictures: files, folders, patterns such as
    /// 'a/*.jpg', or - for standard input, which is a picture or a list of paths
    #[arg(value_name = "MODEL|PICTURE", required_unless_present = "data")]
    paths: Vec<PathBuf>,

    /// In place of pictures: a whole set; answers then have the set's label beside them
    #[command(flatten)]
    data: DataArgs,

    /// Which part of the set is looked at
    #[arg(long, value_enum, default_value_t, requires = "data", help_heading = "Data")]
    part: Part,

    /// Classes to name for each picture
    #[arg(long, value_name = "K", default_value_t = 3)]
    top: usize,

    /// Pictures computed at a time
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,

    /// Type of the activations
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,

    /// JSON lines: an object for each picture, as soon as it was looked at
    #[arg(long)]
    json: bool,

    /// CSV with a header: a row for each picture and class
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    #[command(flatten)]
    model_args: ModelArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

impl PredictArgs {
    /// The model, and the pictures that are named.
    fn split(&self) -> anyhow::Result<(PathBuf, &[PathBuf])> {
        let (model, pictures) = match (&self.model_args.weights.weights, self.paths.as_slice()) {
            (Some(weights), all) => (weights, all),
            (None, [model, pictures @ ..]) => (model, pictures),
            (None, []) => {
                return Err(usage("no model; name a run directory, or a weights file by --weights"));
            }
        };
        match (pictures, &self.data.data) {
            ([], None) => Err(usage(format!(
                "{} is taken for the model; name pictures after it: files, folders, patterns, or - for standard input; or a \
                 whole set by --data",
                model.display()
            ))),
            ([picture, ..], Some(_)) => Err(usage(format!(
                "pictures are named ({}) and a set by --data; one of the two wanted",
                picture.display()
            ))),
            _ => Ok((model.clone(), pictures)),
        }
    }

    /// What is to be looked at.
    fn inputs(&self, model: &Path, pictures: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
        if self.data.data.is_none() {
            return input::find(pictures);
        }
        let data = self.data.for_model(model)?.data.open()?;
        eprintln!("data: {}", data.describe());
        input::of_set(&data, self.part)
    }
}

pub(crate) fn run(args: PredictArgs) -> anyhow::Result<()> {
    if args.batch == 0 || args.top == 0 {
        return Err(usage("--batch and --top must be at least 1"));
    }
    let (path, pictures) = args.split()?;
    let inputs = args.inputs(&path, pictures)?;
    let (_, model) = args.model_args.read(&path)?;
    eprintln!("{}, {} classes; pictures: {}", label(&model.spec), model.spec.classes, model.preprocessing);
    let form = match (args.json, args.csv) {
        (true, _) => Form::JsonLines,
        (_, true) => Form::Csv,
        _ => Form::Table,
    };
    let n = inputs.len();
    let answers = dispatch(args.device.choice(), Predict { model, inputs, form, args })?;
    match answers.finish()?.as_slice() {
        [] => Ok(()),
        [one] => anyhow::bail!("{one}"),
        several => {
            anyhow::bail!("{} of {n} pictures could not be read; the first: {}", several.len(), several[0])
        }
    }
}

struct Predict {
    model: Model,
    inputs: Vec<Input>,
    form: Form,
    args: PredictArgs,
}

impl Job for Predict {
    type Output = Answers;
    type Error = anyhow::Error;

    fn run<B: Backend>(self, backend: B) -> anyhow::Result<Answers> {
        let mut reader = PictureReader::new(&self.model.preprocessing)?;
        let batch = self.args.batch.min(self.inputs.len());
        let mut classifier = Classifier::new(backend, &self.model, batch, self.args.precision.dtype())?;
        let mut progress = Progress::new("predicting", 0, self.inputs.len() as u64);
        let mut answers = Answers::new(self.form, self.args.data.data.is_some());
        for inputs in self.inputs.chunks(batch) {
            let seen = self.predict(&mut reader, &mut classifier, inputs)?;
            progress.above(|| answers.add(seen));
            progress.at(answers.count() as u64, "");
            if answers.unheard() {
                break;
            }
        }
        progress.finish();
        Ok(answers)
    }
}

impl Predict {
    /// At most a batch. Pictures that cannot be read say so; the others are looked at.
    fn predict<B: Backend>(
        &self,
        reader: &mut PictureReader,
        classifier: &mut Classifier<B>,
        inputs: &[Input],
    ) -> anyhow::Result<Vec<Seen>> {
        let (mut pixels, mut n_good, mut errors) = (vec![], 0, vec![]);
        for input in inputs {
            let read = input.read(reader);
            errors.push(read.as_ref().err().cloned());
            if let Ok(picture) = read {
                pixels.extend(picture);
                n_good += 1;
            }
        }
        let rows = if n_good > 0 { classifier.probabilities(&pixels, n_good)? } else { vec![] };
        let mut rows = rows.iter();
        let seen = inputs.iter().zip(errors).map(|(input, error)| {
            let row = if error.is_none() { rows.next() } else { None };
            Seen {
                file: input.path.clone(),
                label: input.label.clone(),
                predictions: row.map_or(vec![], |row| self.most_probable(row)),
                error,
            }
        });
        Ok(seen.collect())
    }

    fn most_probable(&self, row: &[f32]) -> Vec<Prediction> {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let named = |index: usize| Prediction {
            class: self.model.classes[index].clone(),
            index,
            probability: row[index],
        };
        order.into_iter().take(self.args.top).map(named).collect()
    }
}
