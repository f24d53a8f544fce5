//! Parameters: what they are called, how they start, and where they live on a device.

use crate::graph::{Graph, ParamId, ParamSpec};
use crate::lower::Freeze;
use crate::op::Optimizer;
use crate::{Backend, Error, HostData, HostDataMut, Result, Role, TensorDesc};

/// What a parameter is for. Decides its initialisation, its host shape and whether it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// Convolution kernel, `[k, c/groups, r, s]` in files (OIHW).
    ConvWeight,
    /// Fully connected weight, `[k, c]` in files.
    LinearWeight,
    /// Bias of a convolution or a fully connected layer.
    Bias,
    /// Scale γ of a normalisation.
    Gamma,
    /// Shift β of a normalisation.
    Beta,
    /// Running mean: state, not trained.
    RunningMean,
    /// Running variance: state, not trained.
    RunningVar,
    /// A fixed 0/1 kernel, built from the graph: neither trained nor saved nor counted.
    Constant,
}

impl ParamKind {
    /// Whether an optimizer changes it.
    pub fn is_trainable(self) -> bool {
        !matches!(self, ParamKind::RunningMean | ParamKind::RunningVar | ParamKind::Constant)
    }

    /// Whether it is written to weight files.
    pub fn is_saved(self) -> bool {
        self != ParamKind::Constant
    }

    /// Whether weight decay applies where norms and biases are exempt.
    pub fn is_weight(self) -> bool {
        matches!(self, ParamKind::ConvWeight | ParamKind::LinearWeight)
    }
}

/// A parameter on a device, with what training adds to it.
#[derive(Debug)]
pub struct Param<Buf> {
    /// What the buffers hold: a [`Role::Weight`] or a table of one row.
    pub desc: TensorDesc,
    /// What it is for.
    pub kind: ParamKind,
    /// The value.
    pub value: Buf,
    /// The gradient, where it is trained.
    pub grad: Option<Buf>,
    /// Optimizer state: velocity, or Adam's two moments.
    pub states: [Option<Buf>; 2],
    /// Whether weight decay applies.
    pub decay: bool,
    /// Factor on the learning rate; 0 freezes the parameter.
    pub lr_scale: f32,
}

/// Which tensor of a parameter is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The value.
    Value,
    /// The gradient.
    Grad,
    /// Optimizer state 0 or 1.
    State(usize),
}

/// All parameters of a network on one device.
#[derive(Debug)]
pub struct Params<B: Backend> {
    specs: Vec<ParamSpec>,
    /// In the order of [`Graph::params`].
    pub list: Vec<Param<B::Buffer>>,
}

impl<B: Backend> Params<B> {
    /// Uploads parameters. `values` are in the order of [`Graph::params`], each in file order.
    /// With an optimizer given, gradients and its state are allocated too, the state as zeros.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the parameter whose element count is wrong; allocation errors.
    pub fn new(
        backend: &mut B,
        graph: &Graph,
        values: &[Vec<f32>],
        training: Option<&Optimizer>,
    ) -> Result<Self> {
        Self::with_freeze(backend, graph, values, training, &Freeze::default())
    }

    /// As [`Params::new`]; what is frozen gets neither a gradient nor optimizer state.
    ///
    /// # Errors
    /// As [`Params::new`].
    pub fn with_freeze(
        backend: &mut B,
        graph: &Graph,
        values: &[Vec<f32>],
        training: Option<&Optimizer>,
        freeze: &Freeze,
    ) -> Result<Self> {
        if values.len() != graph.params().len() {
            return Err(Error::Mismatch {
                tensor: "parameters".into(),
                found: format!("{} tensors", values.len()),
                wanted: format!("{}", graph.params().len()),
            });
        }
        let mut params = Self { specs: graph.params().to_vec(), list: vec![] };
        let is_trained = freeze.trained(graph);
        for (i, spec) in graph.params().iter().enumerate() {
            let desc = spec.desc();
            let bytes = backend.buffer_bytes(&desc);
            let value = backend.alloc(bytes)?;
            let trained = training.filter(|_| is_trained[i]);
            let n_states = trained.map_or(0, Optimizer::n_states);
            let mut state = |wanted: bool| wanted.then(|| backend.alloc(bytes)).transpose();
            let (grad, states) = (state(trained.is_some())?, [state(n_states > 0)?, state(n_states > 1)?]);
            params.list.push(Param {
                desc,
                kind: spec.kind,
                value,
                grad,
                states,
                decay: true,
                lr_scale: 1.0,
            });
            params.write(backend, ParamId(i), Part::Value, &values[i])?;
        }
        Ok(params)
    }

