//! Normalisations folded into the convolutions before them, for inference.
//!
//! With running statistics a normalisation is a fixed scale and shift per channel, and so is part of the convolution:
//! `scale·(w∗x + b) + shift = (scale·w)∗x + (scale·b + shift)`.

use super::{Graph, GraphBuilder, Layer, NodeId};
use crate::init::Init;
use crate::{Error, Result};

/// Folds every normalisation whose input is a convolution that nothing else reads. `values` are in the order of
/// [`Graph::params`], each in file order; so is the result.
///
/// A folded convolution keeps its name and gets a bias; the normalisation is gone. What cannot be folded (the first
/// normalisation of a pre-activation block reads a sum) stays as it is. Computed in f64 and rounded once.
///
/// # Errors
/// [`Error::Mismatch`] if `values` do not fit the graph; [`Error::Invalid`] naming a normalisation whose running variance
/// gives no finite scale.
pub fn fold(graph: &Graph, values: &[Vec<f32>]) -> Result<(Graph, Vec<Vec<f32>>)> {
    check(graph, values)?;
    let norm_of = foldable(graph);
    let shape = graph.input_shape();
    let (mut builder, _) = GraphBuilder::new(shape.c, shape.h, shape.w)?;
    let mut folded = vec![];
    // Where each old node went. A folded normalisation is where its convolution is.
    let mut place: Vec<NodeId> = vec![NodeId(0)];
    for (i, node) in graph.nodes().iter().enumerate().skip(1) {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| place[input.0]).collect();
        if matches!(node.layer, Layer::Norm(_)) && norm_of[node.inputs[0].0] == Some(NodeId(i)) {
            place.push(inputs[0]);
            continue;
        }
        let (layer, mut own) = (node.layer, node.params.iter().map(|p| values[p.0].clone()).collect());
        let layer = match (layer, norm_of[i]) {
            (Layer::Conv(mut conv), Some(norm)) => {
                conv.bias = conv.bias.or(Some(Init::Value(0.0)));
                own = fold_pair(graph, values, NodeId(i), norm)?;
                Layer::Conv(conv)
            }
            (layer, _) => layer,
        };
        place.push(builder.push(&node.name, layer, &inputs)?);
        folded.append(&mut own);
    }
    Ok((builder.finish(place[graph.output().0])?, folded))
}

fn check(graph: &Graph, values: &[Vec<f32>]) -> Result<()> {
    let mismatch = |tensor: &str, found: usize, wanted: usize| {
        Err(Error::Mismatch {
            tensor: tensor.to_owned(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        })
    };
    if values.len() != graph.params().len() {
        return mismatch("number of parameters", values.len(), graph.params().len());
    }
    match graph.params().iter().zip(values).find(|(spec, v)| spec.len() != v.len()) {
        Some((spec, v)) => mismatch(&spec.name, v.len(), spec.len()),
        None => Ok(()),
    }
}

/// For each convolution the normalisation that goes into it.
fn foldable(graph: &Graph) -> Vec<Option<NodeId>> {
    let n_readers = graph.n_readers();
    let mut norm_of = vec![None; graph.nodes().len()];
    for (i, node) in graph.nodes().iter().enumerate() {
        let Layer::Norm(_) = node.layer else { continue };
        let input = node.inputs[0];
        if matches!(graph.node(input).layer, Layer::Conv(_)) && n_readers[input.0] == 1 {
            norm_of[input.0] = Some(NodeId(i));
        }
    }
    norm_of
}

/// Weight and bias of a convolution with its normalisation inside.
fn fold_pair(graph: &Graph, values: &[Vec<f32>], conv: NodeId, norm: NodeId) -> Result<Vec<Vec<f32>>> {
    let (conv, norm) = (graph.node(conv), graph.node(norm));
    let Layer::Norm(layer) = norm.layer else {
        return Err(Error::invalid(&norm.name, "is not a normalisation"));
    };
    let [gamma, beta, mean, var] = [0, 1, 2, 3].map(|i| &values[norm.params[i].0]);
    let weight = &values[conv.params[0].0];
    let bias = conv.params.get(1).map(|p| &values[p.0]);

    let n_out = gamma.len();
    let (mut new_weight, mut new_bias) = (Vec::with_capacity(weight.len()), Vec::with_capacity(n_out));
    for (k, kernel) in weight.chunks_exact(weight.len() / n_out).enumerate() {
        let scale = f64::from(gamma[k]) / (f64::from(var[k]) + f64::from(layer.eps)).sqrt();
        if !scale.is_finite() {
            return Err(Error::invalid(
                &norm.name,
                format!(
                    "channel {k} has gamma {} and running variance {}: no finite scale",
                    gamma[k], var[k]
                ),
            ));
        }
        new_weight.extend(kernel.iter().map(|w| (scale * f64::from(*w)) as f32));
        let raw = bias.map_or(0.0, |b| f64::from(b[k]));
        new_bias.push((scale * (raw - f64::from(mean[k])) + f64::from(beta[k])) as f32);
    }
    Ok(vec![new_weight, new_bias])
}
