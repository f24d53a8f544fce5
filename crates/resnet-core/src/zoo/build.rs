//! From a spec to a graph: stem, stages, head.

use super::{Block, Conventions, InitScheme, PaddingStyle, ResNetSpec, Variant, basic, bottleneck, stem};
use crate::graph::{ConvLayer, NormLayer, PoolLayer, Summary};
use crate::init::Init;
use crate::op::{PadValue, Padding};
use crate::{Error, Graph, GraphBuilder, NodeId, Result};

/// One residual block to be built.
pub(super) struct Unit {
    /// Channels between its convolutions.
    pub(super) middle: usize,
    /// Channels of its output.
    pub(super) out: usize,
    /// 2 in the first block of every stage but the first, or as [`Conventions::v2_stride_last_block`] says.
    pub(super) stride: usize,
}

impl ResNetSpec {
    /// Builds the network.
    ///
    /// Layers are named as torchvision names them; a v2 net ends its stages with a normalisation called `norm`.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the axis or the layer, what was found and what was wanted.
    pub fn build(&self) -> Result<Graph> {
        self.validate()?;
        let (graph, picture) = GraphBuilder::new(self.channels, self.height, self.width)?;
        let mut net = Net { spec: self, graph, scope: String::new() };

        let mut x = stem::stem(&mut net, picture)?;
        for (s, (depth, width)) in self.depths.iter().zip(&self.widths).enumerate() {
            for b in 0..*depth {
                net.scope = format!("layer{}.{b}.", s + 1);
                let unit = Unit { middle: width.middle, out: width.out, stride: self.stride(s, b) };
                x = match (self.block, self.variant) {
                    (Block::Basic, Variant::V2) => basic::pre_activation(&mut net, x, &unit)?,
                    (Block::Basic, _) => basic::post_activation(&mut net, x, &unit)?,
                    (Block::Bottleneck, Variant::V2) => bottleneck::pre_activation(&mut net, x, &unit)?,
                    (Block::Bottleneck, _) => bottleneck::post_activation(&mut net, x, &unit)?,
                };
            }
        }
        net.scope.clear();

        if self.variant == Variant::V2 {
            x = net.norm("norm", x)?;
            x = net.relu("relu", x)?;
        }
        x = net.graph.global_avg_pool("avgpool", x)?;
        x = net.linear("fc", x, self.classes)?;
        let graph = net.graph.finish(x)?;
        refuse_uncountable(&self.arch, &graph)?;
        Ok(graph)
    }
}

impl ResNetSpec {
    /// Builds the network and describes it, counting parameters as its dialect does
    /// ([`Conventions::count_statistics`]).
    ///
    /// # Errors
    /// As [`ResNetSpec::build`].
    pub fn summary(&self) -> Result<Summary> {
        Ok(Summary::of(&self.build()?, Some(self.arch.clone()), self.conventions.count_statistics))
    }
}

/// Extents are bounded one by one, their products over a whole network are not.
fn refuse_uncountable(arch: &str, graph: &Graph) -> Result<()> {
    let macs = |node: &crate::graph::Node| match node.params.first() {
        Some(weight) => graph.param(*weight).len() as u128 * (node.shape.h * node.shape.w) as u128,
        None => 0,
    };
    let total: u128 = graph.nodes().iter().map(macs).sum();
    if total > u128::from(u64::MAX) {
        return Err(Error::invalid(
            arch,
            format!("{total} multiply-accumulates for one picture cannot be counted"),
        ));
    }
    Ok(())
}

/// The graph under construction, with the spec's conventions applied to every layer.
pub(super) struct Net<'a> {
    pub(super) spec: &'a ResNetSpec,
    pub(super) graph: GraphBuilder,
    /// Prefix of the names of layers: `layer1.0.`.
    pub(super) scope: String,
}

