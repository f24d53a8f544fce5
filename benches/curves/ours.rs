//! The run on this project's side, and what it hands over.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use resnet_core::{Backend, weights};
use resnet_train::data::{Batch, Loader};
use resnet_train::recipe::Recipe;
use resnet_train::trainer::{Event, Trainer};
use serde::Serialize;

use crate::Run;

/// The last file that [`train`] writes: where it is, everything is.
pub(crate) const LAST: &str = "settings.json";

/// What PyTorch needs to know besides weights and batches: `settings.json`.
#[derive(Serialize)]
struct Settings<'a> {
    arch: &'a str,
    channels: usize,
    height: usize,
    width: usize,
    classes: usize,
    batch: usize,
    n_steps: usize,
    label_smoothing: f64,
    /// Pixels become `scale·byte + shift`, per channel.
    scale: &'a [f32],
    shift: &'a [f32],
    optimizer: &'a resnet_train::recipe::OptimizerRecipe,
    /// Of every step.
    lr: &'a [f64],
}

/// Gradient clipping and parts of batches would need a twin on the other side.
pub(crate) fn refuse_what_torch_is_not_told(recipe: &Recipe) -> Result<()> {
    if recipe.train.clip_norm.is_some() || recipe.train.micro_batches != 1 {
        bail!("recipes with train.clip_norm or train.micro_batches cannot be laid over PyTorch's here");
    }
    Ok(())
}

/// Trains a recipe and leaves all that it was fed in `folder`.
pub(crate) fn train<B: Backend>(backend: B, recipe: &Recipe, folder: &Path) -> Result<Run> {
    let mut recipe = recipe.clone();
    (recipe.run.check_every, recipe.run.eval_every) = (1, recipe.train.epochs);
    let data = recipe.open_data()?;
    let preprocessing = recipe.preprocessing(&data)?;
    let mut trainer = Trainer::new(backend, recipe.clone(), data.clone())?;

    let values = trainer.values()?;
    let (spec, by) = (trainer.spec().clone(), trainer.backend().describe());
    let described = weights::describe(&spec);
    weights::write_graph(file(folder, "weights.safetensors")?, trainer.graph(), &described, |id| {
        Ok(Cow::Borrowed(&values[id.0]))
    })?;
    let n_steps = trainer.horizon().total_steps as usize;
    write_batches(
        &recipe.train_loader(&data, &preprocessing)?,
        n_steps,
        folder,
        ["pixels.u8", "labels.u32"],
    )?;
    let test = recipe.test_loader(&data, &preprocessing)?;
    write_batches(&test, test.n_batches(), folder, ["test_pixels.u8", "test_labels.u32"])?;

    let (mut losses, mut rates, mut seconds, mut accuracy) = (vec![], vec![], 0.0, None);
    let mut observer = |event: &Event<'_>| match event {
        Event::Step(progress) => {
            losses.push(progress.loss);
            rates.push(progress.lr);
        }
        Event::Epoch(record) => {
            eprintln!("{record}");
            seconds += record.time.seconds;
            accuracy = record.test.map(|test| test.accuracy);
        }
        _ => {}
    };
    trainer.train(&mut observer, &|| false)?;
    let (affine, channels) = (preprocessing.pixel_affine(), spec.channels);
    let settings = Settings {
        arch: &spec.arch,
        channels,
        height: spec.height,
        width: spec.width,
        classes: spec.classes,
        batch: recipe.train.batch,
        n_steps,
        label_smoothing: recipe.train.label_smoothing,
        scale: &affine[..channels],
        shift: &affine[channels..],
        optimizer: &recipe.optimizer,
        lr: &rates,
    };
    serde_json::to_writer(file(folder, LAST)?, &settings)?;
    let accuracy = accuracy.context("the last epoch was not evaluated")?;
    Ok(Run { losses, accuracy, seconds, by })
}

fn file(folder: &Path, name: &str) -> Result<BufWriter<File>> {
    let path = folder.join(name);
    Ok(BufWriter::new(File::create(&path).with_context(|| format!("cannot make {}", path.display()))?))
}

/// Writes the pictures of so many batches that count, epoch after epoch, and their labels.
fn write_batches(
    loader: &Loader,
    n_batches: usize,
    folder: &Path,
    [pixels, labels]: [&str; 2],
) -> Result<()> {
    let (mut pixels, mut labels) = (file(folder, pixels)?, file(folder, labels)?);
    let mut left = n_batches;
    for epoch in 0.. {
        for batch in loader.epoch(epoch, 0)?.take(left) {
            write_batch(&batch?, &mut pixels, &mut labels).context("writing the batches")?;
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    pixels.flush().and_then(|()| labels.flush()).context("writing the batches")
}

fn write_batch(batch: &Batch, pixels: &mut impl Write, labels: &mut impl Write) -> std::io::Result<()> {
    let of_one = batch.pixels.len() / batch.labels.len();
    pixels.write_all(&batch.pixels[..batch.n_valid * of_one])?;
    batch.labels[..batch.n_valid].iter().try_for_each(|label| labels.write_all(&label.to_le_bytes()))
}
