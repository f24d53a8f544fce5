//! Runs a program on a backend: the one place where numbered tensors become buffers.

mod buffers;

use buffers::Buffers;

use crate::graph::Graph;
use crate::lower::{LowerOptions, Mode, Program, Step, TensorId, lower};
use crate::op::{Gather, Ingest, Metrics, Op, Optimizer, Pick, SoftmaxCrossEntropy, StepScalars, Targets};
use crate::params::Params;
use crate::plan::Plan;
use crate::{Accumulate, Backend, DType, Error, HostData, HostDataMut, NodeId, Result, TensorDesc};

/// A network at one batch size on one backend: its program, its memory and its inputs.
///
/// Parameters live outside ([`Params`]), so that a training and an evaluation executor share them.
#[derive(Debug)]
pub struct Executor<B: Backend> {
    program: Program,
    plan: Plan,
    buffers: Buffers<B::Buffer>,
    inputs: Inputs<B::Buffer>,
    ingest: Ingest,
    loss: SoftmaxCrossEntropy,
}

/// Pictures that lie on the device, to make batches of.
#[derive(Debug)]
pub struct Pictures<Buf> {
    op: Gather,
    buffer: Buf,
}

impl<Buf> Pictures<Buf> {
    /// Uploads all of them.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on another number of bytes.
    pub fn fill<B: Backend<Buffer = Buf>>(&mut self, backend: &mut B, bytes: &[u8]) -> Result<()> {
        backend.upload(&self.op.pictures_desc(), HostData::U8(bytes), &mut self.buffer)
    }

    /// Their number.
    pub fn count(&self) -> usize {
        self.op.count()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.op.pictures_desc().len()
    }
}

/// What comes from and goes to the host.
#[derive(Debug)]
struct Inputs<Buf> {
    pixels: Buf,
    pixel_affine: Buf,
    picks: Buf,
    labels: Buf,
    mixed_labels: Buf,
    scalars: Buf,
    metrics: Buf,
}

impl<B: Backend> Executor<B> {
    /// The steps as this backend wants them, and the memory they will take, which is not taken.
    /// What the backend needs for itself is not in the plan yet.
    ///
    /// # Errors
    /// What [`lower`] refuses.
    pub fn planned(backend: &B, graph: &Graph, options: LowerOptions) -> Result<(Program, Plan)> {
        let mut program = lower(graph, options, &|op| backend.prefers_materialised(op))?;
        program.finish_convolutions(&|op| backend.finishes(op));
        let plan = Plan::new(graph, &program, |desc| backend.buffer_bytes(desc));
        Ok((program, plan))
    }

