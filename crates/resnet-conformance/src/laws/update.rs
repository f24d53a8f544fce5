//! Optimizers and the gradient norm against the reference.

use proptest::prelude::*;
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{Backend, Param, ParamKind, Result, TensorDesc};

use super::match_reference;
use crate::data::Data;
use crate::lab::{Case, Lab, Output, output};
use crate::strategy::seed;

/// What is asked of one parameter.
#[derive(Clone, Copy, Debug)]
struct Form {
    desc: TensorDesc,
    grad: bool,
    decay: bool,
    lr_scale: f32,
}

impl Form {
    /// The parameter, with every state the rule needs and what it does not.
    fn param<B: Backend>(
        &self,
        backend: &mut B,
        rule: &Optimizer,
        data: &mut Data,
    ) -> Result<Param<B::Buffer>> {
        let n = self.desc.len();
        let value = backend.put(self.desc, &data.values(n))?;
        let grad = if self.grad { Some(backend.put(self.desc, &data.values(n))?) } else { None };
        let mut states = [None, None];
        for (i, state) in states.iter_mut().enumerate().take(rule.n_states()) {
            // Adam's second moment is not negative. The first may be zero where the second is not, never the reverse.
            let values = if i == 0 { data.values(n) } else { data.range(n, 1e-3, 1.0) };
            *state = Some(backend.put(self.desc, &values)?);
        }
        let kind = match self.desc.role {
            resnet_core::Role::Weight => ParamKind::ConvWeight,
            _ => ParamKind::Gamma,
        };
        Ok(Param { desc: self.desc, kind, value, grad, states, decay: self.decay, lr_scale: self.lr_scale })
    }
}

/// The gradient norm that an update is given.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Norm {
    /// None: gradients as they are.
    None,
    /// A norm, and the largest allowed.
    Clip { norm: f32, max_norm: f32 },
}

/// One step of an optimizer.
#[derive(Debug)]
pub(crate) struct Update {
    rule: Optimizer,
    norm: Norm,
    params: Vec<Form>,
    t: u64,
    seed: u64,
}

impl Case for Update {
    fn op(&self) -> &'static str {
        match self.rule {
            Optimizer::Sgd { .. } => "update (SGD)",
            Optimizer::Adam { .. } => "update (Adam)",
            Optimizer::AdamW { .. } => "update (AdamW)",
        }
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let data = &mut Data::new(self.seed);
        let mut params = Vec::new();
        for form in &self.params {
            params.push(form.param(backend, &self.rule, data)?);
        }
        let lr = data.between(1e-3, 0.5);
        let mut scalars = StepScalars { lr, ..StepScalars::of_step(&self.rule, self.t) };
        // A loss scale is a power of two.
        scalars.unscale = [1.0, 1.0 / 1024.0][data.below(2)];
        let norm = match self.norm {
            Norm::None => None,
            Norm::Clip { norm, max_norm } => {
                scalars.max_norm = max_norm;
                Some(backend.put(TensorDesc::table(1, 1), &[norm])?)
            }
        };
        let scalars = backend.put(StepScalars::desc(), &scalars.to_array())?;
        backend.update(&self.rule, &scalars, norm.as_ref(), &mut params)?;
        let mut outputs = Vec::new();
        for param in params {
            outputs.push(output("value", param.desc, param.value));
            outputs.extend(param.grad.map(|grad| output("gradient", param.desc, grad)));
            outputs
                .extend(param.states.into_iter().flatten().map(|state| output("state", param.desc, state)));
        }
        Ok(outputs)
    }
}

/// The norm of all gradients.
#[derive(Debug)]
pub(crate) struct GradNorm {
    params: Vec<Form>,
    seed: u64,
}

impl Case for GradNorm {
    fn op(&self) -> &'static str {
        "grad_norm"
    }

    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Output<B::Buffer>>> {
        let data = &mut Data::new(self.seed);
        let rule = Optimizer::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let mut params = Vec::new();
        for form in &self.params {
            params.push(form.param(backend, &rule, data)?);
        }
        let mut norm = backend.poisoned(TensorDesc::table(1, 1))?;
        backend.grad_norm(&params, &mut norm)?;
        Ok(vec![output("norm", TensorDesc::table(1, 1), norm)])
    }
}

