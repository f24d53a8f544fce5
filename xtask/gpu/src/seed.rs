//! The tutorial's whole run: ResNet-18 on Fashion-MNIST at 96 pixels for five epochs, with the pictures on the device.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use resnet_train::data::{Dataset, InMemory, Known};
use resnet_train::metrics::EpochRecord;
use resnet_train::recipe::{Precision, Recipe};
use resnet_train::trainer::{Event, Outcome as Ended, Trainer};

use crate::Target;
use crate::programs::Programs;
use crate::report::Outcome;
use crate::training::open;

/// What the run must reach, and how fast it is wanted to be, in seconds: an epoch, and all of it after start-up.
const ACCURACY: f64 = 0.914;
const EPOCH_SECONDS: f64 = 0.5;
const SECONDS: f64 = 5.0;

/// Types of activations that the run is made with.
pub(crate) const PRECISIONS: [&str; 2] = ["bf16", "f16"];

pub(crate) fn run(target: Target, programs: &Programs, precision: &str) -> Result<(Outcome, String)> {
    let precision = if precision == "f16" { Precision::F16 } else { Precision::Bf16 };
    let (mut recipe, data) = match target {
        Target::Device(_) => {
            let mut recipe = Recipe::load("d2l-fashion-mnist-96")?;
            let carried = programs.folder("fashion-mnist");
            recipe.data.dir = carried.is_dir().then_some(carried);
            let data = recipe.open_data().context("`cargo xtask gpu-pack` carries the set")?;
            recipe.run.eval_batch = Some(500);
            (recipe, data)
        }
        Target::Emulator => (small(), squares()?),
    };
    recipe.train.precision = precision;
    // The loss is looked at when an epoch ends, so that the host never holds the device back.
    (recipe.run.log_every, recipe.run.check_every) = (1000, 1000);
    let started = Instant::now();
    let mut trainer = Trainer::new(open(target)?, recipe, data)?;
    let start_up = started.elapsed().as_secs_f64();
    let feeding = trainer.feeding().unwrap_or_default();
    ensure!(feeding.contains("on the device"), "the pictures are not on the device: {feeding}");
    let mut epochs: Vec<EpochRecord> = vec![];
    let started = Instant::now();
    let mut watch = |event: &Event<'_>| {
        if let Event::Epoch(record) = event {
            epochs.push((*record).clone());
        }
    };
    let ended = trainer.train(&mut watch, &|| false)?;
    let seconds = started.elapsed().as_secs_f64();
    let Ended::Finished { best: Some(best) } = ended else { anyhow::bail!("ended as {ended:?}") };

    let mut text = format!(
        "{feeding}.\n\n| epoch | loss | train accuracy | test accuracy | seconds | of testing |\n|--:|--:|--:|--:|--:|--:|\n"
    );
    for record in &epochs {
        text.push_str(&format!(
            "| {} | {:.4} | {:.4} | {:.4} | {:.3} | {:.3} |\n",
            record.epoch,
            record.loss,
            record.train_accuracy,
            record.test.map_or(f64::NAN, |test| test.accuracy),
            record.time.seconds,
            record.time.test_seconds
        ));
    }
    let fastest = epochs.iter().map(|record| record.time.seconds).fold(f64::INFINITY, f64::min);
    text.push_str(&format!(
        "\nStart-up {start_up:.1} s; training and testing {seconds:.2} s ({SECONDS} s is the aim); the fastest epoch {fastest:.3} s \
         ({EPOCH_SECONDS} s is the aim); best test accuracy {:.4}.\n",
        best.accuracy
    ));
    if let Some(scale) = trainer.loss_scale()? {
        text.push_str(&format!(
            "Loss scale {} at the end, {} steps left out.\n",
            scale.scale, scale.skipped_steps
        ));
    }
    let wanted = if target == Target::Emulator { 0.0 } else { ACCURACY };
    let outcome = match best.accuracy >= wanted {
        true => Outcome::Passed,
        false => Outcome::Failed(format!("a test accuracy of {:.4}; {wanted} is wanted", best.accuracy)),
    };
    Ok((outcome, text))
}

