//! `resnet forward`: tensor in, logits out, for comparing with another framework.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ndarray::{ArrayD, Axis, Ix4, Slice};
use resnet::backend::{Job, dispatch};
use resnet_core::weights::{Entry, Metadata, Reader, Writer, few};
use resnet_core::{Backend, Executor, Graph, LowerOptions, Params};
use resnet_train::recipe::Size;

use crate::args::{DeviceArgs, NetworkArgs, Precision, WeightsArgs, label, tell};
use crate::exit::usage;

/// Run a network on a tensor from a file.
///
/// Writes its logits.
/// Inference mode: normalisation uses the running statistics of the weights file.
/// The input is taken as it is, without any scaling.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet forward --weights resnet50.safetensors --arch resnet50 --input x.safetensors --output y.safetensors
  resnet forward --weights resnet50-0676ba61.pth --input x.safetensors --output y.safetensors
  resnet forward --weights runs/run-1/model.safetensors --input x.safetensors --output y.safetensors --layout nhwc

The input file holds the tensor `input`, n×c×h×w (n×h×w×c with --layout nhwc); the output file `logits`, n×classes.
The size is the input's, the number of classes the weights file's.
--channels N makes the network read another number of channels than it was trained on.")]
pub(crate) struct ForwardArgs {
    #[command(flatten)]
    weights: WeightsArgs,

    /// Safetensors file with the tensor `input`
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// Safetensors file to write the tensor `logits` to
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// Order of the input's dimensions
    #[arg(long, value_enum, default_value_t)]
    layout: Layout,

    /// Pictures computed at a time; changes memory and speed, not the result
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,

    /// Type of the activations
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Layout {
    /// n×c×h×w, PyTorch's
    #[default]
    Nchw,
    /// n×h×w×c, TensorFlow's
    Nhwc,
}

pub(crate) fn run(mut args: ForwardArgs) -> anyhow::Result<()> {
    if args.batch == 0 {
        return Err(usage("--batch 0: at least one picture must be computed at a time"));
    }
    let input = read_input(&args.input)?;
    let (n, h, w, c) = extents(&input, args.layout);
    for (what, flag, found) in [
        ("channels", args.network.channels, c),
        ("rows", args.network.size.map(|s| s.height), h),
        ("columns", args.network.size.map(|s| s.width), w),
    ] {
        if flag.is_some_and(|wanted| wanted != found) {
            let wanted = flag.unwrap_or_default();
            let shape = input.shape();
            bail!("{}: `input` is {shape:?}, {found} {what}; the flags want {wanted}", args.input.display());
        }
    }
    let Some(weights) = args.weights.weights.clone() else {
        return Err(usage("no weights; name a file with --weights"));
    };
    args.network.size = Some(Size { height: h, width: w });

    let (file, opened) = args.weights.open(&weights, &args.network)?;
    tell(&opened.report);
    let (spec, values) = (opened.model.spec, opened.model.values);
    if spec.channels != c {
        bail!(
            "{}: conv1.weight reads {} channels, `input` of {} is {:?}, with {c}; --layout says which dimension is which, and \
             --channels {c} sums or repeats the kernels",
            file.display(),
            spec.channels,
            args.input.display(),
            input.shape()
        );
    }
    let graph = spec.build()?;
    let (output, classes) = (args.output.clone(), spec.classes);
    let logits = dispatch(args.device.choice(), Forward { graph, values, input, args })?;
    write_logits(&output, &logits, classes)?;
    eprintln!(
        "{}: {n} pictures of {c}×{h}×{w}, {classes} logits each, in {}",
        label(&spec),
        output.display()
    );
    Ok(())
}

/// The tensor `input`, with four dimensions and at least one element.
fn read_input(path: &Path) -> anyhow::Result<ArrayD<f32>> {
    let at = || path.display().to_string();
    let file = File::open(path).with_context(|| format!("{}: cannot open", path.display()))?;
    let mut reader = Reader::new(BufReader::new(file)).with_context(at)?;
    let tensors = &reader.header().tensors;
    if !tensors.contains_key("input") {
        let found = few(tensors.keys());
        bail!(
            "{}: no tensor `input`; found: {}",
            path.display(),
            if found.is_empty() { "nothing" } else { &found }
        );
    }
    let input = reader.read("input").with_context(at)?;
    if input.ndim() != 4 || input.is_empty() {
        bail!(
            "{}: `input` is {:?}; four dimensions of at least 1 wanted, pictures first",
            path.display(),
            input.shape()
        );
    }
    Ok(input)
}

/// n, h, w, c of a tensor with four dimensions.
fn extents(input: &ArrayD<f32>, layout: Layout) -> (usize, usize, usize, usize) {
    let s = input.shape();
    match layout {
        Layout::Nchw => (s[0], s[2], s[3], s[1]),
        Layout::Nhwc => (s[0], s[1], s[2], s[3]),
    }
}

struct Forward {
    graph: Graph,
    values: Vec<Vec<f32>>,
    input: ArrayD<f32>,
    args: ForwardArgs,
}

impl Job for Forward {
    /// Logits of all pictures, row by row.
    type Output = Vec<f32>;
    type Error = anyhow::Error;

    fn run<B: Backend>(self, mut backend: B) -> anyhow::Result<Vec<f32>> {
        let n = self.input.shape()[0];
        let batch = self.args.batch.min(n);
        let mut options = LowerOptions::infer(batch);
        options.dtype = self.args.precision.dtype();
        let mut params = Params::<B>::new(&mut backend, &self.graph, &self.values, None)?;
        let mut net = Executor::new(&mut backend, &self.graph, options, 0.0)?;
        let classes = self.graph.classes();
        let nhwc = match self.args.layout {
            Layout::Nchw => self.input.view().into_dimensionality::<Ix4>()?.permuted_axes([0, 2, 3, 1]),
            Layout::Nhwc => self.input.view().into_dimensionality::<Ix4>()?,
        };
        let mut logits = Vec::with_capacity(n * classes);
        let mut x = vec![0.0; batch * nhwc.len() / n];
        for first in (0..n).step_by(batch) {
            let part = nhwc.slice_axis(Axis(0), Slice::from(first..n.min(first + batch)));
            // The last batch may be short: what lies after its pictures is computed and left out.
            for (to, from) in x.iter_mut().zip(part.iter()) {
                *to = *from;
            }
            net.load_activations(&mut backend, &x)?;
            net.forward(&mut backend, &mut params)?;
            logits.extend(&net.logits(&mut backend)?[..part.shape()[0] * classes]);
        }
        Ok(logits)
    }
}

/// Writes beside the target and renames, so that a reader never sees half a file.
fn write_logits(path: &Path, logits: &[f32], classes: usize) -> anyhow::Result<()> {
    let cannot = || format!("{}: cannot write", path.display());
    let mut name = path.file_name().with_context(cannot)?.to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let file = File::create(&partial).with_context(cannot)?;
    let entries = vec![Entry::f32("logits", &[logits.len() / classes, classes])];
    let written = (|| {
        let mut writer = Writer::new(BufWriter::new(file), entries, &Metadata::new())?;
        writer.write_f32("logits", logits)?;
        writer.finish()?.flush()?;
        std::fs::rename(&partial, path)?;
        anyhow::Ok(())
    })();
    if written.is_err() {
        drop(std::fs::remove_file(&partial)); // the first error is the one to report
    }
    written.with_context(cannot)
}
