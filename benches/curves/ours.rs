//! The run on this project's side, and what it hands over.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use resnet_core::op::StepScalars;
use resnet_core::{Accumulate, Backend, Executor, LowerOptions, Params, init, weights};
use resnet_train::data::{Batch, Loader};
use resnet_train::evaluate::evaluate;
use resnet_train::recipe::Recipe;
use resnet_train::schedule::Horizon;
use serde::Serialize;

use crate::Run;

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
    n_test: usize,
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
pub(crate) fn train<B: Backend>(backend: &mut B, recipe: &Recipe, folder: &Path) -> Result<Run> {
    recipe.validate()?;
    let data = recipe.data.open()?;
    let spec = recipe.spec(&data)?;
    let graph = spec.build()?;
    let preprocessing = recipe.preprocessing(&data)?;
    let (train, test) =
        (recipe.train_loader(&data, &preprocessing)?, recipe.test_loader(&data, &preprocessing)?);
    let rule = recipe.optimizer.rule();
    let values = init::initial_values(&graph, recipe.train.seed);
    weights::write_graph(file(folder, "weights.safetensors")?, &graph, &weights::describe(&spec), |id| {
        Ok(Cow::Borrowed(&values[id.0]))
    })?;

    let mut params = Params::new(backend, &graph, &values, Some(&rule))?;
    params.decay_weights_only(!recipe.optimizer.decay_norm_and_bias());
    let smoothing = recipe.train.label_smoothing;
    let mut net = Executor::new(backend, &graph, LowerOptions::train(recipe.train.batch), smoothing as f32)?;
    let mut test_net = Executor::new(backend, &graph, LowerOptions::infer(test.batch()), 0.0)?;
    let affine = preprocessing.pixel_affine();
    net.set_pixel_affine(backend, &affine)?;
    test_net.set_pixel_affine(backend, &affine)?;

    let steps_per_epoch = train.n_batches() as u64;
    let total_steps = (recipe.train.epochs * steps_per_epoch).min(recipe.train.max_steps.unwrap_or(u64::MAX));
    let horizon = Horizon { steps_per_epoch, total_steps };
    let (mut pixels, mut labels) = (file(folder, "pixels.u8")?, file(folder, "labels.u32")?);
    let (mut losses, mut rates, mut time) = (vec![], vec![], Duration::ZERO);
    for epoch in 0..total_steps.div_ceil(steps_per_epoch) {
        for batch in train.epoch(epoch, 0)?.take((total_steps - losses.len() as u64) as usize) {
            let batch = batch?;
            hand_over(&batch, &mut pixels, &mut labels)?;
            let step = losses.len() as u64;
            let lr = recipe.schedule.lr(recipe.optimizer.lr(), step, horizon);
            let (correction1, correction2) = rule.bias_corrections(step + 1);
            let start = Instant::now();
            let scalars = StepScalars { lr: lr as f32, correction1, correction2, ..StepScalars::default() };
            net.set_scalars(backend, &scalars)?;
            net.load_pixels(backend, &batch.pixels)?;
            net.forward(backend, &mut params)?;
            net.loss(backend, &batch.labels, None, batch.n_valid, Accumulate::Set)?;
            net.backward(backend, &mut params, Accumulate::Set)?;
            backend.update(&rule, net.scalars(), None, &mut params.list)?;
            losses.push(f64::from(net.metrics(backend)?.loss()));
            time += start.elapsed();
            rates.push(lr);
        }
        eprintln!("epoch {} of seed {}: loss {:.4}", epoch + 1, recipe.train.seed, losses[losses.len() - 1]);
    }
    for out in [&mut pixels, &mut labels] {
        out.flush().context("writing the batches")?;
    }
    let n_test = test_set(&test, folder)?;
    let evaluation = evaluate(backend, &mut test_net, &mut params, &test, |_, _| true)?;
    let accuracy = evaluation.context("the test set is empty")?.top1();
    let (height, width, channels) = train.shape();
    let settings = Settings {
        arch: &spec.arch,
        channels,
        height,
        width,
        classes: spec.classes,
        batch: recipe.train.batch,
        n_steps: losses.len(),
        n_test,
        label_smoothing: smoothing,
        scale: &affine[..channels],
        shift: &affine[channels..],
        optimizer: &recipe.optimizer,
        lr: &rates,
    };
    serde_json::to_writer(file(folder, "settings.json")?, &settings)?;
    Ok(Run { losses, accuracy, seconds: time.as_secs_f64(), by: backend.describe() })
}

fn file(folder: &Path, name: &str) -> Result<BufWriter<File>> {
    let path = folder.join(name);
    Ok(BufWriter::new(File::create(&path).with_context(|| format!("cannot make {}", path.display()))?))
}

/// Appends the pictures that count, and their labels.
fn hand_over(batch: &Batch, pixels: &mut impl Write, labels: &mut impl Write) -> Result<()> {
    let of_one = batch.pixels.len() / batch.labels.len();
    pixels.write_all(&batch.pixels[..batch.n_valid * of_one]).context("writing pixels")?;
    for label in &batch.labels[..batch.n_valid] {
        labels.write_all(&label.to_le_bytes()).context("writing labels")?;
    }
    Ok(())
}

/// Writes the test pictures and says how many there are.
fn test_set(test: &Loader, folder: &Path) -> Result<usize> {
    let (mut pixels, mut labels) = (file(folder, "test_pixels.u8")?, file(folder, "test_labels.u32")?);
    let mut n = 0;
    for batch in test.epoch(0, 0)? {
        let batch = batch?;
        hand_over(&batch, &mut pixels, &mut labels)?;
        n += batch.n_valid;
    }
    pixels.flush().and_then(|()| labels.flush()).context("writing the test pictures")?;
    Ok(n)
}
