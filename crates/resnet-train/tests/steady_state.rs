//! A run in full swing allocates nothing: trainer, loader with augmentation, clipping and evaluation, in f32 and bf16.
//!
//! One test in a program of its own: the allocator counts for the whole process, the loader's threads with it.
#![allow(clippy::unwrap_used)] // a failure is a failed test

use std::alloc::System;
use std::sync::Arc;

use resnet_core::rng::{Purpose, Stream};
use resnet_cpu::CpuBackend;
use resnet_train::data::{Dataset, InMemory};
use resnet_train::recipe::Recipe;
use resnet_train::trainer::{Event, Trainer};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Steps, or batches of an evaluation, in which everything reaches its size: as many batches as can be under way at once.
const SETTLING: usize = 8;

/// How many allocations there are from one event of a kind to the next, in the second epoch: in the first one pictures are kept
/// that are read.
#[derive(Default)]
struct Seen {
    epoch: usize,
    in_epoch: usize,
    before: usize,
    more: Vec<usize>,
}

impl Seen {
    fn look(&mut self, begins: bool) {
        let stats = ALLOCATOR.stats();
        let now = stats.allocations + stats.reallocations;
        if begins {
            (self.epoch, self.in_epoch) = (self.epoch + 1, 0);
        }
        self.in_epoch += 1;
        if self.epoch == 2 && self.in_epoch > SETTLING {
            self.more.push(now - self.before);
        }
        self.before = now;
    }
}

/// Pictures of noise, so many batches of 32.
fn pictures(batches: usize) -> Arc<InMemory> {
    let n = 32 * batches;
    let mut random = Stream::new(0, Purpose::Synthetic, 0, n as u64);
    let pixels = (0..n * 28 * 28).map(|_| random.u32() as u8).collect();
    let labels = (0..n).map(|i| (i % 10) as u8).collect();
    Arc::new(InMemory::new("noise", (28, 28, 1), pixels, labels, 10).unwrap())
}

#[test]
fn a_run_in_full_swing_allocates_nothing() {
    let classes = (0..10).map(|class| format!("class {class}")).collect();
    let data = Dataset::new("noise", "made up", classes, pictures(24), pictures(24)).unwrap();
    for precision in ["f32", "bf16"] {
        let mut recipe = Recipe::default();
        let precision_is = format!("train.precision={precision}");
        recipe
            .apply(&[
                "model.arch=resnet8-cifar",
                "train.epochs=2",
                "train.batch=32",
                "train.clip_norm=1.0",
                "augment.pad_crop=2",
                "augment.flip=0.5",
                "run.log_every=1000",
                "run.check_every=1",
                "run.eval_batch=32",
                &precision_is,
            ])
            .unwrap();
        let mut trainer = Trainer::new(CpuBackend::new(Some(2)).unwrap(), recipe, data.clone()).unwrap();
        let (mut steps, mut tests) = (Seen::default(), Seen::default());
        // Room for what is noted, so that noting is not counted.
        (steps.more, tests.more) = (Vec::with_capacity(1000), Vec::with_capacity(1000));
        let mut observer = |event: &Event<'_>| match event {
            Event::Step(progress) => steps.look(progress.step_in_epoch == 1),
            Event::Testing { done, .. } => tests.look(*done == 1),
            _ => {}
        };
        trainer.train(&mut observer, &|| false).unwrap();
        for (what, seen) in [("steps", steps), ("batches of the evaluation", tests)] {
            let (n, sum) = (seen.more.len(), seen.more.iter().sum::<usize>());
            println!("{precision}: {sum} allocations in {n} {what}");
            assert!(n >= 10, "{precision}: only {n} {what} were looked at");
            assert_eq!(sum, 0, "{precision}: allocations in {n} {what}: {:?}", seen.more);
        }
    }
}
