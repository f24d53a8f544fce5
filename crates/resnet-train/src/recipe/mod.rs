//! A run as a file: every number that decides what is trained, and how.
//!
//! A [`Recipe`] is TOML. Every field has a default, unknown fields are refused, and every field can be overridden by its
//! dotted path: `optimizer.lr=0.05`. The effective recipe is saved with the run.
//!
//! Everything but the table `[run]`, `data.path` and `data.dir` decides the result. Those may change when a run is resumed.

mod finetune;
mod open;
mod optimizer;
mod set;
mod shipped;
mod size;
mod validate;

pub use finetune::{Finetune, FreezeNorm, Head, Start};
pub use optimizer::{Adam, OptimizerRecipe, Sgd};
pub use shipped::{DEFAULT, Shipped};
pub use size::Size;

use std::path::{Path, PathBuf};

use resnet_core::DType;
use resnet_core::op::LossScale;
use resnet_core::preprocessing::Interpolation;
use resnet_core::zoo::{InitScheme, Variant};
use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;
use crate::{Error, Result};

/// Everything that decides a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// What is learned from.
    pub data: DataRecipe,
    /// What learns.
    pub model: ModelRecipe,
    /// For how long, in what portions, against which loss.
    pub train: TrainRecipe,
    /// The rule of the update.
    pub optimizer: OptimizerRecipe,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// What is done to training pictures at random.
    pub augment: AugmentRecipe,
    /// Learning on from trained weights, where the run does not start from scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finetune: Option<Finetune>,
    /// What does not change the result: workers, logging, checkpoints.
    pub run: RunRecipe,
}

/// Table `[data]`: what is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataRecipe {
    /// `fashion-mnist-sample` (embedded, the default), `fashion-mnist`, `mnist`, `cifar10` or `cifar100`.
    pub name: Option<String>,
    /// In place of a name: a folder or file with pictures, recognised by what is there. See [`crate::data::open`].
    pub path: Option<PathBuf>,
    /// The directory that has a set by name. Without one the usual places are searched.
    pub dir: Option<PathBuf>,
    /// Share of every class that is held out for testing, where the data has no parts of its own.
    pub split: f64,
    /// Decides which pictures those are.
    pub split_seed: u64,
    /// Share of the pictures that may be broken and are left out; at least one, unless this is 0.
    pub max_bad: f64,
    /// Mean of each channel, of pixels scaled to 0…1. Without one that of the training pictures.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel, alike.
    pub std: Option<Vec<f64>>,
    /// The shorter side of every picture is resized to this many pixels, and the middle is cut out.
    /// Without one, pictures of one size are resized to the network's as they are, and those of different sizes as with 8/7
    /// of the network's size, 256 for 224.
    pub resize: Option<usize>,
    /// `bilinear` or `bicubic`, both with antialiasing. Without one, bilinear.
    pub interpolation: Option<Interpolation>,
}

/// Table `[model]`: what learns. What is not said follows from the name and the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRecipe {
    /// A name of [`resnet_core::zoo`].
    pub arch: String,
    /// `v1`, `v1.5`, `v2` or `plain`. Without one, what the name says.
    pub variant: Option<Variant>,
    /// Outputs: at least as many as the data has classes, which is the default.
    pub classes: Option<usize>,
    /// Channels of the pictures. Without one those of the data, which is also the only number that fits.
    pub channels: Option<usize>,
    /// Pictures of another size are resized to this one, by `data.resize` and `data.interpolation`.
    /// Without one they stay as they are; pictures of different sizes become 224 × 224.
    pub size: Option<Size>,
    /// How weights start. Without one, what the name says.
    pub init: Option<InitScheme>,
    /// Whether residual branches start at zero. Without one, what the name says.
    pub zero_init_residual: Option<bool>,
}

/// Table `[train]`: for how long, in what portions, against which loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainRecipe {
    /// Passes over the training pictures. Pictures that do not fill a last batch are left out, others in each epoch.
    pub epochs: u64,
    /// Ends the run early, after this many steps. The schedule then ends there too.
    pub max_steps: Option<u64>,
    /// Pictures per step.
    pub batch: usize,
    /// Parts a batch is computed in, one after the other, their gradients added. Divides `batch`.
    /// Each part is normalised by its own statistics.
    pub micro_batches: usize,
    /// Part of the target spread evenly over all classes.
    pub label_smoothing: f64,
    /// Largest norm of all gradients together; longer ones are scaled down to it.
    pub clip_norm: Option<f64>,
    /// Decides the start, the order and every augmentation.
    pub seed: u64,
    /// Type of activations.
    pub precision: Precision,
}