    /// Lowers a graph, plans its memory, allocates it and has the backend prepare.
    /// `smoothing` is the label smoothing of the loss.
    ///
    /// # Errors
    /// What [`lower`], the ops and the backend refuse; [`Error::OutOfMemory`] says how much was asked for.
    pub fn new(backend: &mut B, graph: &Graph, options: LowerOptions, smoothing: f32) -> Result<Self> {
        if !backend.supports(options.dtype) {
            let held: Vec<_> =
                DType::ALL.into_iter().filter(|&d| backend.supports(d)).map(|d| d.to_string()).collect();
            let what = format!("activations in {}; it has {}", options.dtype, held.join(" and "));
            return Err(backend.unsupported(&what));
        }
        let (program, mut plan) = Self::planned(backend, graph, options)?;
        let shape = graph.input_shape();
        let n = options.batch;
        let out = graph.node(graph.output()).shape;
        if (out.h, out.w) != (1, 1) {
            return Err(Error::invalid(
                &graph.node(graph.output()).name,
                format!(
                    "the result must be classes × 1 × 1 per picture, found {}×{}×{}",
                    out.c, out.h, out.w
                ),
            ));
        }
        let ingest = Ingest::new(n, shape.h, shape.w, shape.c, options.dtype)?;
        let loss = SoftmaxCrossEntropy::new(n, out.c, smoothing, options.dtype)?;
        let mut ops: Vec<Op> = program.forward.iter().chain(&program.backward).flat_map(Step::ops).collect();
        ops.extend([Op::Ingest(ingest), Op::SoftmaxCrossEntropy(loss)]);
        plan.scratch_bytes = backend.prepare(&ops)?;
        let buffers = Buffers::new(backend, &program, &plan)?;
        let mut alloc = |desc: TensorDesc| {
            let bytes = backend.buffer_bytes(&desc);
            backend.alloc(bytes)
        };
        let mut inputs = Inputs {
            pixels: alloc(ingest.pixels_desc())?,
            pixel_affine: alloc(TensorDesc::affine(shape.c))?,
            picks: alloc(Pick::desc(n))?,
            labels: alloc(TensorDesc::labels(n))?,
            mixed_labels: alloc(TensorDesc::labels(n))?,
            scalars: alloc(StepScalars::desc())?,
            metrics: alloc(Metrics::desc())?,
        };
        let identity: Vec<f32> = [1.0 / 255.0, 0.0].iter().flat_map(|v| vec![*v; shape.c]).collect();
        backend.upload(&TensorDesc::affine(shape.c), HostData::F32(&identity), &mut inputs.pixel_affine)?;
        let scalars = StepScalars::default().to_array();
        backend.upload(&StepScalars::desc(), HostData::F32(&scalars), &mut inputs.scalars)?;
        Ok(Self { program, plan, buffers, inputs, ingest, loss })
    }

    /// The steps, for whoever wants to print or check them.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Memory and work, for printing before the first step.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Notes the bytes of parameters in the plan.
    pub fn account_params(&mut self, bytes: usize) {
        self.plan.parameter_bytes = bytes;
    }

    /// Pictures per batch.
    pub fn batch(&self) -> usize {
        self.program.options.batch
    }

    /// Sets the scale and shift that turn bytes into activations: `2 × channels` numbers, all scales first.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on another count.
    pub fn set_pixel_affine(&mut self, backend: &mut B, affine: &[f32]) -> Result<()> {
        let desc = TensorDesc::affine(self.ingest.x_desc().c);
        backend.upload(&desc, HostData::F32(affine), &mut self.inputs.pixel_affine)
    }

    /// Sets the numbers of this step.
    ///
    /// # Errors
    /// Device errors.
    pub fn set_scalars(&mut self, backend: &mut B, scalars: &StepScalars) -> Result<()> {
        backend.upload(&StepScalars::desc(), HostData::F32(&scalars.to_array()), &mut self.inputs.scalars)
    }

    /// The step's scalars on the device, for [`Backend::update`].
    pub fn scalars(&self) -> &B::Buffer {
        &self.inputs.scalars
    }

    /// Uploads pictures as bytes (NHWC) and normalises them.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is not a whole batch.
    pub fn load_pixels(&mut self, backend: &mut B, pixels: &[u8]) -> Result<()> {
        self.put_pixels(backend, pixels)?;
        self.ingest(backend)
    }

    /// Uploads pictures as bytes (NHWC), and no more.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is not a whole batch.
    pub fn put_pixels(&mut self, backend: &mut B, pixels: &[u8]) -> Result<()> {
        backend.upload(&self.ingest.pixels_desc(), HostData::U8(pixels), &mut self.inputs.pixels)
    }

    /// Normalises the pictures that were uploaded.
    ///
    /// # Errors
    /// Device errors.
    pub fn ingest(&mut self, backend: &mut B) -> Result<()> {
        let ingest = self.ingest;
        let inputs = &self.inputs;
        self.buffers.write(self.program.input, |_, x| {
            backend.ingest(&ingest, &inputs.pixels, &inputs.pixel_affine, x)
        })
    }

