//! `resnet bench`: how long a step takes, on synthetic pictures or with real loading.

use std::time::{Duration, Instant};

use anyhow::Context;
use resnet::backend::{Job, dispatch};
use resnet::profile::Timed;
use resnet_core::op::{Optimizer, StepScalars};
use resnet_core::preprocessing::Preprocessing;
use resnet_core::rng::{Purpose, Stream};
use resnet_core::zoo::ResNetSpec;
use resnet_core::{Backend, Executor, Graph, LowerOptions, Params, Pass, TrainingStep, init};
use resnet_train::data::{Batch, Epoch, Loader};
use resnet_train::recipe::{Recipe, Size};
use serde::Serialize;

use crate::args::{DataArgs, DeviceArgs, NetworkArgs, Precision, WeightsArgs};
use crate::exit::usage;
use crate::view::output::say;
use crate::view::{self, number, table};

/// Steps that are run first and not counted: caches fill, clocks rise, pages are touched.
const N_WARM_UP: usize = 2;

/// Measure how long a step takes.
///
/// On synthetic pictures, training or inference; with --data on pictures that are read, decoded and augmented meanwhile.
/// A training step is what a trainer does for one batch: copy the pictures in, forward, loss, backward, SGD with momentum.
/// With --infer it is copy in, forward with running statistics, logits out.
/// Two warm-up steps are not counted.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet bench --arch resnet18 --channels 1 --size 28 --classes 10 --batch 256 --steps 10
  resnet bench --arch resnet50 --batch 32 --infer --steps 20 --json
  resnet bench --arch resnet50 --batch 32 --steps 5 --profile
  resnet bench --weights model.safetensors --batch 1 --infer
  resnet bench --arch resnet50 --batch 16 --data photos/     whether loading keeps up: compare with the same without --data")]
pub(crate) struct BenchArgs {
    /// Pictures per step
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,

    /// Measure inference instead of training
    #[arg(long)]
    infer: bool,

    /// Type of the activations
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,

    /// Steps to measure
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,

    /// Print where the time goes, by op and by shape; each op is then waited for
    #[arg(long, conflicts_with = "json")]
    profile: bool,

    /// One line of JSON
    #[arg(long)]
    json: bool,

    /// Read these pictures in place of synthetic ones: random crops and flips of the training part, beside the computation
    #[command(flatten)]
    data: DataArgs,

    /// Threads that read and augment pictures
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Data")]
    workers: usize,

    #[command(flatten)]
    weights: WeightsArgs,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What was measured. The first four fields are what other programs read.
#[derive(Debug, Serialize)]
struct Measured {
    median_s: f64,
    min_s: f64,
    images_per_s: f64,
    peak_rss_bytes: Option<u64>,
    max_s: f64,
    steps: usize,
    mode: &'static str,
    arch: String,
    variant: String,
    channels: usize,
    height: usize,
    width: usize,
    classes: usize,
    batch: usize,
    /// Where the pictures came from; none if they were synthetic.
    data: Option<String>,
    precision: &'static str,
    backend: &'static str,
    device: String,
    parameters: usize,
    activation_bytes: usize,
    scratch_bytes: usize,
    flops_per_step: u64,
    gflop_per_s: f64,
}

pub(crate) fn run(args: BenchArgs) -> anyhow::Result<()> {
    if args.steps == 0 {
        return Err(usage("--steps 0: at least one step must be measured"));
    }
    let (spec, _) = args.weights.spec(&args.network, "resnet18")?;
    let (json, profile) = (args.json, args.profile);
    let choice = args.device.choice();
    let measured = dispatch(choice, Bench { graph: spec.build()?, spec, args })?;
    if json {
        view::output::lines([serde_json::to_string(&measured)?])?;
    } else if !profile {
        print(&measured);
    }
    Ok(())
}

struct Bench {
    graph: Graph,
    spec: ResNetSpec,
    args: BenchArgs,
}

impl Job for Bench {
    type Output = Measured;
    type Error = anyhow::Error;

