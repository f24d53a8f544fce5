//! Small networks: ResNets of every variant, and graphs that nobody would design.

use proptest::prelude::*;
use resnet_core::graph::{ConvLayer, NormLayer, PoolLayer};
use resnet_core::init::Init;
use resnet_core::op::{PadValue, Padding};
use resnet_core::zoo::{Block, Conventions, PaddingStyle, ResNetSpec, Shortcut, Stem, Variant, Width};
use resnet_core::{Graph, GraphBuilder, NodeId, ParamKind, Result};

use crate::data::Data;

/// A ResNet of two stages with few channels.
pub fn tiny(variant: Variant, block: Block, shortcut: Shortcut) -> ResNetSpec {
    let out = |middle: usize| match block {
        Block::Basic => middle,
        Block::Bottleneck => 2 * middle,
    };
    ResNetSpec {
        arch: format!("tiny {variant} {block:?} {shortcut:?}"),
        variant,
        block,
        depths: vec![1, 2],
        widths: [4, 6].map(|middle| Width { middle, out: out(middle) }).to_vec(),
        groups: if block == Block::Bottleneck { 2 } else { 1 },
        stem: Stem::Small,
        stem_width: 4,
        shortcut,
        conventions: Conventions::default(),
        channels: 2,
        height: 8,
        width: 7,
        classes: 5,
    }
}

/// Small ResNets along all axes of the zoo.
pub fn resnet() -> impl Strategy<Value = ResNetSpec> {
    let variant = prop::sample::select(Variant::ALL.to_vec());
    let block = prop_oneof![Just(Block::Basic), Just(Block::Bottleneck)];
    let shortcut = prop::sample::select(vec![
        Shortcut::Projection,
        Shortcut::BareProjection,
        Shortcut::ZeroPad,
        Shortcut::Pooled,
    ]);
    let stem = prop_oneof![Just(Stem::Small), Just(Stem::Imagenet), Just(Stem::Deep), Just(Stem::Tiered)];
    let flags = any::<[bool; 6]>();
    (variant, block, shortcut, stem, prop::collection::vec(1..=2usize, 1..=3), 7..=11usize, flags).prop_map(
        |(variant, block, shortcut, stem, depths, size, flags)| {
            let [same, conv_bias, bias_before_norm, stem_pool_zeros, v2_stride_first, v2_stride_last_block] =
                flags;
            let mut spec = tiny(variant, block, shortcut);
            spec.widths.push(Width { middle: 8, out: spec.widths[1].out + 2 });
            spec.widths.truncate(depths.len());
            spec.depths = depths;
            spec.stem = stem;
            (spec.height, spec.width) = (size, size + 1);
            spec.conventions = Conventions {
                padding: if same { PaddingStyle::Same } else { PaddingStyle::Symmetric },
                conv_bias,
                bias_before_norm,
                stem_pool_zeros,
                v2_stride_first,
                v2_stride_last_block,
                ..Conventions::default()
            };
            spec
        },
    )
}

/// One more layer on a graph that grows: what, on which node, and two choices.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    kind: u8,
    on: usize,
    a: usize,
    b: usize,
}

/// A graph that grew at random: branches that part anywhere and meet anywhere, normalisations of sums, sums of a node with itself.
#[derive(Clone, Debug)]
pub struct Grown {
    size: (usize, usize, usize),
    layers: Vec<Growth>,
}

/// Graphs that nobody would design.
pub fn grown() -> impl Strategy<Value = Grown> {
    let layer =
        (0..16u8, 0..64usize, 0..64usize, 0..64usize).prop_map(|(kind, on, a, b)| Growth { kind, on, a, b });
    ((1..=3usize, 3..=7usize, 3..=7usize), prop::collection::vec(layer, 1..=14))
        .prop_map(|(size, layers)| Grown { size, layers })
}

