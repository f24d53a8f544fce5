//! A network computed layer by layer in f64, with running statistics and no regard for time.
//!
//! Each value carries a bound on the rounding errors of the f64 arithmetic behind it (running error analysis: Higham,
//! *Accuracy and Stability of Numerical Algorithms*, section 3.3).

use resnet_core::Graph;
use resnet_core::graph::{Layer, Node, PoolLayer, Shape};
use resnet_core::op::{PadValue, Padding};

/// Bound of `n` rounded operations on terms whose absolute values sum to `sum`. The last factor covers second-order terms
/// and the rounding of the bound itself.
fn rounding(n: usize, sum: f64) -> f64 {
    n as f64 * f64::EPSILON / 2.0 * sum * 1.01
}

/// A value and the largest error it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) v: f64,
    pub(crate) err: f64,
}

/// One picture or activation, channels × rows × columns.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) shape: Shape,
    pub(crate) data: Vec<Value>,
}

impl Image {
    /// A picture that is exact.
    pub(crate) fn exact(shape: Shape, mut value: impl FnMut() -> f64) -> Self {
        Self { shape, data: (0..shape.len()).map(|_| Value { v: value(), err: 0.0 }).collect() }
    }

    /// The value at a place that may lie outside the image.
    fn get(&self, c: usize, y: isize, x: isize) -> Option<Value> {
        let inside = (0..self.shape.h as isize).contains(&y) && (0..self.shape.w as isize).contains(&x);
        inside.then(|| self.data[(c * self.shape.h + y as usize) * self.shape.w + x as usize])
    }

    /// As [`Image::get`] at a tap of a window.
    fn tap(
        &self,
        c: usize,
        (p, q): (usize, usize),
        stride: usize,
        pad: Padding,
        (i, j): (usize, usize),
    ) -> Option<Value> {
        let y = (p * stride + i) as isize - pad.top as isize;
        let x = (q * stride + j) as isize - pad.left as isize;
        self.get(c, y, x)
    }
}

/// The logits for one picture.
pub(crate) fn infer(graph: &Graph, values: &[Vec<f32>], picture: &Image) -> Vec<Value> {
    let mut done: Vec<Image> = vec![picture.clone()];
    for node in graph.nodes().iter().skip(1) {
        let inputs: Vec<&Image> = node.inputs.iter().map(|i| &done[i.0]).collect();
        let params: Vec<&[f32]> = node.params.iter().map(|p| &values[p.0][..]).collect();
        let y = layer(node, &inputs, &params);
        done.push(y);
    }
    done[graph.output().0].data.clone()
}

fn layer(node: &Node, inputs: &[&Image], params: &[&[f32]]) -> Image {
    let (x, out) = (inputs[0], node.shape);
    let pixels = x.shape.h * x.shape.w;
    let data = match node.layer {
        Layer::Input => unreachable!("only the first node is the input"),
        Layer::Conv(l) => conv(x, out, params, l.kernel, l.stride, l.padding, l.groups),
        Layer::Linear { .. } => conv(x, out, params, (1, 1), 1, Padding::default(), 1),
        Layer::Subsample { stride, .. } => conv(x, out, params, (1, 1), stride, Padding::default(), 1),
        Layer::Norm(l) => {
            let affine = |(i, x): (usize, &Value)| {
                let [gamma, beta, mean, var] = [0, 1, 2, 3].map(|p| f64::from(params[p][i / pixels]));
                let scale = gamma / (var + f64::from(l.eps)).sqrt();
                let size = scale.abs() * (x.v.abs() + mean.abs()) + beta.abs();
                Value { v: scale * (x.v - mean) + beta, err: scale.abs() * x.err + rounding(6, size) }
            };
            x.data.iter().enumerate().map(affine).collect()
        }
        Layer::Relu => x.data.iter().map(|x| Value { v: x.v.max(0.0), err: x.err }).collect(),
        Layer::Add => {
            let sum = |(a, b): (&Value, &Value)| Value {
                v: a.v + b.v,
                err: a.err + b.err + rounding(1, a.v.abs() + b.v.abs()),
            };
            x.data.iter().zip(&inputs[1].data).map(sum).collect()
        }
        Layer::MaxPool(l, pad) => windows(x, out, l, |inside, n_outside| {
            let floor = if n_outside > 0 && pad == PadValue::Zero { 0.0 } else { f64::NEG_INFINITY };
            let larger = |a: Value, b: &Value| Value { v: a.v.max(b.v), err: a.err.max(b.err) };
            inside.iter().fold(Value { v: floor, err: 0.0 }, larger)
        }),
        Layer::AvgPool(l) => windows(x, out, l, mean),
        Layer::GlobalAvgPool => windows(
            x,
            out,
            PoolLayer { window: (x.shape.h, x.shape.w), stride: 1, padding: Padding::default() },
            mean,
        ),
    };
    Image { shape: out, data }
}

/// Weight and, where there is one, bias are `params`.
fn conv(
    x: &Image,
    out: Shape,
    params: &[&[f32]],
    (r, s): (usize, usize),
    stride: usize,
    padding: Padding,
    groups: usize,
) -> Vec<Value> {
    let c_per_group = x.shape.c / groups;
    let mut data = Vec::with_capacity(out.len());
    for k in 0..out.c {
        let first = k / (out.c / groups) * c_per_group;
        for (p, q) in places(out.h, out.w) {
            let bias = params.get(1).map_or(0.0, |b| f64::from(b[k]));
            let mut y = Value { v: bias, err: 0.0 };
            let mut size = bias.abs();
            for c in 0..c_per_group {
                for (i, j) in places(r, s) {
                    let w = f64::from(params[0][((k * c_per_group + c) * r + i) * s + j]);
                    if let Some(x) = x.tap(first + c, (p, q), stride, padding, (i, j)) {
                        y.v += w * x.v;
                        y.err += w.abs() * x.err;
                        size += (w * x.v).abs();
                    }
                }
            }
            y.err += rounding(c_per_group * r * s + 1, size);
            data.push(y);
        }
    }
    data
}

/// Calls `reduce` with the values of each window that lie inside the image, and the number of places outside.
fn windows(x: &Image, out: Shape, l: PoolLayer, reduce: impl Fn(&[Value], usize) -> Value) -> Vec<Value> {
    let mut data = Vec::with_capacity(out.len());
    for c in 0..out.c {
        for place in places(out.h, out.w) {
            let taps = places(l.window.0, l.window.1).map(|tap| x.tap(c, place, l.stride, l.padding, tap));
            let inside: Vec<Value> = taps.flatten().collect();
            data.push(reduce(&inside, l.window.0 * l.window.1 - inside.len()));
        }
    }
    data
}

fn mean(values: &[Value], _n_outside: usize) -> Value {
    let n = values.len() as f64;
    Value {
        v: values.iter().map(|x| x.v).sum::<f64>() / n,
        err: values.iter().map(|x| x.err).sum::<f64>() / n,
    }
}

/// Rows and columns in row-major order.
fn places(h: usize, w: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..h).flat_map(move |y| (0..w).map(move |x| (y, x)))
}