    /// Name, shape and role of each parameter.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Copies a tensor of a parameter to the host, in file order.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the parameter has no such tensor; device errors.
    pub fn read(&self, backend: &mut B, id: ParamId, part: Part) -> Result<Vec<f32>> {
        let (spec, param) = (&self.specs[id.0], &self.list[id.0]);
        let buffer = match part {
            Part::Value => Some(&param.value),
            Part::Grad => param.grad.as_ref(),
            Part::State(i) => param.states.get(i).and_then(Option::as_ref),
        };
        let buffer = buffer.ok_or_else(|| Error::invalid(&spec.name, format!("has no {part:?}")))?;
        let mut device = vec![0.0; spec.len()];
        backend.download(&param.desc, buffer, HostDataMut::F32(&mut device))?;
        Ok(to_file_order(&param.desc, device))
    }

    /// Copies a tensor of a parameter from the host, in file order.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the parameter if the element count is wrong; otherwise as [`Params::read`].
    pub fn write(&mut self, backend: &mut B, id: ParamId, part: Part, values: &[f32]) -> Result<()> {
        let (spec, param) = (&self.specs[id.0], &mut self.list[id.0]);
        if values.len() != spec.len() {
            return Err(Error::Mismatch {
                tensor: spec.name.clone(),
                found: format!("{} elements", values.len()),
                wanted: format!("{} ({:?})", spec.len(), spec.shape),
            });
        }
        let buffer = match part {
            Part::Value => Some(&mut param.value),
            Part::Grad => param.grad.as_mut(),
            Part::State(i) => param.states.get_mut(i).and_then(Option::as_mut),
        };
        let buffer = buffer.ok_or_else(|| Error::invalid(&spec.name, format!("has no {part:?}")))?;
        backend.upload(&param.desc, HostData::F32(&to_device_order(&param.desc, values)), buffer)
    }

    /// All values on the host, in file order.
    ///
    /// # Errors
    /// Device errors.
    pub fn values(&self, backend: &mut B) -> Result<Vec<Vec<f32>>> {
        (0..self.list.len()).map(|i| self.read(backend, ParamId(i), Part::Value)).collect()
    }

    /// Exempts every normalisation and bias from weight decay, or none.
    pub fn decay_weights_only(&mut self, weights_only: bool) {
        for p in &mut self.list {
            p.decay = !weights_only || p.kind.is_weight();
        }
    }

    /// Bytes on the device.
    pub fn bytes(&self, backend: &B) -> usize {
        let copies = |p: &Param<B::Buffer>| {
            1 + usize::from(p.grad.is_some()) + p.states.iter().filter(|s| s.is_some()).count()
        };
        self.list.iter().map(|p| copies(p) * backend.buffer_bytes(&p.desc)).sum()
    }
}

/// OIHW, as files have kernels, to KRSC, as devices take them. Tables pass through.
pub fn to_device_order(desc: &TensorDesc, values: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    permute(desc, |file, device| out[device] = values[file]);
    out
}

/// The inverse of [`to_device_order`].
pub fn to_file_order(desc: &TensorDesc, values: Vec<f32>) -> Vec<f32> {
    if desc.role != Role::Weight || (desc.h, desc.w) == (1, 1) {
        return values;
    }
    let mut out = vec![0.0; values.len()];
    permute(desc, |file, device| out[file] = values[device]);
    out
}

/// Calls `pair` with each element's position in file order and in device order.
fn permute(desc: &TensorDesc, mut pair: impl FnMut(usize, usize)) {
    let (window, c) = match desc.role {
        Role::Weight => (desc.h * desc.w, desc.c),
        _ => (1, desc.len() / desc.n),
    };
    for k in 0..desc.n {
        for channel in 0..c {
            for tap in 0..window {
                pair((k * c + channel) * window + tap, (k * window + tap) * c + channel);
            }
        }
    }
}