    /// A place for `count` pictures (NHWC bytes, as large as the network's) from which this executor can make its batches, with
    /// `padding` black pixels around each.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none; [`Error::OutOfMemory`].
    pub fn place_for_pictures(
        &self,
        backend: &mut B,
        count: usize,
        padding: usize,
    ) -> Result<Pictures<B::Buffer>> {
        let op = Gather::new(count, padding, self.ingest)?;
        let bytes = backend.buffer_bytes(&op.pictures_desc());
        Ok(Pictures { op, buffer: backend.alloc(bytes)? })
    }

    /// Uploads which pictures [`Executor::gather`] takes, and no more.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is not a whole batch.
    pub fn put_picks(&mut self, backend: &mut B, picks: &[Pick]) -> Result<()> {
        let numbers: Vec<u32> = picks.iter().flat_map(|pick| pick.to_array()).collect();
        backend.upload(&Pick::desc(self.batch()), HostData::U32(&numbers), &mut self.inputs.picks)
    }

    /// In place of [`Executor::ingest`]: the pictures whose picks were uploaded, normalised.
    ///
    /// # Errors
    /// Device errors.
    pub fn gather(&mut self, backend: &mut B, from: &Pictures<B::Buffer>) -> Result<()> {
        let inputs = &self.inputs;
        self.buffers.write(self.program.input, |_, x| {
            let op = Gather::new(from.op.count(), from.op.padding(), self.ingest)?;
            backend.gather(&op, &from.buffer, &inputs.picks, &inputs.pixel_affine, x)
        })
    }

    /// Puts a loss scale into the numbers of this step, see [`Backend::scale_loss`].
    ///
    /// # Errors
    /// Device errors.
    pub fn scale_loss(&mut self, backend: &mut B, rule: &Optimizer, state: &B::Buffer) -> Result<()> {
        backend.scale_loss(rule, state, &mut self.inputs.scalars)
    }

    /// Uploads activations as they are (f32, NHWC).
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is not a whole batch.
    pub fn load_activations(&mut self, backend: &mut B, x: &[f32]) -> Result<()> {
        let desc = self.ingest.x_desc();
        self.buffers.write(self.program.input, |_, buffer| backend.upload(&desc, HostData::F32(x), buffer))
    }

    /// Picture to logits.
    ///
    /// # Errors
    /// Device errors.
    pub fn forward(&mut self, backend: &mut B, params: &mut Params<B>) -> Result<()> {
        for step in &self.program.forward {
            self.buffers.run(backend, params, step, Accumulate::Set)?;
        }
        Ok(())
    }

    /// Loss of the batch, its gradient in training, and the metrics set or added to.
    ///
    /// `mixed` holds second labels under mixup or cutmix. Only the first `n_valid` pictures count.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one label per picture; [`Error::Invalid`] for a label that is no class.
    pub fn loss(
        &mut self,
        backend: &mut B,
        labels: &[u32],
        mixed: Option<&[u32]>,
        n_valid: usize,
        accumulate: Accumulate,
    ) -> Result<()> {
        self.put_labels(backend, labels, mixed)?;
        self.loss_of_labels(backend, mixed.is_some(), n_valid, accumulate)
    }

    /// Uploads labels, and under mixup or cutmix second ones, and no more.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one label per picture; [`Error::Invalid`] for a label that is no class.
    pub fn put_labels(&mut self, backend: &mut B, labels: &[u32], mixed: Option<&[u32]>) -> Result<()> {
        let (desc, classes) = (self.loss.labels_desc(), self.loss.classes() as u32);
        for list in [Some(labels), mixed].into_iter().flatten() {
            if let Some((i, label)) = list.iter().enumerate().find(|(_, l)| **l >= classes) {
                return Err(Error::invalid(
                    "labels",
                    format!(
                        "label {label} of picture {i} in the batch; there are classes 0 to {}",
                        classes - 1
                    ),
                ));
            }
        }
        backend.upload(&desc, HostData::U32(labels), &mut self.inputs.labels)?;
        if let Some(mixed) = mixed {
            backend.upload(&desc, HostData::U32(mixed), &mut self.inputs.mixed_labels)?;
        }
        Ok(())
    }

