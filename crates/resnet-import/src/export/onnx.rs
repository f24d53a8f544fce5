//! ONNX: one operator per layer, opset 17, batch size left open.
//!
//! Field numbers are those of `onnx.proto`. Source: the ONNX specification, *Open Neural Network Exchange Intermediate
//! Representation* and *Operators*.

use std::collections::BTreeMap;
use std::io::Write;

use resnet_core::graph::{ConvLayer, Layer, Node, PoolLayer, Shape, fold};
use resnet_core::op::{PadValue, Padding};
use resnet_core::{Graph, NodeId};

use super::protobuf::Message;
use crate::{Error, Result};

const OPSET: i64 = 17;
/// Version of the file format that came with this opset.
const IR_VERSION: i64 = 8;
/// Element types.
const FLOAT: i64 = 1;
const INT64: i64 = 7;
/// A protocol buffer cannot be longer.
const MAX_BYTES: usize = (1 << 31) - 1;

/// How a network is written as ONNX.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OnnxOptions {
    /// Fold normalisations into the convolutions before them.
    pub fold_norms: bool,
    /// Free text that travels with the model, such as pre-processing and class names.
    pub metadata: BTreeMap<String, String>,
}

/// Writes a network: input `input` of `N × c × h × w`, output `logits` of `N × classes`. `values` are in the order of
/// [`Graph::params`], each in file order.
///
/// # Errors
/// [`Error::Core`] if values and network do not fit; [`Error::Inexpressible`] if the file would be longer than a protocol
/// buffer may be; [`Error::File`] if writing fails.
pub fn write_onnx(
    mut out: impl Write,
    graph: &Graph,
    values: &[Vec<f32>],
    options: &OnnxOptions,
) -> Result<()> {
    check(graph, values)?;
    let folded = if options.fold_norms { Some(fold(graph, values)?) } else { None };
    let (graph, values) = folded.as_ref().map_or((graph, values), |(g, v)| (g, v.as_slice()));
    let bytes = 4 * values.iter().map(Vec::len).sum::<usize>();
    if bytes > MAX_BYTES - (64 << 20) {
        return Err(Error::Inexpressible {
            target: "ONNX",
            why: format!("{bytes} bytes of weights; less than 2 GiB fit one file"),
        });
    }
    let model = model(graph, values, options).finish();
    out.write_all(&model)
        .and_then(|()| out.flush())
        .map_err(|e| Error::File { path: "(ONNX)".into(), why: format!("cannot write: {e}") })
}

fn check(graph: &Graph, values: &[Vec<f32>]) -> Result<()> {
    let mismatch = |tensor: &str, found: usize, wanted: usize| resnet_core::Error::Mismatch {
        tensor: tensor.into(),
        found: found.to_string(),
        wanted: wanted.to_string(),
    };
    if values.len() != graph.params().len() {
        return Err(mismatch("number of parameters", values.len(), graph.params().len()).into());
    }
    for (param, v) in graph.params().iter().zip(values) {
        if param.len() != v.len() {
            return Err(mismatch(&param.name, v.len(), param.len()).into());
        }
    }
    Ok(())
}

fn model(graph: &Graph, values: &[Vec<f32>], options: &OnnxOptions) -> Message {
    let mut body = Message::default().text(2, "resnet");
    for (i, node) in graph.nodes().iter().enumerate().skip(1) {
        for operator in operators(graph, node, &name(graph, NodeId(i))) {
            body = body.message(1, &operator);
        }
    }
    for (param, v) in graph.params().iter().zip(values) {
        let tensor = dims(&param.shape).int(2, FLOAT).text(8, &param.name).floats(9, v);
        body = body.message(5, &tensor);
    }
    for node in graph.nodes() {
        if let Layer::MaxPool(pool, PadValue::Zero) = node.layer {
            body = zero_pads(body, node, pool.padding);
        }
    }
    let Shape { c, h, w } = graph.input_shape();
    body = body
        .message(11, &value_info("input", &[c, h, w]))
        .message(12, &value_info(&name(graph, graph.output()), &[graph.classes()]));
    let mut model = Message::default()
        .int(1, IR_VERSION)
        .text(2, env!("CARGO_PKG_NAME"))
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(7, &body)
        .message(8, &Message::default().text(1, "").int(2, OPSET));
    for (key, value) in &options.metadata {
        model = model.message(14, &Message::default().text(1, key).text(2, value));
    }
    model
}

/// The name of a node's value.
fn name(graph: &Graph, id: NodeId) -> String {
    match id {
        id if id == graph.output() => "logits".into(),
        id => graph.node(id).name.clone(),
    }
}

