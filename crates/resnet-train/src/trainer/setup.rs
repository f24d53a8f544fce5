//! From a recipe and data to a trainer.

use std::collections::HashMap;

use resnet_core::op::Metrics;
use resnet_core::{Backend, Executor, Freeze, LowerOptions, Params, TrainingStep, init};

use super::Trainer;
use super::look::Window;
use super::save::Position;
use crate::Result;
use crate::data::{Dataset, Loader};
use crate::feed::Feed;
use crate::recipe::Recipe;
use crate::schedule::Horizon;

impl<B: Backend> Trainer<B> {
    /// Builds the network, plans its memory and starts its weights. Without [`Trainer::start_in`] or
    /// [`Trainer::resume_from`] nothing is written to disk.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a recipe that makes no sense or does not fit the data, such as a batch
    /// larger than it; what the network and the backend refuse.
    pub fn new(backend: B, recipe: Recipe, data: Dataset) -> Result<Self> {
        Self::start(backend, recipe, data, None)
    }

    /// As [`Trainer::new`], but training starts from these values, one for each of [`Graph::params`](resnet_core::Graph::params)
    /// in file order. `recipe.finetune.start` says which network they are for.
    ///
    /// # Errors
    /// As [`Trainer::new`]; if they do not fit the network.
    pub fn fine_tune(backend: B, recipe: Recipe, data: Dataset, values: Vec<Vec<f32>>) -> Result<Self> {
        Self::start(backend, recipe, data, Some(values))
    }

    fn start(mut backend: B, recipe: Recipe, data: Dataset, values: Option<Vec<Vec<f32>>>) -> Result<Self> {
        recipe.validate()?;
        let spec = recipe.spec(&data)?;
        let graph = spec.build()?;
        let preprocessing = recipe.preprocessing(&data)?;
        let train_loader = recipe.train_loader(&data, &preprocessing)?;
        let test_loader = recipe.test_loader(&data, &preprocessing)?;
        let rule = recipe.optimizer.rule();
        let lacks_start = recipe.finetune.is_some() && values.is_none();
        let values = values.unwrap_or_else(|| init::initial_values(&graph, recipe.train.seed));
        let freeze = recipe.finetune.as_ref().map_or(Ok(Freeze::default()), |f| f.freeze(&graph))?;
        let mut params = Params::with_freeze(&mut backend, &graph, &values, Some(&rule), &freeze)?;
        drop(values);
        params.decay_weights_only(!recipe.optimizer.decay_norm_and_bias());
        if let Some(finetune) = &recipe.finetune {
            for (param, named) in params.list.iter_mut().zip(graph.params()) {
                param.lr_scale = finetune.lr_scale(&named.name, spec.depths.len()) as f32;
            }
        }

        let dtype = recipe.train.precision.dtype();
        let train = LowerOptions { dtype, freeze, ..LowerOptions::train(recipe.micro_batch()) };
        let infer = LowerOptions { dtype, ..LowerOptions::infer(test_loader.batch()) };
        let mut net = Executor::new(&mut backend, &graph, train, recipe.train.label_smoothing as f32)?;
        let mut test_net = Executor::new(&mut backend, &graph, infer, 0.0)?;
        net.account_params(params.bytes(&backend));
        let affine = preprocessing.pixel_affine();
        net.set_pixel_affine(&mut backend, &affine)?;
        test_net.set_pixel_affine(&mut backend, &affine)?;

        let mut training = TrainingStep::new(rule);
        if recipe.train.clip_norm.is_some() {
            training = training.with_norm(&mut backend)?;
        }
        if let Some(rule) = recipe.train.precision.loss_scale() {
            training = training.with_loss_scale(&mut backend, rule)?;
        }
        let steps_per_epoch = (train_loader.n_batches() / recipe.train.micro_batches) as u64;
        let total_steps = recipe.train.epochs.saturating_mul(steps_per_epoch);
        let total_steps = total_steps.min(recipe.train.max_steps.unwrap_or(u64::MAX));
        // Last, in what memory is left.
        let mut feed = |net: &Executor<B>, loader: Loader| match recipe.run.on_device {
            true => Feed::on_device(&mut backend, net, loader),
            false => Ok(Feed::by_loader(loader)),
        };
        let (train_feed, test_feed) = (feed(&net, train_loader)?, feed(&test_net, test_loader)?);
        Ok(Self {
            data_fingerprint: data.fingerprint()?.to_string(),
            horizon: Horizon { steps_per_epoch, total_steps },
            window: Window::default(),
            recordings: HashMap::new(),
            test_key: backend.new_recording(),
            at: Position::default(),
            lacks_start,
            run: None,
            backend,
            recipe,
            data,
            spec,
            graph,
            train_feed,
            test_feed,
            params,
            net,
            test_net,
            training,
        })
    }
}

// Metrics are summed on the device in f32, where counts are exact up to 2²⁴ pictures between two looks.
const _: () = assert!(size_of::<Metrics>() == 4 * size_of::<f32>());
