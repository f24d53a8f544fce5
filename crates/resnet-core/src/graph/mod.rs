//! A network as a list of primitive layers in the order they are computed.
//!
//! A [`Graph`] is plain data: no batch size, no device, no weights. [`GraphBuilder`] checks shapes as it goes, so a graph
//! that exists is valid. What is fused, what lies in memory and in which order gradients flow is decided later, by
//! [`lower`](crate::lower()).

mod fold;
mod layer;
mod show;

pub use fold::fold;
pub use layer::{ConvLayer, Layer, NormLayer, PoolLayer, Shape};
pub use show::{LayerSummary, Summary};

use crate::init::Init;
use crate::op::{PadValue, Padding};
use crate::{Error, ParamKind, Result, TensorDesc};

/// A node of a [`Graph`], by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A parameter of a [`Graph`], by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// One layer, its inputs and its output's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Path in the model, as PyTorch names modules: `layer1.0.conv1`.
    pub name: String,
    /// What it does.
    pub layer: Layer,
    /// What it reads, always earlier nodes.
    pub inputs: Vec<NodeId>,
    /// Shape of its output for one picture.
    pub shape: Shape,
    /// Its parameters: weight and bias; or gamma, beta, running mean and running variance.
    pub params: Vec<ParamId>,
}

/// Name, shape and role of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Path in the model: `layer1.0.conv1.weight`.
    pub name: String,
    /// Extents in weight files: `[k, c/groups, r, s]`, `[k, c]` or `[c]`.
    pub shape: Vec<usize>,
    /// What it is for.
    pub kind: ParamKind,
    /// How it starts.
    pub init: Init,
}

impl ParamSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element. A valid parameter never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor a backend holds it in.
    pub fn desc(&self) -> TensorDesc {
        match self.shape[..] {
            [k, c, r, s] => TensorDesc::weight(k, r, s, c),
            [k, c] => TensorDesc::weight(k, 1, 1, c),
            _ => TensorDesc::table(1, self.len()),
        }
    }
}

/// A network: layers in the order of computation.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    params: Vec<ParamSpec>,
    output: NodeId,
}

impl Graph {
    /// All nodes; inputs of a node come before it.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
    /// All parameters, in the order of the layers.
    pub fn params(&self) -> &[ParamSpec] {
        &self.params
    }
    /// One parameter.
    pub fn param(&self, id: ParamId) -> &ParamSpec {
        &self.params[id.0]
    }
    /// The node whose value is the result: the logits.
    pub fn output(&self) -> NodeId {
        self.output
    }
    /// Shape of the picture.
    pub fn input_shape(&self) -> Shape {
        self.nodes[0].shape
    }
    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.node(self.output).shape.c
    }
    /// How many nodes read each node, the result counting as one reader more.
    pub fn n_readers(&self) -> Vec<usize> {
        let mut n = vec![0; self.nodes.len()];
        n[self.output.0] += 1;
        for node in &self.nodes {
            for input in &node.inputs {
                n[input.0] += 1;
            }
        }
        n
    }
    /// Elements of all parameters that are trained.
    pub fn trainable_params(&self) -> usize {
        self.params.iter().filter(|p| p.kind.is_trainable()).map(ParamSpec::len).sum()
    }
    /// Elements of the running statistics.
    pub fn state_params(&self) -> usize {
        self.params
            .iter()
            .filter(|p| matches!(p.kind, ParamKind::RunningMean | ParamKind::RunningVar))
            .map(ParamSpec::len)
            .sum()
    }
    /// Multiply-accumulates of one node for one picture, padded taps counted; zero for layers without weights.
    pub fn node_macs(&self, id: NodeId) -> u64 {
        let node = self.node(id);
        let (Layer::Conv(_) | Layer::Linear { .. }) = node.layer else { return 0 };
        let weight = self.param(node.params[0]);
        weight.len() as u64 * (node.shape.h * node.shape.w) as u64
    }
    /// Multiply-accumulates of a forward pass for one picture.
    pub fn macs(&self) -> u64 {
        (0..self.nodes.len()).map(|i| self.node_macs(NodeId(i))).sum()
    }
}

/// Builds a [`Graph`] layer by layer, checking every shape.
#[derive(Debug)]
pub struct GraphBuilder {
    nodes: Vec<Node>,
    params: Vec<ParamSpec>,
}

impl GraphBuilder {
    /// Starts with a picture of `channels × height × width`; returns its node.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an extent is zero.
    pub fn new(channels: usize, height: usize, width: usize) -> Result<(Self, NodeId)> {
        if channels == 0 || height == 0 || width == 0 {
            return Err(Error::invalid(
                "input",
                format!("{channels} channels of {height}×{width} pixels: all must be at least 1"),
            ));
        }
        let input = Node {
            name: "input".into(),
            layer: Layer::Input,
            inputs: vec![],
            shape: Shape { c: channels, h: height, w: width },
            params: vec![],
        };
        Ok((Self { nodes: vec![input], params: vec![] }, NodeId(0)))
    }

    /// Shape of a node built so far.
    pub fn shape(&self, id: NodeId) -> Shape {
        self.nodes[id.0].shape
    }

