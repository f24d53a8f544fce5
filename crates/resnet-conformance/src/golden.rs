//! Whole networks as PyTorch computes them: logits, loss, every gradient, running statistics, optimizer steps.
//!
//! `golden/networks.json` holds PyTorch's results in f64 and `golden/make_networks.py` makes it.
//! Weights and pictures are not stored; both sides compute them from names ([`formula`]).
//! A gradient is compared by two numbers, its L2 norm and its dot product with another formula vector.

use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::zoo::ResNetSpec;
use resnet_core::{
    Accumulate, Backend, Executor, Freeze, FrozenNorms, Graph, LowerOptions, ParamId, ParamKind, Params,
    Part, TensorDesc,
};
use serde_json::Value;

const NETWORKS: &str = include_str!("../golden/networks.json");

/// Single ops as PyTorch computes them, for the tests of the reference; `golden/make_ops.py` makes it.
pub const OPS: &str = include_str!("../golden/ops.json");

/// What a comparison says: nothing, or what differed from what.
pub type Verdict = Result<(), String>;

/// `n` numbers in `0..1`: a 32-bit mix of the position and the name's hash (FNV-1a). The script has the same.
pub fn formula(name: &str, n: usize) -> Vec<f64> {
    let seed = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    (1..=n as u32)
        .map(|i| {
            let mut x = i.wrapping_mul(2_654_435_761).wrapping_add(seed);
            x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
            x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
            f64::from(x ^ (x >> 16)) / 4_294_967_296.0
        })
        .collect()
}

/// A network on a backend, with formula weights.
struct Net<'a, B: Backend> {
    backend: &'a mut B,
    graph: Graph,
    params: Params<B>,
    tolerance: f64,
}

