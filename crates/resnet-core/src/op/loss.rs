use crate::{DType, Error, Result, TensorDesc};

/// Softmax cross-entropy over classes, its gradient and the count of hits, in one pass.
///
/// # Shapes
/// `logits`, `dlogits`: `n × 1 × 1 × classes` activations. Labels: `n`. `metrics`: [`Metrics::desc`].
///
/// # Semantics
/// With `λ` the mixing weight of the step (1 without a second label) and `ε` the label smoothing, the target of a picture is
/// ```text
/// t[j] = (1 − ε) · (λ·[j = a] + (1 − λ)·[j = b]) + ε / classes
/// loss = −Σ_j t[j] · log softmax(logits)[j]
/// dlogits = (softmax(logits) − t) · grad_scale / n_valid
/// ```
/// Only the first `n_valid` pictures count; rows after them get a zero gradient.
/// A picture is a hit if its largest logit, the first one on a tie, is at its first label `a`.
/// `λ` and `grad_scale` are read from the step's scalars on the device.
///
/// # Source
/// Szegedy et al., *Rethinking the Inception Architecture*, 2015, section 7 (smoothing); Zhang et al., *mixup*, 2017.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftmaxCrossEntropy {
    n: usize,
    classes: usize,
    smoothing: f32,
    dtype: DType,
}

impl SoftmaxCrossEntropy {
    /// Describes the loss of `n` pictures over `classes` classes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `n` is zero, there are fewer than 2 classes or `smoothing` is outside `0..1`.
    pub fn new(n: usize, classes: usize, smoothing: f32, dtype: DType) -> Result<Self> {
        if n == 0 || classes < 2 {
            return Err(Error::invalid(
                "softmax cross-entropy",
                format!("{n} pictures over {classes} classes: at least 1 and 2 are needed"),
            ));
        }
        if !(0.0..1.0).contains(&smoothing) {
            return Err(Error::invalid(
                "softmax cross-entropy",
                format!("label smoothing {smoothing} must be in 0..1"),
            ));
        }
        Ok(Self { n, classes, smoothing, dtype })
    }

    /// Batch.
    pub fn n(&self) -> usize {
        self.n
    }
    /// Classes.
    pub fn classes(&self) -> usize {
        self.classes
    }
    /// Label smoothing ε.
    pub fn smoothing(&self) -> f32 {
        self.smoothing
    }
    /// Logits and their gradient.
    pub fn logits_desc(&self) -> TensorDesc {
        TensorDesc::activation(self.dtype, self.n, 1, 1, self.classes)
    }
    /// Labels.
    pub fn labels_desc(&self) -> TensorDesc {
        TensorDesc::labels(self.n)
    }
}

/// What the loss compares the logits with. Labels were range-checked on the host; a backend treats one that is out of
/// range as an error, never as an address.
#[derive(Debug)]
pub struct Targets<'a, Buf> {
    /// The label of each picture.
    pub a: &'a Buf,
    /// The second label of each picture under mixup or cutmix.
    pub b: Option<&'a Buf>,
    /// How many pictures of the batch count; the rest is padding.
    pub n_valid: usize,
}

/// What the loss leaves in its metrics buffer, summed over the pictures since the last `Set`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Sum of the losses.
    pub loss_sum: f32,
    /// Pictures whose largest logit is at their label.
    pub hits: f32,
    /// Pictures counted.
    pub count: f32,
    /// Pictures with a loss that is not finite.
    pub non_finite: f32,
}

impl Metrics {
    /// The buffer: a table of one row and four columns, in the order of the fields.
    pub fn desc() -> TensorDesc {
        TensorDesc::table(1, 4)
    }

    /// Reads the buffer's content.
    pub fn from_array([loss_sum, hits, count, non_finite]: [f32; 4]) -> Self {
        Self { loss_sum, hits, count, non_finite }
    }

    /// Mean loss per picture.
    pub fn loss(&self) -> f32 {
        self.loss_sum / self.count
    }

    /// Share of hits.
    pub fn accuracy(&self) -> f32 {
        self.hits / self.count
    }
}
