//! What no type can check: ranges, and fields that must fit each other.

use resnet_core::zoo;

use super::{DataRecipe, OptimizerRecipe, Recipe};
use crate::schedule::Schedule;
use crate::{Error, Result};

impl Recipe {
    /// Checks ranges, and fields that must fit each other. Whether the data fits is checked when it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, what was found and what was wanted.
    pub fn validate(&self) -> Result<()> {
        self.validate_data()?;
        self.validate_train()?;
        self.validate_optimizer()?;
        self.validate_schedule()?;
        self.validate_crop()?;
        share("augment.flip", self.augment.flip, true)?;
        share("augment.erase", self.augment.erase, true)?;
        self.validate_finetune()?;
        self.validate_run()
    }

    fn validate_finetune(&self) -> Result<()> {
        let Some(f) = &self.finetune else { return Ok(()) };
        positive("finetune.lr_decay", f.lr_decay)?;
        positive("finetune.head_lr", f.head_lr)?;
        match &f.freeze_until {
            Some(name) if name.is_empty() => {
                refuse("finetune.freeze_until", "no name", "a layer, such as layer4")
            }
            _ => Ok(()),
        }
    }

    fn validate_data(&self) -> Result<()> {
        let d = &self.data;
        match (&d.name, &d.path) {
            (Some(name), Some(path)) => {
                let both = format!("`{name}` and the path {}", path.display());
                return refuse("data", both, "a name or a path");
            }
            (Some(name), None) if !DataRecipe::names().contains(&name.as_str()) => {
                let wanted = format!(
                    "one of {}, or a folder or file that is there (in a recipe: data.path)",
                    DataRecipe::names().join(", ")
                );
                return refuse("data.name", name, &wanted);
            }
            _ => {}
        }
        share("data.split", d.split, true)?;
        share("data.max_bad", d.max_bad, true)?;
        if d.split_seed > i64::MAX as u64 {
            return refuse("data.split_seed", d.split_seed, &format!("at most {}", i64::MAX));
        }
        for (field, values) in [("data.mean", &self.data.mean), ("data.std", &self.data.std)] {
            let low = if field == "data.std" { f64::MIN_POSITIVE } else { f64::MIN };
            if let Some(v) = values.iter().flatten().find(|v| !v.is_finite() || **v < low) {
                return refuse(field, v, "a finite number, above 0 for a standard deviation");
            }
        }
        if self.data.mean.as_ref().map(Vec::len) != self.data.std.as_ref().map(Vec::len) {
            return refuse(
                "data.mean and data.std",
                "different lengths",
                "both or neither, one number per channel",
            );
        }
        zoo::arch(&self.model.arch).map(drop).map_err(Into::into)
    }

    fn validate_crop(&self) -> Result<()> {
        at_least("data.resize", self.data.resize.unwrap_or(1) as u64, 1)?;
        match self.augment.resized_crop {
            Some((low, high)) if !(0.0 < low && low <= high && high <= 1.0) => refuse(
                "augment.resized_crop",
                format!("{low} to {high}"),
                "two shares above 0 and at most 1, ascending",
            ),
            _ => Ok(()),
        }
    }

    fn validate_train(&self) -> Result<()> {
        let t = &self.train;
        at_least("train.epochs", t.epochs, 1)?;
        at_least("train.batch", t.batch as u64, 1)?;
        at_least("train.micro_batches", t.micro_batches as u64, 1)?;
        at_least("train.max_steps", t.max_steps.unwrap_or(1), 1)?;
        if t.seed > i64::MAX as u64 {
            return refuse(
                "train.seed",
                t.seed,
                &format!("at most {}, the largest integer of TOML", i64::MAX),
            );
        }
        if !t.batch.is_multiple_of(t.micro_batches) {
            let found = format!("{} parts of a batch of {}", t.micro_batches, t.batch);
            return refuse("train.micro_batches", found, "a number that divides the batch");
        }
        share("train.label_smoothing", t.label_smoothing, false)?;
        t.clip_norm.map_or(Ok(()), |v| positive("train.clip_norm", v))
    }

    fn validate_optimizer(&self) -> Result<()> {
        match &self.optimizer {
            OptimizerRecipe::Sgd(s) => {
                share("optimizer.momentum", s.momentum, false)?;
                if s.nesterov && s.momentum == 0.0 {
                    return refuse(
                        "optimizer.nesterov",
                        "true without a momentum",
                        "a momentum above 0, or false",
                    );
                }
                not_negative("optimizer.weight_decay", s.weight_decay)?;
            }
            OptimizerRecipe::Adam(a) | OptimizerRecipe::AdamW(a) => {
                share("optimizer.beta1", a.beta1, false)?;
                share("optimizer.beta2", a.beta2, false)?;
                positive("optimizer.eps", a.eps)?;
                not_negative("optimizer.weight_decay", a.weight_decay)?;
            }
        }
        positive("optimizer.lr", self.optimizer.lr())
    }

    fn validate_schedule(&self) -> Result<()> {
        not_negative("schedule.warmup_epochs", self.schedule.warmup_epochs())?;
        match &self.schedule {
            Schedule::Constant(_) => Ok(()),
            Schedule::Step(s) => {
                positive("schedule.factor", s.factor)?;
                let ascending = s.milestones.windows(2).all(|w| w[0] < w[1]);
                if !ascending || s.milestones.iter().any(|m| !(m.is_finite() && *m > 0.0)) {
                    return refuse(
                        "schedule.milestones",
                        format!("{:?}", s.milestones),
                        "ascending numbers above 0",
                    );
                }
                Ok(())
            }
            Schedule::Cosine(c) => share("schedule.final_factor", c.final_factor, true),
        }
    }

    fn validate_run(&self) -> Result<()> {
        let r = &self.run;
        at_least("run.workers", r.workers as u64, 1)?;
        at_least("run.log_every", r.log_every, 1)?;
        at_least("run.check_every", r.check_every, 1)?;
        at_least("run.eval_every", r.eval_every, 1)?;
        at_least("run.eval_batch", r.eval_batch.unwrap_or(1) as u64, 1)?;
        at_least("run.keep", r.keep as u64, 2)?;
        if !r.log_every.is_multiple_of(r.check_every) {
            let found = format!("{}, with a run.log_every of {}", r.check_every, r.log_every);
            return refuse("run.check_every", found, "a number that divides run.log_every");
        }
        Ok(())
    }
}

fn refuse(field: &str, found: impl std::fmt::Display, wanted: &str) -> Result<()> {
    Err(Error::invalid(field, format!("{found}; wanted {wanted}")))
}

fn at_least(field: &str, found: u64, least: u64) -> Result<()> {
    if found >= least { Ok(()) } else { refuse(field, found, &format!("at least {least}")) }
}

fn positive(field: &str, found: f64) -> Result<()> {
    if found > 0.0 && found.is_finite() { Ok(()) } else { refuse(field, found, "a finite number above 0") }
}

fn not_negative(field: &str, found: f64) -> Result<()> {
    if found >= 0.0 && found.is_finite() {
        Ok(())
    } else {
        refuse(field, found, "a finite number, at least 0")
    }
}

fn share(field: &str, found: f64, with_one: bool) -> Result<()> {
    let wanted = if with_one { "0 to 1" } else { "at least 0 and below 1" };
    let fits = (0.0..1.0).contains(&found) || with_one && found == 1.0;
    if fits { Ok(()) } else { refuse(field, found, wanted) }
}