/// Runs every golden network on a backend. Differences are relative to the largest logit, or to the L2 norm of a gradient.
///
/// The reference differs from PyTorch's f64 only by the rounding of its downloads to f32, so it is held to a few units in
/// the last place; an f32 backend to the 1e-4 that an import is judged by.
///
/// # Errors
/// The network, the tensor, what was got and what PyTorch got.
pub fn networks<B: Backend>(backend: &mut B, tolerance: f64) -> Verdict {
    let golden: Value = serde_json::from_str(NETWORKS).map_err(text)?;
    for (name, case) in golden["train"].as_object().ok_or("no `train`")? {
        train(backend, case, tolerance).map_err(|e| format!("{name}: {e}"))?;
    }
    for case in golden["frozen"].as_array().ok_or("no `frozen`")? {
        frozen(backend, case, tolerance).map_err(|e| format!("frozen until {}: {e}", case["until"]))?;
    }
    for case in golden["steps"].as_array().ok_or("no `steps`")? {
        steps(backend, case, tolerance)
            .map_err(|e| format!("five steps of {}: {e}", case["rule"]["name"]))?;
    }
    for (name, case) in golden["resnet18"].as_object().ok_or("no `resnet18`")? {
        resnet18(backend, name, case, tolerance).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

fn train<B: Backend>(backend: &mut B, case: &Value, tolerance: f64) -> Verdict {
    let n = index(&case["batch"])?;
    let mut net = Net::new(backend, spec(&case["spec"])?, tolerance, Some(&sgd(0.0)))?;
    let options = LowerOptions { input_gradient: true, ..LowerOptions::train(n) };
    let mut exec = Executor::new(net.backend, &net.graph, options, 0.1).map_err(text)?;
    net.step(&mut exec, 0)?;
    let logits = exec.logits(net.backend).map_err(text)?;
    net.values("logits", &logits, &case["logits"])?;
    let loss = exec.metrics(net.backend).map_err(text)?.loss();
    net.values("loss", &[loss], &Value::Array(vec![case["loss"].clone()]))?;
    net.digests(Part::Grad, &case["grads"])?;
    net.digests(Part::Value, &case["state"])?;
    let dx = exec.input_gradient(net.backend).map_err(text)?;
    // The script's order is NHWC too, so the dot product runs over the same positions.
    net.digest("input", &dx, &case["input_grad"])?;

    let mut exec = Executor::new(net.backend, &net.graph, LowerOptions::infer(n), 0.0).map_err(text)?;
    net.load(&mut exec, 0)?;
    exec.forward(net.backend, &mut net.params).map_err(text)?;
    let logits = exec.logits(net.backend).map_err(text)?;
    net.values("logits with running statistics", &logits, &case["eval_logits"])
}

/// Everything before one layer is frozen; normalisations as the case says.
fn frozen<B: Backend>(backend: &mut B, case: &Value, tolerance: f64) -> Verdict {
    let n = index(&case["batch"])?;
    let norms = match case["norms"].as_str() {
        Some("of frozen layers") => FrozenNorms::OfFrozenLayers,
        Some("all") => FrozenNorms::All,
        Some("none") => FrozenNorms::None,
        other => return Err(format!("norms {other:?}")),
    };
    let mut net = Net::new(backend, spec(&case["spec"])?, tolerance, Some(&sgd(0.0)))?;
    let until = case["until"].as_str().ok_or("no `until`")?;
    let freeze = Freeze::until(&net.graph, until, norms).map_err(text)?;
    let trained = freeze.trained(&net.graph);
    for ((param, spec), trained) in net.params.list.iter_mut().zip(net.graph.params()).zip(trained) {
        if trained != case["grads"][&spec.name].is_array() {
            return Err(format!("{}: trained {trained}, not so in PyTorch", spec.name));
        }
        param.grad = param.grad.take().filter(|_| trained);
    }
    let options = LowerOptions { freeze, ..LowerOptions::train(n) };
    let mut exec = Executor::new(net.backend, &net.graph, options, 0.1).map_err(text)?;
    net.step(&mut exec, 0)?;
    let logits = exec.logits(net.backend).map_err(text)?;
    net.values("logits", &logits, &case["logits"])?;
    net.digests(Part::Grad, &case["grads"])?;
    net.digests(Part::Value, &case["state"])
}

fn steps<B: Backend>(backend: &mut B, case: &Value, tolerance: f64) -> Verdict {
    let (rule, lr) = (&case["rule"], number(&case["rule"]["lr"])? as f32);
    let optimizer: Optimizer = serde_json::from_value(without(rule, "lr")).map_err(text)?;
    let n = index(&case["batch"])?;
    let mut net = Net::new(backend, spec(&case["spec"])?, tolerance, Some(&optimizer))?;
    let mut exec = Executor::new(net.backend, &net.graph, LowerOptions::train(n), 0.0).map_err(text)?;
    let max_norm = case["clip"].as_f64().map(|c| c as f32);
    let desc = TensorDesc::table(1, 1);
    let bytes = net.backend.buffer_bytes(&desc);
    let mut norm = net.backend.alloc(bytes).map_err(text)?;
    let mut losses = vec![];
    for t in 0..case["losses"].as_array().ok_or("no losses")?.len() {
        let max_norm = max_norm.unwrap_or(f32::INFINITY);
        let scalars = StepScalars { lr, max_norm, ..StepScalars::of_step(&optimizer, t as u64 + 1) };
        exec.set_scalars(net.backend, &scalars).map_err(text)?;
        net.step(&mut exec, t)?;
        losses.push(exec.metrics(net.backend).map_err(text)?.loss());
        net.backend.grad_norm(&net.params.list, &mut norm).map_err(text)?;
        let clip = case["clip"].is_number().then_some(&norm);
        net.backend.update(&optimizer, exec.scalars(), clip, &mut net.params.list).map_err(text)?;
    }
    net.values("losses", &losses, &case["losses"])?;
    net.digests(Part::Value, &case["after"])
}

fn resnet18<B: Backend>(backend: &mut B, arch: &str, case: &Value, tolerance: f64) -> Verdict {
    let (n, size) = (index(&case["batch"])?, index(&case["size"])?);
    let spec = resnet_core::zoo::arch(arch).map_err(text)?.classes(1000).channels(3).size(size, size);
    let mut net = Net::new(backend, spec, tolerance, None)?;
    let mut exec = Executor::new(net.backend, &net.graph, LowerOptions::infer(n), 0.0).map_err(text)?;
    net.load(&mut exec, 0)?;
    exec.forward(net.backend, &mut net.params).map_err(text)?;
    let logits = exec.logits(net.backend).map_err(text)?;
    net.values("logits", &logits[..64], &case["logits"])?;
    net.digest("logits", &logits, &case["digest"])
}

impl<'a, B: Backend> Net<'a, B> {
    fn new(
        backend: &'a mut B,
        spec: ResNetSpec,
        tolerance: f64,
        training: Option<&Optimizer>,
    ) -> Result<Self, String> {
        let graph = spec.build().map_err(text)?;
        let values: Vec<Vec<f32>> = graph
            .params()
            .iter()
            .map(|p| {
                let fan_in: usize = p.shape.iter().skip(1).product();
                let bound = (6.0 / fan_in as f64).sqrt();
                let value = |u: f64| match p.kind {
                    ParamKind::RunningVar => 0.5 + u,
                    ParamKind::RunningMean | ParamKind::Bias | ParamKind::Beta => 0.4 * u - 0.2,
                    ParamKind::Gamma => 0.75 + 0.5 * u,
                    _ => (2.0 * u - 1.0) * bound,
                };
                match p.kind {
                    ParamKind::Constant => p.init.fill(&p.shape, 0, 0),
                    _ => formula(&p.name, p.len()).into_iter().map(|u| value(u) as f32).collect(),
                }
            })
            .collect();
        let params = Params::new(backend, &graph, &values, training).map_err(text)?;
        Ok(Self { backend, graph, params, tolerance })
    }

    /// The picture of a step: made in NCHW as PyTorch has it, loaded as NHWC.
    fn load(&mut self, exec: &mut Executor<B>, step: usize) -> Verdict {
        let (n, shape) = (exec.batch(), self.graph.input_shape());
        let nchw = formula(&format!("picture{step}"), n * shape.len());
        let (c, pixels) = (shape.c, shape.h * shape.w);
        let nhwc: Vec<f32> = (0..nchw.len())
            .map(|i| {
                let (image, pixel, channel) = (i / (pixels * c), i / c % pixels, i % c);
                (2.0 * nchw[(image * c + channel) * pixels + pixel] - 1.0) as f32
            })
            .collect();
        exec.load_activations(self.backend, &nhwc).map_err(text)
    }

    fn step(&mut self, exec: &mut Executor<B>, step: usize) -> Verdict {
        self.load(exec, step)?;
        let (n, classes) = (exec.batch(), self.graph.classes() as f64);
        let labels: Vec<u32> =
            formula(&format!("labels{step}"), n).into_iter().map(|u| (u * classes) as u32).collect();
        exec.forward(self.backend, &mut self.params).map_err(text)?;
        exec.loss(self.backend, &labels, None, n, Accumulate::Set).map_err(text)?;
        exec.backward(self.backend, &mut self.params, Accumulate::Set).map_err(text)
    }

    fn values(&self, what: &str, got: &[f32], wanted: &Value) -> Verdict {
        let wanted: Vec<f64> =
            wanted.as_array().ok_or("a list")?.iter().map(number).collect::<Result<_, _>>()?;
        let scale = wanted.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
        for (i, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            self.close(&format!("{what}[{i}]"), f64::from(*got), *wanted, scale)?;
        }
        if got.len() == wanted.len() {
            Ok(())
        } else {
            Err(format!("{what}: {} values, {} wanted", got.len(), wanted.len()))
        }
    }

    fn digest(&self, name: &str, got: &[f32], wanted: &Value) -> Verdict {
        let norm = got.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let weights = formula(&format!("{name}.dot"), got.len());
        let dot: f64 = got.iter().zip(weights).map(|(v, u)| f64::from(*v) * (2.0 * u - 1.0)).sum();
        let scale = number(&wanted[0])?;
        self.close(&format!("|{name}|"), norm, scale, scale)?;
        self.close(&format!("{name}·formula"), dot, number(&wanted[1])?, scale)
    }

    fn digests(&mut self, part: Part, wanted: &Value) -> Verdict {
        for (name, wanted) in wanted.as_object().ok_or("an object")? {
            let found = self.graph.params().iter().position(|p| p.name == *name);
            let id = ParamId(found.ok_or_else(|| format!("the network has no `{name}`"))?);
            let got = self.params.read(self.backend, id, part).map_err(text)?;
            self.digest(name, &got, wanted)?;
        }
        Ok(())
    }

    fn close(&self, what: &str, got: f64, wanted: f64, scale: f64) -> Verdict {
        let error = (got - wanted).abs();
        // Written so that a NaN fails.
        if error <= self.tolerance * scale + f64::MIN_POSITIVE {
            return Ok(());
        }
        Err(format!(
            "{what}: got {got:e}, PyTorch {wanted:e}, off by {error:.2e} of {:.2e}",
            self.tolerance * scale
        ))
    }
}

fn sgd(momentum: f32) -> Optimizer {
    Optimizer::Sgd { momentum, nesterov: false, weight_decay: 0.0 }
}

/// The script's spec as ours: conventions are torchvision's but for the one it may name.
fn spec(value: &Value) -> Result<ResNetSpec, String> {
    let mut spec = without(value, "v2_stride_first");
    spec["arch"] = "golden".into();
    let mut spec: ResNetSpec = serde_json::from_value(spec).map_err(text)?;
    spec.conventions.v2_stride_first = value["v2_stride_first"].as_bool().unwrap_or(false);
    Ok(spec)
}

fn without(value: &Value, key: &str) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove(key);
    }
    value
}

fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("a number wanted, found {value}"))
}

fn index(value: &Value) -> Result<usize, String> {
    value.as_u64().map(|v| v as usize).ok_or_else(|| format!("a count wanted, found {value}"))
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}