    fn run<B: Backend>(self, backend: B) -> anyhow::Result<Measured> {
        if !self.args.profile {
            let mut backend = backend;
            let (measured, _) = self.measure(&mut backend, |_| {})?;
            return Ok(measured);
        }
        let mut backend = Timed::new(backend);
        let (measured, time) = self.measure(&mut backend, Timed::reset)?;
        print(&measured);
        print_profile(&backend, self.args.steps, time);
        Ok(measured)
    }
}

impl Bench {
    /// Warms up, calls `warm`, measures. Returns also the time of all measured steps together.
    fn measure<B: Backend>(
        &self,
        backend: &mut B,
        warm: impl FnOnce(&mut B),
    ) -> anyhow::Result<(Measured, Duration)> {
        let (args, spec) = (&self.args, &self.spec);
        let mut options =
            if args.infer { LowerOptions::infer(args.batch) } else { LowerOptions::train(args.batch) };
        options.dtype = args.precision.dtype();
        let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
        let values = init::initial_values(&self.graph, 0);
        let mut params = Params::<B>::new(backend, &self.graph, &values, (!args.infer).then_some(&rule))?;
        drop(values);
        let mut net = Executor::new(backend, &self.graph, options, 0.0)?;
        net.account_params(params.bytes(backend));
        net.set_scalars(backend, &StepScalars { lr: 0.01, ..StepScalars::default() })?;
        let mut feed = Feed::new(args, spec)?;
        let origin = feed.origin();

        let mut training = TrainingStep::new(rule);
        let key = backend.new_recording();
        let mut step = |backend: &mut B| -> anyhow::Result<Duration> {
            let start = Instant::now();
            let (pixels, labels) = feed.next()?;
            net.put_pixels(backend, pixels)?;
            if !args.infer {
                net.put_labels(backend, labels, None)?;
            }
            // As a trainer does: where the backend can repeat a step without the host, it does.
            backend.recorded(key, |backend| {
                if args.infer {
                    net.ingest(backend)?;
                    net.forward(backend, &mut params)
                } else {
                    let pass = Pass::whole(args.batch);
                    training.compute(backend, &mut net, &mut params, pass, Executor::ingest)
                }
            })?;
            if args.infer {
                net.logits(backend)?;
            } else {
                backend.synchronize()?;
            }
            Ok(start.elapsed())
        };
        for _ in 0..N_WARM_UP {
            step(backend)?;
        }
        warm(backend);
        let mut times = (0..args.steps).map(|_| step(backend)).collect::<anyhow::Result<Vec<_>>>()?;
        times.sort();
        let seconds = |t: &Duration| t.as_secs_f64();
        let median_s = (seconds(&times[(times.len() - 1) / 2]) + seconds(&times[times.len() / 2])) / 2.0;
        let plan = net.plan();
        let measured = Measured {
            median_s,
            min_s: seconds(&times[0]),
            images_per_s: args.batch as f64 / median_s,
            peak_rss_bytes: view::peak_rss_bytes(),
            max_s: times.last().map_or(0.0, seconds),
            steps: times.len(),
            mode: if args.infer { "infer" } else { "train" },
            arch: spec.arch.clone(),
            variant: spec.variant.to_string(),
            channels: spec.channels,
            height: spec.height,
            width: spec.width,
            classes: spec.classes,
            batch: args.batch,
            data: origin,
            precision: args.precision.name(),
            backend: backend.name(),
            device: backend.describe(),
            parameters: plan.n_params,
            activation_bytes: plan.activation_bytes(),
            scratch_bytes: plan.scratch_bytes + plan.table_bytes,
            flops_per_step: plan.flops,
            gflop_per_s: plan.flops as f64 / median_s / 1e9,
        };
        Ok((measured, times.iter().sum()))
    }
}

/// Where the pictures of a step come from.
enum Feed {
    Synthetic { pixels: Vec<u8>, labels: Vec<u32> },
    Loaded { origin: String, loader: Loader, running: Epoch, n_epochs: u64, batch: Batch },
}

impl Feed {
    fn new(args: &BenchArgs, spec: &ResNetSpec) -> anyhow::Result<Self> {
        if args.data.data.is_none() {
            let mut random = Stream::new(0, Purpose::Synthetic, 0, 0);
            let n_bytes = args.batch * spec.height * spec.width * spec.channels;
            let pixels = (0..n_bytes).map(|_| random.u32() as u8).collect();
            let labels = (0..args.batch).map(|_| random.below(spec.classes) as u32).collect();
            return Ok(Self::Synthetic { pixels, labels });
        }
        let mut recipe = Recipe::default();
        args.data.apply(&mut recipe.data);
        recipe.model.channels = Some(spec.channels);
        recipe.model.size = Some(Size { height: spec.height, width: spec.width });
        (recipe.train.batch, recipe.run.workers) = (args.batch, args.workers);
        (recipe.augment.resized_crop, recipe.augment.flip) = (Some((0.08, 1.0)), 0.5);
        recipe.validate()?;
        let data = recipe.open_data()?;
        if data.n_classes() > spec.classes {
            let (found, known) = (data.n_classes(), spec.classes);
            return Err(usage(format!("{found} classes, the network has {known}; say --classes {found}")));
        }
        let unused = vec![0.5; spec.channels]; // the loader hands over bytes
        let size = Preprocessing::exact(spec.height, spec.width, unused.clone(), unused);
        let loader = recipe.train_loader(&data, &size)?;
        let running = loader.epoch(0, 0)?;
        Ok(Self::Loaded { origin: data.describe(), loader, running, n_epochs: 1, batch: Batch::default() })
    }

