//! Whole networks on a backend: one pass with everything that comes out of it, or a few training steps.

use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::{
    Accumulate, Backend, DType, Executor, Freeze, FrozenNorms, Fusion, Graph, LowerOptions, Param, ParamId,
    Params, Part, Result, TensorDesc,
};

use crate::data::Data;
use crate::noisy::{Computation, Named, Noisy, Spread};
use crate::number::Number;
use crate::reference::{Buffer, Reference};
use crate::strategy::networks;

/// Pictures per batch.
const BATCH: usize = 4;

/// What is trained, and by which rule.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    pub(crate) graph: Graph,
    pub(crate) rule: Optimizer,
    pub(crate) lr: f32,
    pub(crate) seed: u64,
    pub(crate) freeze: Freeze,
    /// Of activations.
    pub(crate) dtype: DType,
}

impl Computation for Training {
    /// Three steps with clipping, then inference. Everything a host can see, in the order in which it comes about.
    fn run<B: Backend>(&self, backend: &mut B) -> Result<Vec<Named>> {
        let data = &mut Data::new(self.seed);
        let values = networks::values(&self.graph, data);
        let rule = Some(&self.rule);
        let mut params = Params::with_freeze(backend, &self.graph, &values, rule, &self.freeze)?;
        params.decay_weights_only(true);
        // With frozen layers the backward pass is to end where they begin.
        let (freeze, input_gradient) = (self.freeze, self.freeze.layers == 0);
        let dtype = self.dtype;
        let options = LowerOptions { input_gradient, freeze, dtype, ..LowerOptions::train(BATCH) };
        let mut exec = Executor::new(backend, &self.graph, options, 0.1)?;
        let mut norm = {
            let bytes = backend.buffer_bytes(&TensorDesc::table(1, 1));
            backend.alloc(bytes)?
        };
        let shape = self.graph.input_shape();
        let pixel_affine = [2.0 / 255.0, -1.0].map(|v| vec![v; shape.c]).concat();
        exec.set_pixel_affine(backend, &pixel_affine)?;
        let mut seen = Vec::new();
        let widen = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        for t in 1..=3 {
            let mut see =
                |name: String, values: Vec<f32>| seen.push((format!("step {t}, {name}"), widen(values)));
            let scalars = StepScalars { lr: self.lr, max_norm: 1.0, ..StepScalars::of_step(&self.rule, t) };
            exec.set_scalars(backend, &scalars)?;
            let pixels: Vec<u8> = (0..BATCH * shape.len()).map(|_| data.below(256) as u8).collect();
            let labels: Vec<u32> = (0..BATCH).map(|_| data.below(self.graph.classes()) as u32).collect();
            exec.load_pixels(backend, &pixels)?;
            exec.forward(backend, &mut params)?;
            see("logits".into(), exec.logits(backend)?);
            exec.loss(backend, &labels, None, BATCH, Accumulate::Set)?;
            see("loss".into(), vec![exec.metrics(backend)?.loss()]);
            exec.backward(backend, &mut params, Accumulate::Set)?;
            if input_gradient {
                see("gradient of the picture".into(), exec.input_gradient(backend)?);
            }
            for (i, spec) in self.graph.params().iter().enumerate() {
                if params.list[i].grad.is_some() {
                    see(format!("gradient of {}", spec.name), params.read(backend, ParamId(i), Part::Grad)?);
                }
            }
            backend.grad_norm(&params.list, &mut norm)?;
            backend.update(&self.rule, exec.scalars(), Some(&norm), &mut params.list)?;
            for (i, spec) in self.graph.params().iter().enumerate() {
                see(spec.name.clone(), params.read(backend, ParamId(i), Part::Value)?);
            }
        }
        let mut exec =
            Executor::new(backend, &self.graph, LowerOptions { dtype, ..LowerOptions::infer(BATCH) }, 0.0)?;
        let pixels: Vec<f32> = data.range(BATCH * shape.len(), -1.0, 1.0);
        exec.load_activations(backend, &pixels)?;
        exec.forward(backend, &mut params)?;
        seen.push(("inference, logits".to_owned(), widen(exec.logits(backend)?)));
        Ok(seen)
    }
}

/// How a pass is lowered.
#[derive(Clone, Copy)]
struct Form {
    fusion: Fusion,
    freeze: Freeze,
}

impl Form {
    /// The picture's gradient has to pass everything, so it is asked for where nothing ends the backward pass before.
    fn has_input_gradient(&self) -> bool {
        self.freeze.layers == 0
    }
}