/// The operators that compute a layer; the last one's output is `output`.
fn operators(graph: &Graph, node: &Node, output: &str) -> Vec<Message> {
    let mut inputs: Vec<String> = node.inputs.iter().map(|id| name(graph, *id)).collect();
    let params = node.params.iter().map(|p| graph.param(*p).name.clone());
    let one = |kind: &str, inputs: &[String], attributes: Vec<Message>| {
        vec![operator(kind, &node.name, inputs, output, attributes)]
    };
    match node.layer {
        Layer::Input => vec![],
        Layer::Conv(conv) => {
            inputs.extend(params);
            one("Conv", &inputs, conv_attributes(&conv))
        }
        Layer::Subsample { stride, .. } => {
            inputs.extend(params);
            let attributes = vec![ints("kernel_shape", [1, 1]), ints("strides", [stride, stride])];
            one("Conv", &inputs, attributes)
        }
        Layer::Norm(norm) => {
            inputs.extend(params);
            one("BatchNormalization", &inputs, vec![float("epsilon", norm.eps)])
        }
        Layer::Relu => one("Relu", &inputs, vec![]),
        Layer::Add => one("Add", &inputs, vec![]),
        Layer::MaxPool(pool, PadValue::NegInf) => one("MaxPool", &inputs, pool_attributes(&pool)),
        Layer::MaxPool(pool, PadValue::Zero) => {
            let padded = format!("{}.padded", node.name);
            inputs.extend([format!("{}.pads", node.name), format!("{}.zero", node.name)]);
            let pad = operator("Pad", &padded, &inputs, &padded, vec![]);
            let bare = PoolLayer { padding: Padding::default(), ..pool };
            vec![pad, operator("MaxPool", &node.name, &[padded], output, pool_attributes(&bare))]
        }
        // Averages count only pixels inside the image, which is the operator's default.
        Layer::AvgPool(pool) => one("AveragePool", &inputs, pool_attributes(&pool)),
        Layer::GlobalAvgPool => one("GlobalAveragePool", &inputs, vec![]),
        Layer::Linear { .. } => {
            let flat = format!("{}.flat", node.name);
            let flatten = operator("Flatten", &flat, &inputs, &flat, vec![int("axis", 1)]);
            let gemm: Vec<String> = std::iter::once(flat).chain(params).collect();
            vec![flatten, operator("Gemm", &node.name, &gemm, output, vec![int("transB", 1)])]
        }
    }
}

/// What an explicit padding with zeros reads: eight numbers, before and after each dimension, and the zero.
fn zero_pads(body: Message, node: &Node, p: Padding) -> Message {
    let pads = [0, 0, p.top, p.left, 0, 0, p.bottom, p.right].map(|n| n as i64);
    let pads = dims(&[8]).int(2, INT64).text(8, &format!("{}.pads", node.name)).ints(7, pads);
    let zero = dims(&[]).int(2, FLOAT).text(8, &format!("{}.zero", node.name)).floats(9, &[0.0]);
    body.message(5, &pads).message(5, &zero)
}

fn operator(kind: &str, name: &str, inputs: &[String], output: &str, attributes: Vec<Message>) -> Message {
    let mut node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    node = node.text(2, output).text(3, name).text(4, kind);
    attributes.iter().fold(node, |node, attribute| node.message(5, attribute))
}

fn conv_attributes(conv: &ConvLayer) -> Vec<Message> {
    let (r, s) = conv.kernel;
    vec![
        ints("kernel_shape", [r, s]),
        ints("strides", [conv.stride, conv.stride]),
        pads(conv.padding),
        int("group", conv.groups),
    ]
}

fn pool_attributes(pool: &PoolLayer) -> Vec<Message> {
    let (r, s) = pool.window;
    vec![ints("kernel_shape", [r, s]), ints("strides", [pool.stride, pool.stride]), pads(pool.padding)]
}

fn pads(p: Padding) -> Message {
    ints("pads", [p.top, p.left, p.bottom, p.right])
}

fn int(name: &str, value: usize) -> Message {
    Message::default().text(1, name).int(3, value as i64).int(20, 2)
}

fn ints<const N: usize>(name: &str, values: [usize; N]) -> Message {
    Message::default().text(1, name).ints(8, values.map(|v| v as i64)).int(20, 7)
}

fn float(name: &str, value: f32) -> Message {
    Message::default().text(1, name).float(2, value).int(20, 1)
}

fn dims(shape: &[usize]) -> Message {
    Message::default().ints(1, shape.iter().map(|d| *d as i64))
}

/// An f32 tensor whose first dimension is the batch.
fn value_info(name: &str, shape: &[usize]) -> Message {
    let batch = Message::default().text(2, "N");
    let dims = shape.iter().fold(Message::default().message(1, &batch), |all, d| {
        all.message(1, &Message::default().int(1, *d as i64))
    });
    let tensor = Message::default().int(1, FLOAT).message(2, &dims);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}