/// Type of activations. Master weights, statistics, gradients of weights and optimizer state are single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Brain float.
    Bf16,
    /// IEEE half precision. The loss is scaled by as much as its gradients allow, and a step in which they overflow is left out.
    F16,
}

impl Precision {
    /// As the backend names it.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::Bf16,
            Precision::F16 => DType::F16,
        }
    }

    /// How the loss is scaled, where gradients of activations would leave the type's range.
    pub fn loss_scale(self) -> Option<LossScale> {
        match self {
            Precision::F32 | Precision::Bf16 => None,
            Precision::F16 => Some(LossScale::default()),
        }
    }
}

/// Table `[augment]`: what is done to training pictures at random, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentRecipe {
    /// In place of the resize, a random part of the picture, of at least and at most these shares of its area:
    /// `[0.08, 1.0]` is usual for photographs.
    pub resized_crop: Option<(f64, f64)>,
    /// Black pixels added on each side before a window of the old size is cut out; 0 leaves the picture.
    pub pad_crop: usize,
    /// How often left and right are exchanged.
    pub flip: f64,
    /// How often a rectangle is replaced by the mean colour.
    pub erase: f64,
}

/// Table `[run]`: what does not change the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunRecipe {
    /// Threads that read and augment pictures.
    pub workers: usize,
    /// Whether pictures lie on the device, where the backend keeps them there, they fit, and it can do the augmentation.
    pub on_device: bool,
    /// Steps from one line of the log to the next.
    pub log_every: u64,
    /// Steps from one look at the loss to the next. Looking waits for the device; a loss that is not finite ends the run
    /// at the next look, in half precision only once a smaller loss scale has not helped. Divides `log_every`.
    pub check_every: u64,
    /// Whether the log has the norms of the gradients of the first and the last stage. Reading them takes time.
    pub grad_norms: bool,
    /// Epochs from one evaluation to the next. The last epoch is always evaluated.
    pub eval_every: u64,
    /// Pictures per step of an evaluation. Without one, as many as in a part of a training batch.
    pub eval_batch: Option<usize>,
    /// Steps from one checkpoint to the next, besides the one after each epoch; 0 for no others.
    pub save_every: u64,
    /// Checkpoints that are kept, besides the best one. At least 2.
    pub keep: usize,
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self {
            name: None,
            path: None,
            dir: None,
            split: 0.2,
            split_seed: 0,
            max_bad: 0.01,
            mean: None,
            std: None,
            resize: None,
            interpolation: None,
        }
    }
}

impl Default for ModelRecipe {
    fn default() -> Self {
        Self {
            arch: "resnet18".into(),
            variant: None,
            classes: None,
            channels: None,
            size: None,
            init: None,
            zero_init_residual: None,
        }
    }
}

impl Default for TrainRecipe {
    fn default() -> Self {
        Self {
            epochs: 5,
            max_steps: None,
            batch: 128,
            micro_batches: 1,
            label_smoothing: 0.0,
            clip_norm: None,
            seed: 0,
            precision: Precision::F32,
        }
    }
}

impl Default for RunRecipe {
    fn default() -> Self {
        Self {
            workers: 1,
            on_device: true,
            log_every: 10,
            check_every: 1,
            grad_norms: false,
            eval_every: 1,
            eval_batch: None,
            save_every: 0,
            keep: 2,
        }
    }
}

impl Recipe {
    /// The recipe of this name, or in this file.
    ///
    /// # Errors
    /// [`Error::Recipe`] if there is neither, or if the file is not a valid recipe.
    pub fn load(name_or_path: &str) -> Result<Self> {
        if let Some(shipped) = Shipped::from_name(name_or_path) {
            return shipped.recipe();
        }
        let path = Path::new(name_or_path);
        if path.exists() {
            return Self::read(path);
        }
        let names = Shipped::ALL.iter().map(|s| format!("`{}`", s.name)).collect::<Vec<_>>().join(", ");
        Err(Error::recipe(name_or_path, format!("neither a file nor one of the recipes {names}")))
    }

    /// The recipe in this file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Recipe`] with the line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads TOML. `origin` is for errors.
    ///
    /// # Errors
    /// [`Error::Recipe`] with the line, for what is no TOML, no field, of the wrong type or out of range.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).map_err(|e| Error::recipe(origin, e.to_string()))?;
        recipe.validate().map_err(|e| Error::recipe(origin, e.to_string()))?;
        Ok(recipe)
    }

    /// The whole recipe as TOML, defaults written out.
    ///
    /// # Errors
    /// [`Error::Recipe`] if a number cannot be written, such as a seed beyond the integers of TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::recipe("recipe", e.to_string()))
    }

    /// Pictures per step that the device sees at one time.
    pub fn micro_batch(&self) -> usize {
        self.train.batch / self.train.micro_batches
    }
}
