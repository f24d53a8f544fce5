//! `resnet predict`: what a trained network sees in pictures.

use std::path::{Path, PathBuf};

use resnet::backend::{Job, dispatch};
use resnet::picture::{self, PictureReader};
use resnet_core::Backend;
use resnet_train::classifier::Classifier;
use resnet_train::model::Model;
use serde::Serialize;

use crate::args::{DeviceArgs, ModelArgs, Precision};
use crate::exit::usage;
use crate::view::progress::Progress;
use crate::view::{output, table};

/// Say what is in pictures.
///
/// The most probable classes of each.
/// Pictures are made grey or coloured and resized as the network wants them, and normalised as in training.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet predict runs/fashion-sample-1 shoe.png bag.jpg
  resnet predict runs/fashion-sample-1 pictures/ --top 1 --json
  resnet predict resnet50.safetensors cat.jpg --arch resnet50 --class-names imagenet.txt \\
      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225")]
pub(crate) struct PredictArgs {
    /// A run directory or a weights file
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// Picture files, and folders with picture files: PNG, JPEG, WebP, BMP, GIF
    #[arg(value_name = "PICTURE", required = true)]
    pictures: Vec<PathBuf>,

    /// Classes to name for each picture
    #[arg(long, value_name = "K", default_value_t = 3)]
    top: usize,

    /// Pictures computed at a time
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,

    /// Type of the activations
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,

    /// A JSON array with one object per picture
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model_args: ModelArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What was seen in one file.
#[derive(Debug, Serialize)]
struct Seen {
    file: PathBuf,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    predictions: Vec<Prediction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Prediction {
    class: String,
    index: usize,
    probability: f32,
}

pub(crate) fn run(args: PredictArgs) -> anyhow::Result<()> {
    if args.batch == 0 || args.top == 0 {
        return Err(usage("--batch and --top must be at least 1"));
    }
    let (_, model) = args.model_args.read(&args.model)?;
    let files = picture::find(&args.pictures)?;
    if files.is_empty() {
        anyhow::bail!("no picture files in {}", list(&args.pictures));
    }
    let (json, choice) = (args.json, args.device.choice());
    let seen = dispatch(choice, Predict { model, files, args })?;
    if json {
        output::lines([serde_json::to_string_pretty(&seen)?])?;
    } else {
        output::lines([text(&seen)])?;
    }
    let failed: Vec<&Seen> = seen.iter().filter(|s| s.error.is_some()).collect();
    match failed.as_slice() {
        [] => Ok(()),
        [one] => anyhow::bail!("{}", one.error.as_deref().unwrap_or_default()),
        several => {
            let first = several[0].error.as_deref().unwrap_or_default();
            anyhow::bail!(
                "{} of {} pictures could not be read; the first: {first}",
                several.len(),
                seen.len()
            )
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

struct Predict {
    model: Model,
    files: Vec<PathBuf>,
    args: PredictArgs,
}

impl Job for Predict {
    type Output = Vec<Seen>;
    type Error = anyhow::Error;

    fn run<B: Backend>(self, backend: B) -> anyhow::Result<Vec<Seen>> {
        let mut reader = PictureReader::new(&self.model.preprocessing)?;
        let batch = self.args.batch.min(self.files.len());
        let mut classifier = Classifier::new(backend, &self.model, batch, self.args.precision.dtype())?;
        let mut progress = Progress::new("predicting", 0, self.files.len() as u64);
        let mut seen = vec![];
        for files in self.files.chunks(batch) {
            seen.extend(self.predict(&mut reader, &mut classifier, files)?);
            progress.at(seen.len() as u64, "");
        }
        progress.finish();
        Ok(seen)
    }
}

impl Predict {
    /// At most a batch of files. Those that cannot be read say so; the others are looked at.
    fn predict<B: Backend>(
        &self,
        reader: &mut PictureReader,
        classifier: &mut Classifier<B>,
        files: &[PathBuf],
    ) -> anyhow::Result<Vec<Seen>> {
        let (mut pixels, mut n_good, mut errors) = (vec![], 0, vec![]);
        for file in files {
            let read = reader.read(file);
            errors.push(read.as_ref().err().map(ToString::to_string));
            if let Ok(picture) = read {
                pixels.extend(picture);
                n_good += 1;
            }
        }
        let rows = if n_good > 0 { classifier.probabilities(&pixels, n_good)? } else { vec![] };
        let mut rows = rows.iter();
        let seen = files.iter().zip(errors).map(|(file, error)| {
            let row = if error.is_none() { rows.next() } else { None };
            Seen { file: file.clone(), predictions: row.map_or(vec![], |row| self.most_probable(row)), error }
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

/// One line per picture and class, the picture's name on its first.
fn text(seen: &[Seen]) -> String {
    let mut t = table::with_header(&["picture", "class", "probability"]);
    for s in seen {
        if s.error.is_some() {
            t.add_row([show(&s.file), "could not be read".into(), String::new()]);
        }
        for (i, p) in s.predictions.iter().enumerate() {
            let name = if i == 0 { show(&s.file) } else { String::new() };
            t.add_row([name, p.class.clone(), format!("{:.4}", p.probability)]);
        }
    }
    table::right_aligned(t, &[2])
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