    /// Adds any layer with its parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the layer if its inputs do not fit it, or if the name is taken.
    pub fn push(&mut self, name: &str, layer: Layer, inputs: &[NodeId]) -> Result<NodeId> {
        if self.nodes.iter().any(|n| n.name == name) {
            return Err(Error::invalid(name, "this name is taken by an earlier layer"));
        }
        if let Some(bad) = inputs.iter().find(|i| i.0 >= self.nodes.len()) {
            return Err(Error::invalid(name, format!("input {bad:?} does not exist yet")));
        }
        let shapes: Vec<Shape> = inputs.iter().map(|i| self.shape(*i)).collect();
        let shape = layer.output(name, &shapes)?;
        let mut params = vec![];
        let mut param = |suffix: &str, shape: Vec<usize>, kind: ParamKind, init: Init| {
            params.push(ParamId(self.params.len()));
            self.params.push(ParamSpec { name: format!("{name}.{suffix}"), shape, kind, init });
        };
        match layer {
            Layer::Conv(l) => {
                let (r, s) = l.kernel;
                param("weight", vec![l.out, shapes[0].c / l.groups, r, s], ParamKind::ConvWeight, l.init);
                if let Some(init) = l.bias {
                    param("bias", vec![l.out], ParamKind::Bias, init);
                }
            }
            Layer::Linear { out, init, bias } => {
                param("weight", vec![out, shapes[0].c], ParamKind::LinearWeight, init);
                if let Some(init) = bias {
                    param("bias", vec![out], ParamKind::Bias, init);
                }
            }
            Layer::Norm(l) => {
                param("weight", vec![shape.c], ParamKind::Gamma, Init::Value(l.gamma));
                param("bias", vec![shape.c], ParamKind::Beta, Init::Value(0.0));
                param("running_mean", vec![shape.c], ParamKind::RunningMean, Init::Value(0.0));
                param("running_var", vec![shape.c], ParamKind::RunningVar, Init::Value(1.0));
            }
            Layer::Subsample { out, front, .. } => {
                let shape = vec![out, shapes[0].c, 1, 1];
                param("kernel", shape, ParamKind::Constant, Init::ShiftedIdentity { front });
            }
            _ => {}
        }
        self.nodes.push(Node { name: name.into(), layer, inputs: inputs.to_vec(), shape, params });
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// Adds a convolution.
    ///
    /// # Errors
    /// As [`GraphBuilder::push`], here and below.
    pub fn conv(&mut self, name: &str, x: NodeId, layer: ConvLayer) -> Result<NodeId> {
        self.push(name, Layer::Conv(layer), &[x])
    }

    /// Adds a batch normalisation.
    pub fn norm(&mut self, name: &str, x: NodeId, layer: NormLayer) -> Result<NodeId> {
        self.push(name, Layer::Norm(layer), &[x])
    }

    /// Adds a ReLU.
    pub fn relu(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        self.push(name, Layer::Relu, &[x])
    }

    /// Adds the sum of a branch and its shortcut.
    pub fn add(&mut self, name: &str, branch: NodeId, shortcut: NodeId) -> Result<NodeId> {
        self.push(name, Layer::Add, &[branch, shortcut])
    }

    /// Adds a max-pool.
    pub fn max_pool(&mut self, name: &str, x: NodeId, layer: PoolLayer, pad: PadValue) -> Result<NodeId> {
        self.push(name, Layer::MaxPool(layer, pad), &[x])
    }

    /// Adds an average pool.
    pub fn avg_pool(&mut self, name: &str, x: NodeId, layer: PoolLayer) -> Result<NodeId> {
        self.push(name, Layer::AvgPool(layer), &[x])
    }

    /// Adds the mean over the image.
    pub fn global_avg_pool(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        self.push(name, Layer::GlobalAvgPool, &[x])
    }

    /// Adds a fully connected layer.
    pub fn linear(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        init: Init,
        bias: Option<Init>,
    ) -> Result<NodeId> {
        self.push(name, Layer::Linear { out, init, bias }, &[x])
    }

    /// Adds a parameter-free shortcut.
    pub fn subsample(
        &mut self,
        name: &str,
        x: NodeId,
        stride: usize,
        out: usize,
        front: usize,
    ) -> Result<NodeId> {
        self.push(name, Layer::Subsample { stride, out, front }, &[x])
    }

    /// Padding of a window over a node, the same on all sides or as TensorFlow's "same".
    pub fn padding(
        &self,
        x: NodeId,
        window: (usize, usize),
        stride: usize,
        same: bool,
        symmetric: usize,
    ) -> Padding {
        let shape = self.shape(x);
        if same { Padding::same(shape.h, shape.w, window, stride) } else { Padding::all(symmetric) }
    }

    /// Ends the graph with the node whose value is the result.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a node is read by nobody and is not the result: dead layers are mistakes.
    pub fn finish(self, output: NodeId) -> Result<Graph> {
        let graph = Graph { nodes: self.nodes, params: self.params, output };
        if let Some((i, _)) = graph.n_readers().iter().enumerate().find(|(_, n)| **n == 0) {
            return Err(Error::invalid(&graph.nodes[i].name, "nothing reads this layer"));
        }
        Ok(graph)
    }
}
