//! safetensors with the names of torchvision or timm.
//!
//! The file is refused where the library's network would give other results. Two differences are worked into the numbers
//! instead, exactly but for rounding: a bias before a normalisation goes into its mean, and another epsilon into its variance.

use std::fmt;
use std::io::Write;

use resnet_core::graph::Layer;
use resnet_core::weights::{Entry, Metadata, Writer, describe};
use resnet_core::zoo::{Block, Conventions, PaddingStyle, ResNetSpec, Shortcut, Stem, Variant};
use resnet_core::{Graph, ParamKind};

use crate::dialect::timm_v2;
use crate::{Error, Result};

/// Epsilon of PyTorch's normalisations.
const EPS: f32 = 1e-5;

/// A library that shall load the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `torchvision.models`: v1.5 networks.
    Torchvision,
    /// timm: `resnet*` for v1.5 networks, `resnetv2_*` for v2.
    Timm,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Library {
    fn name(self) -> &'static str {
        match self {
            Library::Torchvision => "torchvision",
            Library::Timm => "timm",
        }
    }

    /// Whether the library has networks like this one, which give the same results.
    ///
    /// # Errors
    /// [`Error::Inexpressible`] naming the first part that it does not have.
    pub fn check(self, spec: &ResNetSpec) -> Result<()> {
        let refuse = |why: &str| Err(Error::Inexpressible { target: self.name(), why: why.to_owned() });
        let c = &spec.conventions;
        match (self, spec.variant) {
            (_, Variant::V1_5) | (Library::Timm, Variant::V2) => {}
            (_, Variant::V1) if spec.block == Block::Basic => {} // without a first 1×1, v1 and v1.5 are the same
            (_, Variant::V1) => {
                return refuse("its bottlenecks have the stride on the first 1×1 (v1), not on the 3×3");
            }
            (_, Variant::Plain) => return refuse("it has no shortcuts"),
            (Library::Torchvision, Variant::V2) => return refuse("it is a pre-activation network (v2)"),
        }
        let v2 = spec.variant == Variant::V2;
        match (self, spec.stem) {
            (_, Stem::Imagenet) | (Library::Timm, Stem::Deep | Stem::Tiered) => {}
            _ => return refuse("its stem is another"),
        }
        match (self, spec.shortcut) {
            // timm's pre-activation networks have a deep stem and pooled shortcuts, or neither.
            (Library::Timm, shortcut)
                if v2 && (shortcut == Shortcut::Pooled) != (spec.stem != Stem::Imagenet) =>
            {
                return refuse("it has only one of a deep stem and pooled shortcuts");
            }
            (_, Shortcut::Projection) | (Library::Timm, Shortcut::Pooled) => {}
            (Library::Timm, Shortcut::BareProjection) if v2 => {}
            _ => return refuse("its shortcuts are neither projections with a normalisation nor pooled ones"),
        }
        if c.padding != PaddingStyle::Symmetric {
            return refuse("it pads as TensorFlow's \"same\"");
        }
        if v2 && (c.v2_stride_first || c.v2_stride_last_block) {
            return refuse("its strides are in another place");
        }
        if v2 && c.stem_pool_zeros {
            return refuse("its max-pool sees zeros outside the image");
        }
        if v2 && c.conv_bias {
            return refuse("its convolutions have biases that no normalisation follows");
        }
        Ok(())
    }
}

/// Writes a network for a library. `values` are in the order of [`Graph::params`]. Returns what `out` is after the last byte.
///
/// `metadata` travels along, but for what describes the network: that is said of the network as written.
///
/// # Errors
/// As [`Library::check`]; [`Error::Core`] if values and network do not fit or writing fails.
pub fn write_library<W: Write>(
    out: W,
    spec: &ResNetSpec,
    values: &[Vec<f32>],
    library: Library,
    metadata: &Metadata,
) -> Result<W> {
    library.check(spec)?;
    let values = standard_norms(&spec.build()?, values)?;
    let conventions = Conventions { conv_bias: false, norm_eps: EPS, ..spec.conventions };
    let written = ResNetSpec { conventions, ..spec.clone() };
    let graph = written.build()?;
    let mut metadata = metadata.clone();
    metadata.extend(describe(&written));

    let mut counters = vec![];
    let mut tensors = vec![];
    for (param, values) in graph.params().iter().zip(&values) {
        let (name, as_kernel) = match spec.variant {
            Variant::V2 => timm_v2::name_of(&param.name).ok_or_else(|| Error::Inexpressible {
                target: library.name(),
                why: format!("`{}` has no counterpart", param.name),
            })?,
            _ => (param.name.clone(), false),
        };
        if let (ParamKind::RunningVar, Some(layer)) = (param.kind, name.strip_suffix(".running_var")) {
            counters.push(format!("{layer}.num_batches_tracked"));
        }
        let mut shape = param.shape.clone();
        if as_kernel {
            shape.extend([1, 1]);
        }
        tensors.push((Entry::f32(name, &shape), values));
    }
    // The counters come first, which keeps them aligned.
    let mut entries: Vec<Entry> = counters.iter().map(|name| Entry::i64(name, &[])).collect();
    entries.extend(tensors.iter().map(|(entry, _)| entry.clone()));
    let mut writer = Writer::new(out, entries, &metadata)?;
    for name in &counters {
        writer.write_i64(name, &[0])?;
    }
    for (entry, values) in tensors {
        writer.write_f32(&entry.name, values)?;
    }
    Ok(writer.finish()?)
}

/// The values of a network without biases before its normalisations, all of which have PyTorch's epsilon.
fn standard_norms(graph: &Graph, values: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
    if values.len() != graph.params().len() {
        return Err(resnet_core::Error::Mismatch {
            tensor: "parameters".into(),
            found: format!("{} tensors", values.len()),
            wanted: graph.params().len().to_string(),
        }
        .into());
    }
    let mut values = values.to_vec();
    let mut dropped = vec![];
    for node in graph.nodes() {
        let Layer::Norm(norm) = node.layer else { continue };
        let (mean, var) = (node.params[2].0, node.params[3].0);
        let input = graph.node(node.inputs[0]);
        if let (Layer::Conv(_), Some(bias)) = (input.layer, input.params.get(1)) {
            let bias = values[bias.0].clone();
            values[mean].iter_mut().zip(bias).for_each(|(m, b)| *m -= b);
            dropped.push(input.params[1].0);
        }
        let more = f64::from(norm.eps) - f64::from(EPS);
        values[var].iter_mut().for_each(|v| *v = (f64::from(*v) + more) as f32);
    }
    let kept = values.into_iter().enumerate().filter(|(i, _)| !dropped.contains(i));
    Ok(kept.map(|(_, v)| v).collect())
}