fn form() -> impl Strategy<Value = Form> {
    let channels = prop_oneof![Just(1usize), 2..=20usize, Just(33)];
    let desc = prop_oneof![
        channels.clone().prop_map(|c| TensorDesc::table(1, c)),
        (channels.clone(), 1..=3usize, 1..=3usize, channels)
            .prop_map(|(k, r, s, c)| TensorDesc::weight(k, r, s, c)),
    ];
    let lr_scale = prop_oneof![3 => Just(1.0f32), 1 => Just(0.0f32), 1 => Just(0.5f32)];
    (desc, prop::bool::weighted(0.8), any::<bool>(), lr_scale)
        .prop_map(|(desc, grad, decay, lr_scale)| Form { desc, grad, decay, lr_scale })
}

fn norm() -> impl Strategy<Value = Norm> {
    let number = prop_oneof![4 => 0.5f32..4.0, 1 => Just(0.0), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)];
    let max_norm = prop_oneof![3 => 0.5f32..4.0, 1 => Just(f32::INFINITY)];
    prop_oneof![
        Just(Norm::None),
        (number, max_norm).prop_map(|(norm, max_norm)| Norm::Clip { norm, max_norm })
    ]
}

fn update(rule: impl Strategy<Value = Optimizer>) -> impl Strategy<Value = Update> {
    let t = prop_oneof![Just(1u64), 2..=20u64, Just(100_000)];
    (rule, norm(), prop::collection::vec(form(), 0..=4), t, seed())
        .prop_map(|(rule, norm, params, t, seed)| Update { rule, norm, params, t, seed })
}

fn decay() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0f32), Just(1e-4), Just(0.1)]
}

pub(crate) fn sgd() -> impl Strategy<Value = Update> {
    let momentum = prop_oneof![Just(0.0f32), Just(0.9f32)];
    update((momentum, any::<bool>(), decay()).prop_map(|(momentum, nesterov, weight_decay)| Optimizer::Sgd {
        momentum,
        nesterov,
        weight_decay,
    }))
}

pub(crate) fn adam() -> impl Strategy<Value = Update> {
    let eps = prop_oneof![Just(1e-8f32), Just(1e-3)];
    update((eps, decay()).prop_map(|(eps, weight_decay)| Optimizer::Adam {
        beta1: 0.9,
        beta2: 0.999,
        eps,
        weight_decay,
    }))
}

pub(crate) fn adamw() -> impl Strategy<Value = Update> {
    let eps = prop_oneof![Just(1e-8f32), Just(1e-3)];
    update((eps, decay()).prop_map(|(eps, weight_decay)| Optimizer::AdamW {
        beta1: 0.9,
        beta2: 0.98,
        eps,
        weight_decay,
    }))
}

pub(crate) fn grad_norm() -> impl Strategy<Value = GradNorm> {
    (prop::collection::vec(form(), 0..=4), seed()).prop_map(|(params, seed)| GradNorm { params, seed })
}

/// [`Backend::update`] with SGD matches the reference: momentum, Nesterov, decay and its exemption, frozen parameters,
/// clipping, and no change at all where the norm is not finite.
pub fn sgd_matches_reference<B: Backend>(make: impl Fn() -> B) {
    match_reference(make, "update with SGD matches the reference", sgd());
}

/// As [`sgd_matches_reference`], with Adam.
pub fn adam_matches_reference<B: Backend>(make: impl Fn() -> B) {
    match_reference(make, "update with Adam matches the reference", adam());
}

/// As [`sgd_matches_reference`], with AdamW.
pub fn adamw_matches_reference<B: Backend>(make: impl Fn() -> B) {
    match_reference(make, "update with AdamW matches the reference", adamw());
}

/// [`Backend::grad_norm`] matches the reference.
pub fn grad_norm_matches_reference<B: Backend>(make: impl Fn() -> B) {
    match_reference(make, "grad_norm matches the reference", grad_norm());
}
