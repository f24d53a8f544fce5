//! How parameters start.

use crate::Graph;
use crate::rng::{Purpose, Stream};

/// The distribution a parameter is drawn from before training.
///
/// Fans are those of the tensor in file order: for a kernel `[k, c, r, s]`, fan-in is `c·r·s` and fan-out `k·r·s`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Init {
    /// Every element the same.
    Value(f32),
    /// Normal with variance `2 / fan_out`: He et al. 2015 (*Delving Deep into Rectifiers*), the choice of torchvision's ResNets.
    KaimingNormalFanOut,
    /// Normal with variance `2 / fan_in`: Paddle's default for convolutions.
    KaimingNormalFanIn,
    /// Uniform within `±1 / sqrt(fan_in)`: PyTorch's default for convolutions and fully connected layers.
    UniformFanIn,
    /// Uniform within `±sqrt(6 / (fan_in + fan_out))`: Glorot & Bengio 2010, Keras's default.
    GlorotUniform,
    /// Uniform within `±bound`: PyTorch's default for biases, whose bound comes from the weight's fan-in.
    Uniform {
        /// Largest magnitude.
        bound: f32,
    },
    /// Normal with a given standard deviation.
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// A fixed 1×1 kernel that copies channel `c` to channel `c + front`.
    ShiftedIdentity {
        /// Zero channels before the old ones.
        front: usize,
    },
}

impl Init {
    /// Fills a parameter of the given file-order shape. A pure function of its arguments: `index` is the parameter's
    /// position in its network, so that no parameter's start depends on another's size.
    pub fn fill(&self, shape: &[usize], seed: u64, index: u64) -> Vec<f32> {
        let len: usize = shape.iter().product();
        let receptive: usize = shape.iter().skip(2).product();
        let fan_out = (shape.first().copied().unwrap_or(1) * receptive) as f64;
        let fan_in = (shape.get(1).copied().unwrap_or(1) * receptive) as f64;
        let mut rng = Stream::new(seed, Purpose::Init, 0, index);
        let mut normal = |std: f64| (0..len).map(|_| (rng.normal() * std) as f32).collect();
        match *self {
            Init::Value(v) => vec![v; len],
            Init::KaimingNormalFanOut => normal((2.0 / fan_out).sqrt()),
            Init::KaimingNormalFanIn => normal((2.0 / fan_in).sqrt()),
            Init::Normal { std } => normal(f64::from(std)),
            Init::UniformFanIn => uniform(&mut rng, len, 1.0 / fan_in.sqrt()),
            Init::GlorotUniform => uniform(&mut rng, len, (6.0 / (fan_in + fan_out)).sqrt()),
            Init::Uniform { bound } => uniform(&mut rng, len, f64::from(bound)),
            Init::ShiftedIdentity { front } => {
                let c = shape[1];
                (0..len).map(|i| if i / c == i % c + front { 1.0 } else { 0.0 }).collect()
            }
        }
    }
}

/// The values that all parameters of a network start with, in the order of [`Graph::params`], each in file order.
pub fn initial_values(graph: &Graph, seed: u64) -> Vec<Vec<f32>> {
    graph.params().iter().enumerate().map(|(i, p)| p.init.fill(&p.shape, seed, i as u64)).collect()
}

fn uniform(rng: &mut Stream, len: usize, bound: f64) -> Vec<f32> {
    (0..len).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect()
}