impl Net<'_> {
    fn conventions(&self) -> &Conventions {
        &self.spec.conventions
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.scope)
    }

    /// Padding that keeps the image at stride 1: half the window, or what "same" asks for.
    fn padding(&self, x: NodeId, window: usize, stride: usize) -> Padding {
        let same = self.conventions().padding == PaddingStyle::Same;
        self.graph.padding(x, (window, window), stride, same, window / 2)
    }

    /// A `k × k` convolution that a normalisation follows.
    pub(super) fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        k: usize,
        out: usize,
        stride: usize,
    ) -> Result<NodeId> {
        self.grouped_conv(name, x, k, out, stride, 1)
    }

    /// A `k × k` convolution in groups that a normalisation follows.
    pub(super) fn grouped_conv(
        &mut self,
        name: &str,
        x: NodeId,
        k: usize,
        out: usize,
        stride: usize,
        groups: usize,
    ) -> Result<NodeId> {
        let c = self.conventions();
        let bias = c.conv_bias && c.bias_before_norm;
        self.conv_with(name, x, k, out, stride, groups, self.kernel_init(), bias)
    }

    /// A `k × k` convolution that no normalisation follows.
    pub(super) fn bare_conv(
        &mut self,
        name: &str,
        x: NodeId,
        k: usize,
        out: usize,
        stride: usize,
    ) -> Result<NodeId> {
        let bias = self.conventions().conv_bias;
        self.conv_with(name, x, k, out, stride, 1, self.kernel_init(), bias)
    }

    /// The last convolution of a pre-activation branch, which may start at zero.
    pub(super) fn last_conv(&mut self, name: &str, x: NodeId, k: usize, out: usize) -> Result<NodeId> {
        if self.conventions().zero_init_residual {
            let bias = self.conventions().conv_bias;
            return self.conv_with(name, x, k, out, 1, 1, Init::Value(0.0), bias);
        }
        self.bare_conv(name, x, k, out, 1)
    }

    fn kernel_init(&self) -> Init {
        match self.conventions().init {
            InitScheme::Torchvision => Init::KaimingNormalFanOut,
            InitScheme::Pytorch => Init::UniformFanIn,
            InitScheme::Keras => Init::GlorotUniform,
            InitScheme::Paddle => Init::KaimingNormalFanIn,
        }
    }

    fn conv_with(
        &mut self,
        name: &str,
        x: NodeId,
        k: usize,
        out: usize,
        stride: usize,
        groups: usize,
        init: Init,
        bias: bool,
    ) -> Result<NodeId> {
        let fan_in = (self.graph.shape(x).c / groups).max(1) * k * k;
        let layer = ConvLayer {
            out,
            kernel: (k, k),
            stride,
            padding: self.padding(x, k, stride),
            groups,
            init,
            bias: bias.then(|| self.bias_init(fan_in)),
        };
        self.graph.conv(&self.path(name), x, layer)
    }

    /// A normalisation with γ = 1.
    pub(super) fn norm(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        self.norm_with(name, x, 1.0)
    }

    /// The last normalisation of a post-activation branch, which may start at zero.
    pub(super) fn last_norm(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        self.norm_with(name, x, if self.conventions().zero_init_residual { 0.0 } else { 1.0 })
    }

    fn norm_with(&mut self, name: &str, x: NodeId, gamma: f32) -> Result<NodeId> {
        let c = self.conventions();
        let layer =
            NormLayer { eps: c.norm_eps, momentum: c.norm_momentum, unbiased: c.unbiased_running_var, gamma };
        self.graph.norm(&self.path(name), x, layer)
    }

    /// `max(0, x)`.
    pub(super) fn relu(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        self.graph.relu(&self.path(name), x)
    }

    /// The sum of a branch and its shortcut.
    pub(super) fn add(&mut self, branch: NodeId, shortcut: NodeId) -> Result<NodeId> {
        self.graph.add(&self.path("add"), branch, shortcut)
    }

    /// The stem's 3×3 max-pool with stride 2.
    pub(super) fn stem_pool(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let layer = PoolLayer { window: (3, 3), stride: 2, padding: self.padding(x, 3, 2) };
        let outside = if self.conventions().stem_pool_zeros { PadValue::Zero } else { PadValue::NegInf };
        self.graph.max_pool(&self.path(name), x, layer, outside)
    }

    /// Every `stride`-th pixel.
    pub(super) fn skip_pixels(&mut self, name: &str, x: NodeId, stride: usize) -> Result<NodeId> {
        let layer = PoolLayer { window: (1, 1), stride, padding: Padding::default() };
        self.graph.max_pool(&self.path(name), x, layer, PadValue::NegInf)
    }

    /// Average pool of `stride × stride` windows; an odd row or column at the end makes a smaller window.
    pub(super) fn halve(&mut self, name: &str, x: NodeId, stride: usize) -> Result<NodeId> {
        let window = (stride, stride);
        let padding = self.graph.padding(x, window, stride, true, 0);
        self.graph.avg_pool(&self.path(name), x, PoolLayer { window, stride, padding })
    }

    /// Every `stride`-th pixel, and zero channels up to `out`, half of them before the old ones.
    pub(super) fn zero_pad(&mut self, name: &str, x: NodeId, stride: usize, out: usize) -> Result<NodeId> {
        let c = self.graph.shape(x).c;
        let name = self.path(name);
        let Some(new) = out.checked_sub(c) else {
            return Err(Error::invalid(
                name,
                format!("a zero-padded shortcut cannot go from {c} channels to {out}"),
            ));
        };
        self.graph.subsample(&name, x, stride, out, new / 2)
    }

    fn linear(&mut self, name: &str, x: NodeId, out: usize) -> Result<NodeId> {
        let init = match self.conventions().init {
            InitScheme::Torchvision | InitScheme::Pytorch => Init::UniformFanIn,
            InitScheme::Keras | InitScheme::Paddle => Init::GlorotUniform,
        };
        let bias = self.bias_init(self.graph.shape(x).c);
        self.graph.linear(name, x, out, init, Some(bias))
    }

    fn bias_init(&self, fan_in: usize) -> Init {
        match self.conventions().init {
            InitScheme::Torchvision | InitScheme::Pytorch => {
                Init::Uniform { bound: 1.0 / (fan_in as f32).sqrt() }
            }
            InitScheme::Keras | InitScheme::Paddle => Init::Value(0.0),
        }
    }
}
