//! One training step: how pictures become new weights. The one place where its order is written down.
//!
//! ```text
//! put_pixels, put_labels     bytes and classes to the device          TrainingStep::run, or whoever feeds the executor
//! ingest                     bytes → normalised activations         ┐
//! forward                    activations → logits                   │
//! loss                       logits → metrics, and their gradient   │ TrainingStep::compute: the same ops every time,
//! backward                   → gradients of the parameters          │ so a backend may record them
//! update                     gradients → new parameters             ┘
//! ```

use crate::op::{LossScale, LossScaleState, Optimizer};
use crate::{Accumulate, Backend, Executor, HostData, HostDataMut, Params, Result, TensorDesc};

/// What turns gradients into weights: the optimizer's rule, and what a step needs besides network and parameters.
///
/// The numbers of a step (learning rate, clipping) are the executor's: [`Executor::set_scalars`].
#[derive(Debug)]
pub struct TrainingStep<B: Backend> {
    rule: Optimizer,
    /// Norm of all gradients, where they are clipped or may overflow.
    norm: Option<B::Buffer>,
    /// The rule of the loss scale and where it stands, where the precision needs one.
    loss_scale: Option<(LossScale, B::Buffer)>,
}

/// One pass forward and backward, over a batch or over one of several parts whose gradients are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pass {
    /// Whether loss and hits begin anew or are added to those since the host last looked.
    pub metrics: Accumulate,
    /// Whether gradients begin anew, as in the first part of a batch, or are added to.
    pub gradients: Accumulate,
    /// How many pictures count, from the first one on.
    pub n_valid: usize,
    /// Whether weights move afterwards, as they do after the last part of a batch.
    pub updates: bool,
}

impl Pass {
    /// A batch in one part, of which so many pictures count.
    pub fn whole(n_valid: usize) -> Self {
        Self { metrics: Accumulate::Set, gradients: Accumulate::Set, n_valid, updates: true }
    }
}

impl<B: Backend> TrainingStep<B> {
    /// A step that neither clips gradients nor scales the loss.
    pub fn new(rule: Optimizer) -> Self {
        Self { rule, norm: None, loss_scale: None }
    }

    /// Takes the norm of all gradients before each update, which [`StepScalars::max_norm`](crate::op::StepScalars) limits.
    /// A step whose norm is not finite changes nothing.
    ///
    /// # Errors
    /// The backend has no memory.
    pub fn with_norm(mut self, backend: &mut B) -> Result<Self> {
        if self.norm.is_none() {
            self.norm = Some(backend.alloc(backend.buffer_bytes(&norm_desc()))?);
        }
        Ok(self)
    }

    /// Scales the loss by this rule, from where PyTorch's scale begins; with the norm, which says when gradients overflowed.
    ///
    /// # Errors
    /// The backend has no memory.
    pub fn with_loss_scale(self, backend: &mut B, rule: LossScale) -> Result<Self> {
        let mut step = self.with_norm(backend)?;
        let state = backend.alloc(backend.buffer_bytes(&LossScale::desc()))?;
        step.loss_scale = Some((rule, state));
        step.set_loss_scale(backend, LossScaleState::default())?;
        Ok(step)
    }

    /// A whole step: `pixels` (NHWC bytes of a whole batch) and their `labels` go to the device and become new weights.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::Error::Mismatch) if it is not a whole batch; [`Error::Invalid`](crate::Error::Invalid) for a
    /// label that is no class, or on an executor made for inference; device errors.
    pub fn run(
        &mut self,
        backend: &mut B,
        net: &mut Executor<B>,
        params: &mut Params<B>,
        pixels: &[u8],
        labels: &[u32],
    ) -> Result<()> {
        net.put_pixels(backend, pixels)?;
        net.put_labels(backend, labels, None)?;
        self.compute(backend, net, params, Pass::whole(labels.len()), Executor::ingest)
    }

    /// What follows once pixels and labels are on the device. Only issues ops, always the same for a `pass`, so it may be
    /// [recorded](Backend::recorded). `ingest` brings normalised pictures into the network: [`Executor::ingest`], or
    /// [`Executor::gather`] from a set that lies on the device.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) on an executor made for inference; device errors.
    pub fn compute(
        &mut self,
        backend: &mut B,
        net: &mut Executor<B>,
        params: &mut Params<B>,
        pass: Pass,
        ingest: impl FnOnce(&mut Executor<B>, &mut B) -> Result<()>,
    ) -> Result<()> {
        if let (Some((_, state)), Accumulate::Set) = (&self.loss_scale, pass.gradients) {
            net.scale_loss(backend, &self.rule, state)?;
        }
        ingest(net, backend)?;
        net.forward(backend, params)?;
        net.loss_of_labels(backend, false, pass.n_valid, pass.metrics)?;
        net.backward(backend, params, pass.gradients)?;
        if pass.updates {
            self.update(backend, net, params)?;
        }
        Ok(())
    }

    /// Gradients to weights.
    fn update(&mut self, backend: &mut B, net: &Executor<B>, params: &mut Params<B>) -> Result<()> {
        if let Some(norm) = &mut self.norm {
            backend.grad_norm(&params.list, norm)?;
        }
        backend.update(&self.rule, net.scalars(), self.norm.as_ref(), &mut params.list)?;
        if let (Some((rule, state)), Some(norm)) = (&mut self.loss_scale, &self.norm) {
            backend.adapt_loss_scale(rule, norm, state)?;
        }
        Ok(())
    }

    /// The optimizer's rule.
    pub fn rule(&self) -> &Optimizer {
        &self.rule
    }

    /// The norm of the last step's gradients as they were computed, a loss scale included; `None` where it is not taken.
    /// Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn norm(&self, backend: &mut B) -> Result<Option<f32>> {
        let Some(buffer) = &self.norm else { return Ok(None) };
        let mut norm = [0.0];
        backend.download(&norm_desc(), buffer, HostDataMut::F32(&mut norm))?;
        Ok(Some(norm[0]))
    }

    /// Where the loss scale stands; `None` where there is none. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn loss_scale(&self, backend: &mut B) -> Result<Option<LossScaleState>> {
        let Some((_, state)) = &self.loss_scale else { return Ok(None) };
        let mut values = [0.0; 4];
        backend.download(&LossScale::desc(), state, HostDataMut::F32(&mut values))?;
        Ok(Some(LossScaleState::from_array(values)))
    }

    /// Puts the loss scale where it stood in another run. Does nothing where there is none.
    ///
    /// # Errors
    /// Device errors.
    pub fn set_loss_scale(&mut self, backend: &mut B, to: LossScaleState) -> Result<()> {
        let Some((_, state)) = &mut self.loss_scale else { return Ok(()) };
        backend.upload(&LossScale::desc(), HostData::F32(&to.to_array()), state)
    }
}

/// The buffer of [`Backend::grad_norm`].
fn norm_desc() -> TensorDesc {
    TensorDesc::table(1, 1)
}