    /// As [`Executor::loss`], with the labels that were uploaded; `mixed` says whether the second ones count.
    ///
    /// # Errors
    /// Device errors.
    pub fn loss_of_labels(
        &mut self,
        backend: &mut B,
        mixed: bool,
        n_valid: usize,
        accumulate: Accumulate,
    ) -> Result<()> {
        let Inputs { labels, mixed_labels, scalars, metrics, .. } = &mut self.inputs;
        let targets = Targets { a: labels, b: mixed.then_some(&*mixed_labels), n_valid };
        let (op, logits) = (self.loss, self.program.logits);
        match self.program.dlogits {
            Some(d) => self.buffers.write(d, |all, d| {
                backend.softmax_cross_entropy(
                    &op,
                    all.tensor(logits)?,
                    targets,
                    scalars,
                    Some(d),
                    metrics,
                    accumulate,
                )
            }),
            None => {
                let logits = self.buffers.tensor(logits)?;
                backend.softmax_cross_entropy(&op, logits, targets, scalars, None, metrics, accumulate)
            }
        }
    }

    /// Gradient of the logits to gradients of the parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] on an executor made for inference; device errors.
    pub fn backward(
        &mut self,
        backend: &mut B,
        params: &mut Params<B>,
        accumulate: Accumulate,
    ) -> Result<()> {
        if self.program.options.mode == Mode::Infer {
            return Err(Error::invalid("backward", "this executor was made for inference"));
        }
        for step in &self.program.backward {
            self.buffers.run(backend, params, step, accumulate)?;
        }
        Ok(())
    }

    /// The logits of the last forward pass: `batch × classes`, row by row.
    ///
    /// # Errors
    /// Device errors.
    pub fn logits(&self, backend: &mut B) -> Result<Vec<f32>> {
        self.download(backend, self.program.logits)
    }

    /// As [`Executor::logits`], into memory that is used again.
    ///
    /// # Errors
    /// Device errors.
    pub fn logits_into(&self, backend: &mut B, out: &mut Vec<f32>) -> Result<()> {
        let desc = self.program.tensors[self.program.logits.0].desc;
        out.resize(desc.len(), 0.0);
        backend.download(&desc, self.buffers.tensor(self.program.logits)?, HostDataMut::F32(out))
    }

    /// The metrics summed since the last `Set`.
    ///
    /// # Errors
    /// Device errors.
    pub fn metrics(&self, backend: &mut B) -> Result<Metrics> {
        let mut array = [0.0; 4];
        backend.download(&Metrics::desc(), &self.inputs.metrics, HostDataMut::F32(&mut array))?;
        Ok(Metrics::from_array(array))
    }

    /// The value of a layer in NHWC, right after the forward pass, if it lies in memory as it is.
    /// With slots shared, only values that a later step still needs are sure to be there; an executor for training keeps
    /// every value its backward pass reads.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the layer's value is never written out.
    pub fn value(&self, backend: &mut B, graph: &Graph, node: NodeId) -> Result<Vec<f32>> {
        let t = self.program.stored[node.0]
            .ok_or_else(|| Error::invalid(&graph.node(node).name, "its value is never written out"))?;
        self.download(backend, t)
    }

    /// The gradient of the picture after a backward pass, in NHWC, where it was asked for.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it was not asked for.
    pub fn input_gradient(&self, backend: &mut B) -> Result<Vec<f32>> {
        let t = self.program.dinput.ok_or_else(|| Error::invalid("input gradient", "was not asked for"))?;
        self.download(backend, t)
    }

    fn download(&self, backend: &mut B, t: TensorId) -> Result<Vec<f32>> {
        let desc = self.program.tensors[t.0].desc;
        let mut out = vec![0.0; desc.len()];
        backend.download(&desc, self.buffers.tensor(t)?, HostDataMut::F32(&mut out))?;
        Ok(out)
    }
}