/// One forward and backward pass in f64, lowered in a given way: logits, gradients and running statistics, unrounded where the
/// reference lets one see its buffers.
fn pass<T: Number>(graph: &Graph, form: Form, seed: u64) -> Result<Vec<Named>> {
    let backend = &mut Reference::<T>::default();
    let data = &mut Data::new(seed);
    let values = networks::values(graph, data);
    let rule = Optimizer::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let Form { fusion, freeze } = form;
    let mut params = Params::with_freeze(backend, graph, &values, Some(&rule), &freeze)?;
    let options = LowerOptions {
        input_gradient: form.has_input_gradient(),
        fusion,
        freeze,
        ..LowerOptions::train(BATCH)
    };
    let mut exec = Executor::new(backend, graph, options, 0.1)?;
    let shape = graph.input_shape();
    exec.load_activations(backend, &data.range(BATCH * shape.len(), -1.0, 1.0))?;
    let labels: Vec<u32> = (0..BATCH).map(|_| data.below(graph.classes()) as u32).collect();
    exec.forward(backend, &mut params)?;
    exec.loss(backend, &labels, None, BATCH, Accumulate::Set)?;
    exec.backward(backend, &mut params, Accumulate::Set)?;

    let widen = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    let mut seen = vec![("logits".to_owned(), widen(exec.logits(backend)?))];
    if form.has_input_gradient() {
        seen.push(("gradient of the picture".to_owned(), widen(exec.input_gradient(backend)?)));
    }
    let unrounded = |buffer: &Buffer<T>| buffer.values().iter().map(|v| v.value()).collect::<Vec<_>>();
    for (spec, Param { value, grad, .. }) in graph.params().iter().zip(&params.list) {
        seen.push((spec.name.clone(), unrounded(value)));
        seen.extend(grad.as_ref().map(|grad| (format!("gradient of {}", spec.name), unrounded(grad))));
    }
    Ok(seen)
}

/// Compares one pass with everything fused and one with nothing fused.
pub(crate) fn compare_fusion(graph: &Graph, freeze: Freeze, seed: u64) -> std::result::Result<(), String> {
    let text = |error: resnet_core::Error| error.to_string();
    if !freeze.trained(graph).contains(&true) {
        return Ok(());
    }
    let full = Form { fusion: Fusion::Full, freeze };
    let none = Form { fusion: Fusion::None, freeze };
    let plain = pass::<f64>(graph, none, seed).map_err(text)?;
    let fused = pass::<f64>(graph, full, seed).map_err(text)?;
    let runs = vec![
        pass::<Noisy<1>>(graph, none, seed).map_err(text)?,
        pass::<Noisy<2>>(graph, none, seed).map_err(text)?,
        pass::<Noisy<3>>(graph, none, seed).map_err(text)?,
        pass::<Noisy<4>>(graph, none, seed).map_err(text)?,
        pass::<Noisy<5>>(graph, none, seed).map_err(text)?,
        pass::<Noisy<6>>(graph, none, seed).map_err(text)?,
        pass::<Noisy<7>>(graph, none, seed).map_err(text)?,
        pass::<Noisy<8>>(graph, none, seed).map_err(text)?,
    ];
    let spread = Spread::new(plain, runs);
    // Logits and the picture's gradient come down in f32; everything else is seen in f64.
    let downloads = 1 + usize::from(full.has_input_gradient());
    spread.first(downloads).explain(&fused[..downloads], f64::EPSILON / 2.0, 2.0 * crate::bound::U)?;
    spread.rest(downloads).explain(&fused[downloads..], f64::EPSILON / 2.0, 0.0)
}

/// Compares the gradients of the layers that are trained when the first `layers` are frozen, but normalised as before, with
/// those when nothing is frozen. The same sums are taken in the same order, so they are equal bit by bit.
pub(crate) fn compare_freezing(graph: &Graph, layers: usize, seed: u64) -> std::result::Result<(), String> {
    let text = |error: resnet_core::Error| error.to_string();
    let freeze = Freeze { layers, norms: FrozenNorms::None };
    if !freeze.trained(graph).contains(&true) {
        return Ok(());
    }
    let form = |freeze| Form { fusion: Fusion::Full, freeze };
    let all = pass::<f64>(graph, form(Freeze::default()), seed).map_err(text)?;
    for (name, frozen) in pass::<f64>(graph, form(freeze), seed).map_err(text)? {
        let free = all.iter().find(|(n, _)| *n == name).map(|(_, values)| values);
        if free != Some(&frozen) {
            return Err(format!("{name} is {frozen:?}; without freezing {free:?}"));
        }
    }
    Ok(())
}