    fn origin(&self) -> Option<String> {
        match self {
            Feed::Synthetic { .. } => None,
            Feed::Loaded { origin, .. } => Some(origin.clone()),
        }
    }

    /// Pixels and labels of the next batch, as soon as they are there.
    fn next(&mut self) -> anyhow::Result<(&[u8], &[u32])> {
        match self {
            Feed::Synthetic { pixels, labels } => Ok((pixels, labels)),
            Feed::Loaded { loader, running, n_epochs, batch, .. } => {
                *batch = match running.next() {
                    Some(next) => next?,
                    None => {
                        *running = loader.epoch(*n_epochs, 0)?;
                        *n_epochs += 1;
                        running.next().context("an epoch without a batch")??
                    }
                };
                Ok((&batch.pixels, &batch.labels))
            }
        }
    }
}

fn print(m: &Measured) {
    let mode = if m.infer() { "inference" } else { "training" };
    say(format!(
        "{} ({}), {mode}, {} pictures of {}×{}×{}, {} classes, {}",
        m.arch, m.variant, m.batch, m.channels, m.height, m.width, m.classes, m.precision
    ));
    say(format!("{}\n", m.device));
    if let Some(data) = &m.data {
        say(format!("pictures of {data}\n"));
    }
    let mut t = table::plain();
    let rows = [
        ("step, median", number::seconds(m.median_s)),
        ("step, fastest", number::seconds(m.min_s)),
        ("step, slowest", number::seconds(m.max_s)),
        ("pictures per second", format!("{:.1}", m.images_per_s)),
        (
            "arithmetic",
            format!("{:.2} GFLOP per step, {:.0} GFLOP/s", m.flops_per_step as f64 / 1e9, m.gflop_per_s),
        ),
        ("parameters", number::grouped(m.parameters as u64)),
        ("activations", number::bytes(m.activation_bytes as u64)),
        ("scratch", number::bytes(m.scratch_bytes as u64)),
        ("peak memory of the process", m.peak_rss_bytes.map_or("not known here".into(), number::bytes)),
    ];
    for (what, value) in rows {
        t.add_row([what.to_owned(), value]);
    }
    say(table::right_aligned(t, &[1]));
    say(format!("\n{} steps after {N_WARM_UP} warm-up steps", m.steps));
}

impl Measured {
    fn infer(&self) -> bool {
        self.mode == "infer"
    }
}

/// Two tables: by method, and the longest single shapes.
fn print_profile<B: Backend>(timed: &Timed<B>, steps: usize, total: Duration) {
    let report = timed.report();
    let share = |t: Duration| format!("{:.1} %", 100.0 * t.as_secs_f64() / total.as_secs_f64());
    let per_step = |t: Duration| number::seconds(t.as_secs_f64() / steps as f64);
    let rate = |flops: u64, t: Duration| match flops {
        0 => String::new(),
        _ => format!("{:.0}", flops as f64 / t.as_secs_f64() / 1e9),
    };
    let mut by_method: Vec<(&str, usize, Duration, u64)> = vec![];
    for (call, spent) in &report {
        match by_method.iter_mut().find(|m| m.0 == call.method) {
            Some(m) => *m = (m.0, m.1 + spent.n_calls, m.2 + spent.time, m.3 + spent.work.flops),
            None => by_method.push((call.method, spent.n_calls, spent.time, spent.work.flops)),
        }
    }
    by_method.sort_by_key(|m| std::cmp::Reverse(m.2));
    let mut t = table::with_header(&["op", "calls", "per step", "share", "GFLOP/s"]);
    for (method, n, time, flops) in &by_method {
        let calls = (n / steps).to_string();
        t.add_row([method.to_string(), calls, per_step(*time), share(*time), rate(*flops, *time)]);
    }
    say(format!("\nWhere a step's time goes, by op:\n{}", table::right_aligned(t, &[1, 2, 3, 4])));

    const N_SHAPES: usize = 20;
    let mut t = table::with_header(&["op", "shape", "calls", "per step", "share", "GFLOP/s"]);
    for (call, spent) in report.iter().take(N_SHAPES) {
        let row = [
            call.method.to_owned(),
            call.shape.clone(),
            (spent.n_calls / steps).to_string(),
            per_step(spent.time),
            share(spent.time),
            rate(spent.work.flops, spent.time),
        ];
        t.add_row(row);
    }
    say(format!("\nThe longest, by shape:\n{}", table::right_aligned(t, &[2, 3, 4, 5])));
    let choices = timed.choices();
    if !choices.is_empty() {
        say(format!("\nWhat was chosen:\n{}", choices.join("\n")));
    }
}
