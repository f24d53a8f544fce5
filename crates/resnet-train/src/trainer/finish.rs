//! The end of an epoch: test, log, remember the best, save.

use std::time::Instant;

use resnet_core::Backend;

use super::{Event, Observer, Trainer};
use crate::Result;
use crate::checkpoint::{Best, Sums};
use crate::evaluate::{Evaluation, evaluate};
use crate::metrics::{EpochRecord, EpochTime, Record, TestRecord};
use crate::model::Model;

impl<B: Backend> Trainer<B> {
    /// Tests, writes the epoch's line and a checkpoint. Answers whether it was stopped while testing: then nothing of this
    /// has happened, and the epoch is finished when the run is resumed.
    pub(super) fn finish_epoch(
        &mut self,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let started = Instant::now();
        let is_last = self.at.step == self.horizon.total_steps;
        let due = is_last || (self.at.epoch + 1).is_multiple_of(self.recipe.run.eval_every);
        let evaluation = if due { self.test(observer, stop)? } else { None };
        if due && evaluation.is_none() {
            return Ok(true);
        }
        for bad in [self.train_feed.loader().take_bad(), self.test_feed.loader().take_bad()].iter().flatten()
        {
            observer.on(&Event::Warning(bad));
        }
        let test = evaluation.map(|e| self.judge(&e)).transpose()?;
        let sums = self.at.epoch_sums;
        if sums.count == 0 {
            return Err(self.non_finite("the loss of every step of the epoch"));
        }
        let record = EpochRecord {
            epoch: self.at.epoch + 1,
            step: self.at.step,
            loss: sums.mean_loss(),
            train_accuracy: sums.accuracy(),
            test,
            time: EpochTime {
                seconds: self.at.epoch_seconds,
                images_per_s: self.at.images_per_s(),
                test_seconds: started.elapsed().as_secs_f64(),
            },
        };
        observer.on(&Event::Epoch(&record));
        self.append(Record::Epoch(record), observer);
        self.at.epoch += 1;
        self.at.epoch_sums = Sums::default();
        self.at.epoch_seconds = 0.0;
        if test.is_some_and(|t| t.is_best)
            && let Err(e) = self.save_model()
        {
            observer.on(&Event::Warning(&e));
        }
        if !is_last {
            self.save(observer)?; // after the last epoch, `train` saves, and must succeed
        }
        Ok(false)
    }

    fn test(&mut self, observer: &mut dyn Observer, stop: &dyn Fn() -> bool) -> Result<Option<Evaluation>> {
        let Self { backend, test_net, params, test_feed, test_key, .. } = self;
        evaluate(backend, test_net, params, test_feed, *test_key, |done, total| {
            observer.on(&Event::Testing { done, total });
            done == total || !stop()
        })
    }

    fn judge(&mut self, evaluation: &Evaluation) -> Result<TestRecord> {
        let (accuracy, loss) = (evaluation.top1(), evaluation.loss());
        if !loss.is_finite() {
            return Err(self.non_finite("the test loss"));
        }
        let is_best = evaluation.beats(self.at.best.as_ref());
        if is_best {
            self.at.best = Some(Best { epoch: self.at.epoch + 1, step: self.at.step, accuracy, loss });
        }
        Ok(TestRecord { loss, accuracy, top5: evaluation.top5(), is_best })
    }

    /// The network as it is now, with all that is needed to use it.
    ///
    /// # Errors
    /// Device errors.
    pub fn model(&mut self) -> Result<Model> {
        let mut classes = self.data.classes.clone();
        classes.extend((classes.len()..self.spec.classes).map(|i| format!("class {i}"))); // outputs that the data does not use
        Ok(Model {
            spec: self.spec.clone(),
            classes,
            preprocessing: self.recipe.preprocessing(&self.data)?,
            values: self.values()?,
        })
    }

    fn save_model(&mut self) -> Result<()> {
        if self.run.is_none() {
            return Ok(());
        }
        let bytes = self.model()?.to_bytes(&self.graph)?;
        self.run.as_ref().map_or(Ok(()), |run| run.dir.replace("model.safetensors", &bytes))
    }
}