impl Grown {
    /// The graph. A layer that does not fit its node is left out; whatever nobody reads is classified, and the logits are added.
    ///
    /// # Errors
    /// Whatever the builder refuses for another reason.
    pub fn build(&self) -> Result<Graph> {
        let (mut graph, input) = GraphBuilder::new(self.size.0, self.size.1, self.size.2)?;
        let mut nodes = vec![input];
        let mut read = vec![false];
        for (i, layer) in self.layers.iter().enumerate() {
            // Half of the layers grow on the newest node, the rest anywhere.
            let on = if layer.on % 2 == 0 { nodes.len() - 1 } else { layer.on / 2 % nodes.len() };
            let mut inputs = vec![on];
            if layer.kind >= 13 {
                let shape = graph.shape(nodes[on]);
                let alike: Vec<usize> =
                    (0..nodes.len()).filter(|&n| graph.shape(nodes[n]) == shape).collect();
                inputs.push(alike[layer.a % alike.len()]);
            }
            let on: Vec<NodeId> = inputs.iter().map(|&n| nodes[n]).collect();
            if let Ok(node) = grow(&mut graph, &format!("layer{i}"), *layer, &on) {
                inputs.into_iter().for_each(|n| read[n] = true);
                nodes.push(node);
                read.push(false);
            }
        }
        let mut logits = None;
        for n in (0..nodes.len()).filter(|&n| !read[n]) {
            let pooled = graph.global_avg_pool(&format!("pool{n}"), nodes[n])?;
            let zero = Init::Value(0.0);
            let head = graph.linear(&format!("head{n}"), pooled, 3, zero, Some(zero))?;
            logits = Some(match logits {
                None => head,
                Some(sum) => graph.add(&format!("sum{n}"), sum, head)?,
            });
        }
        graph.finish(logits.unwrap_or(input))
    }
}

fn grow(graph: &mut GraphBuilder, name: &str, layer: Growth, on: &[NodeId]) -> Result<NodeId> {
    let (x, a, b) = (on[0], layer.a, layer.b);
    let c = graph.shape(x).c;
    let zero = Init::Value(0.0);
    let conv = |kernel: usize, pad: usize, groups: usize, out: usize| ConvLayer {
        out,
        kernel: (kernel, kernel),
        stride: 1 + a % 2,
        padding: Padding::all(pad),
        groups,
        init: zero,
        bias: (b % 2 == 0).then_some(zero),
    };
    let pool = |window: usize, padding: usize| PoolLayer {
        window: (window, window),
        stride: 1 + a % 2,
        padding: Padding::all(padding),
    };
    let pad_value = if b % 2 == 0 { PadValue::NegInf } else { PadValue::Zero };
    match layer.kind {
        0..=1 => graph.conv(name, x, conv(3, 1, 1, 1 + b % 5)),
        2 => graph.conv(name, x, conv(1, 0, 1, 1 + b % 5)),
        3 => graph.conv(name, x, conv(3, 1, c, c)),
        4..=6 => {
            let norm = NormLayer { eps: 1e-3, momentum: 0.1, unbiased: b % 2 == 0, gamma: 1.0 };
            graph.norm(name, x, norm)
        }
        7..=9 => graph.relu(name, x),
        10 => graph.max_pool(name, x, pool(2 + b % 2, b % 2), pad_value),
        11 => graph.avg_pool(name, x, pool(2 + b % 2, b % 2)),
        12 => graph.subsample(name, x, 1 + a % 2, c + b % 3, b % 2),
        _ => graph.add(name, x, on[1]),
    }
}

/// Parameter values in file order: normalisations away from the identity, biases away from zero, weights that keep the scale.
pub fn values(graph: &Graph, data: &mut Data) -> Vec<Vec<f32>> {
    let fill = |(spec, data): (&resnet_core::ParamSpec, &mut Data)| match spec.kind {
        ParamKind::Constant => spec.init.fill(&spec.shape, 0, 0),
        ParamKind::Gamma | ParamKind::RunningVar => data.range(spec.len(), 0.5, 1.5),
        ParamKind::Beta | ParamKind::Bias | ParamKind::RunningMean => data.range(spec.len(), -0.5, 0.5),
        ParamKind::ConvWeight | ParamKind::LinearWeight => {
            let fan_in: usize = spec.shape.iter().skip(1).product();
            let bound = (6.0 / fan_in as f32).sqrt();
            data.range(spec.len(), -bound, bound)
        }
    };
    graph.params().iter().map(|spec| fill((spec, data))).collect()
}