/// Copies the set, compressed as it is published.
pub(crate) fn carry(folder: &Path) -> Result<()> {
    let set = Known::FashionMnist;
    let from = set.find(None)?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for file in set.files() {
        let path = file.path_in(&from);
        let to = folder.join(path.file_name().unwrap_or_default());
        std::fs::copy(&path, &to).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    Ok(())
}

/// For a rehearsal: some steps of a small network.
fn small() -> Recipe {
    let mut recipe = Recipe::default();
    recipe.model.arch = "resnet8-cifar".into();
    (recipe.train.epochs, recipe.train.batch) = (2, 4);
    (recipe.augment.pad_crop, recipe.augment.flip) = (1, 0.5);
    recipe.run.eval_batch = Some(4);
    recipe
}

/// Pictures whose class is where they are bright.
fn squares() -> Result<Dataset> {
    let part = |n: usize| -> Result<Arc<InMemory>> {
        let pixels =
            (0..n * 64).map(|i| if (i / 32) % 2 == (i / 64) % 2 { 200 } else { (i % 50) as u8 }).collect();
        let labels = (0..n).map(|i| (i % 2) as u8).collect();
        Ok(Arc::new(InMemory::new("squares", (8, 8, 1), pixels, labels, 2)?))
    };
    let classes = vec!["top".to_owned(), "bottom".to_owned()];
    Ok(Dataset::new("squares", "made up", classes, part(10)?, part(6)?)?)
}

#[cfg(test)]
mod tests {
    use resnet_train::run::RunDir;
    use resnet_train::trainer::ResumePolicy;

    use super::*;

    /// The same steps with pictures on the device and from the loader, in three precisions: weights and log agree to the bit.
    #[test]
    fn pictures_on_the_device_change_nothing() {
        if resnet_cuda::machine::emulator::compiler().is_none() {
            eprintln!("SKIPPED: no C++ compiler, so no emulator");
            return;
        }
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            let train = |on_device: bool| {
                let mut recipe = small();
                (recipe.train.precision, recipe.run.on_device) = (precision, on_device);
                let backend = open(Target::Emulator).expect("the kernels compile");
                let mut trainer = Trainer::new(backend, recipe, squares().expect("is valid")).expect("fits");
                let feeding = trainer.feeding().expect("this backend keeps pictures");
                assert_eq!(feeding.contains("on the device"), on_device, "{feeding}");
                let mut losses = vec![];
                let mut watch = |event: &Event<'_>| {
                    if let Event::Step(progress) = event {
                        losses.push(progress.loss);
                    }
                };
                let ended = trainer.train(&mut watch, &|| false).expect("trains");
                assert!(matches!(ended, Ended::Finished { .. }), "{ended:?}");
                (losses, trainer.values().expect("copied"), trainer.best())
            };
            let (on_device, loaded) = (train(true), train(false));
            assert!(
                !on_device.0.is_empty() && on_device.0.iter().all(|loss| loss.is_finite()),
                "{:?}",
                on_device.0
            );
            assert!(on_device == loaded, "{precision:?}: {:?} in place of {:?}", on_device.0, loaded.0);
        }
    }

    fn half(overrides: &[&str]) -> Trainer<resnet_cuda::CudaBackend> {
        let mut recipe = small();
        recipe.train.precision = Precision::F16;
        recipe.apply(overrides).expect("is valid");
        let backend = open(Target::Emulator).expect("the kernels compile");
        Trainer::new(backend, recipe, squares().expect("is valid")).expect("fits")
    }

    /// A run in half precision that is stopped and resumed ends with the same bits, its loss scale among them.
    #[test]
    fn a_loss_scale_survives_a_stop() {
        if resnet_cuda::machine::emulator::compiler().is_none() {
            eprintln!("SKIPPED: no C++ compiler, so no emulator");
            return;
        }
        let mut quiet = |_: &Event<'_>| {};
        let mut whole = half(&[]);
        whole.train(&mut quiet, &|| false).expect("trains");
        let wanted = (whole.loss_scale().expect("copied"), whole.values().expect("copied"));
        assert_eq!(wanted.0.map(|state| state.good_steps), Some(4.0));

        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("run");
        let mut first = half(&[]);
        first.start_in(RunDir::create(&path).expect("is empty")).expect("starts");
        let stopped = first.train(&mut quiet, &|| true).expect("trains");
        assert!(matches!(stopped, Ended::Stopped { step: 1 }), "{stopped:?}");
        drop(first);
        let mut second = half(&[]);
        let resumed = RunDir::resume(&path).expect("holds a run");
        second.resume_from(resumed, ResumePolicy::Exact).expect("goes on");
        assert_eq!(second.loss_scale().expect("copied").map(|state| state.good_steps), Some(1.0));
        second.train(&mut quiet, &|| false).expect("trains");
        assert!((second.loss_scale().expect("copied"), second.values().expect("copied")) == wanted);
    }

    /// Inputs that overflow half precision: no look at the loss ends the run, each step halves the scale, and an epoch without a single
    /// good step is an error.
    #[test]
    fn a_loss_that_overflows_tries_smaller_scales() {
        if resnet_cuda::machine::emulator::compiler().is_none() {
            eprintln!("SKIPPED: no C++ compiler, so no emulator");
            return;
        }
        let mut trainer = half(&["data.mean=[0.0]", "data.std=[1e-8]"]);
        let ended = trainer.train(&mut |_: &Event<'_>| {}, &|| false);
        assert!(matches!(ended, Err(resnet_train::Error::NonFinite { step: 2, .. })), "{ended:?}");
        let state = trainer.loss_scale().expect("copied").expect("half precision has one");
        assert_eq!((state.scale, state.skipped_steps), (65536.0 / 4.0, 2.0));
    }
}
