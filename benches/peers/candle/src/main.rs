//! One training step, or one inference pass, of torchvision's or CIFAR's ResNet in Candle on the CPU.
//!
//! Two things differ from the other contenders, both to Candle's advantage.
//! It has no gradient of a max-pool whose windows overlap, so the stem pools 2×2 windows at stride 2.
//! Its SGD has no momentum.
//! It takes the number of threads from `RAYON_NUM_THREADS`, which whoever starts this program sets.
#![forbid(unsafe_code)]

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Linear, ModuleT, Optimizer, SGD, VarBuilder, VarMap, batch_norm,
    conv2d_no_bias, linear, loss,
};
use clap::Parser;

#[path = "../../step.rs"]
mod step;

struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, vars: VarBuilder<'_>) -> Result<Self> {
        let config = Conv2dConfig { padding: kernel / 2, stride, ..Default::default() };
        Ok(Self {
            conv: conv2d_no_bias(channels[0], channels[1], kernel, config, vars.pp("conv"))?,
            norm: batch_norm(channels[1], 1e-5, vars.pp("norm"))?,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.norm.forward_t(&self.conv.forward(x)?, train)
    }
}

struct Residual {
    branch: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
    /// Channels of zeros before and after those of the input, in place of a shortcut with weights.
    padding: Option<usize>,
}

impl Residual {
    fn new(block: step::Block, net: step::Network, vars: VarBuilder<'_>) -> Result<Self> {
        let step::Block { c_in, width, c_out, stride } = block;
        let layers = if net.bottleneck {
            vec![([c_in, width], 1, 1), ([width, width], 3, stride), ([width, c_out], 1, 1)]
        } else {
            vec![([c_in, width], 3, stride), ([width, c_out], 3, 1)]
        };
        let branch = layers.into_iter().enumerate();
        let branch = branch.map(|(i, (channels, k, s))| ConvNorm::new(channels, k, s, vars.pp(i)));
        let changes = stride != 1 || c_in != c_out;
        let shortcut = (changes && !net.cifar)
            .then(|| ConvNorm::new([c_in, c_out], 1, stride, vars.pp("shortcut")))
            .transpose()?;
        let padding = (changes && net.cifar).then_some((c_out - c_in) / 2);
        Ok(Self { branch: branch.collect::<Result<_>>()?, shortcut, padding })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let identity = match (&self.shortcut, self.padding) {
            (Some(shortcut), _) => shortcut.forward(x, train)?,
            (None, Some(padding)) => every_other_pixel(x, padding)?,
            (None, None) => x.clone(),
        };
        let mut y = x.clone();
        for (i, layer) in self.branch.iter().enumerate() {
            y = layer.forward(&y, train)?;
            if i + 1 < self.branch.len() {
                y = y.relu()?;
            }
        }
        (y + identity)?.relu()
    }
}

/// The upper left of every four pixels, between channels of zeros.
fn every_other_pixel(x: &Tensor, padding: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let fours = x.reshape((n, c, h / 2, 2, w / 2, 2))?;
    let ones = fours.narrow(3, 0, 1)?.narrow(5, 0, 1)?.contiguous()?.reshape((n, c, h / 2, w / 2))?;
    ones.pad_with_zeros(1, padding, padding)
}

struct ResNet {
    pools: bool,
    stem: ConvNorm,
    blocks: Vec<Residual>,
    head: Linear,
}

impl ResNet {
    fn new(args: &step::Args, net: step::Network, vars: VarBuilder<'_>) -> Result<Self> {
        let blocks = net.blocks();
        let features = blocks.last().map_or(net.width, |block| block.c_out);
        let (kernel, stride) = if net.cifar { (3, 1) } else { (7, 2) };
        let stem = ConvNorm::new([args.channels, net.width], kernel, stride, vars.pp("stem"))?;
        let blocks = blocks.into_iter().enumerate();
        let blocks = blocks.map(|(i, block)| Residual::new(block, net, vars.pp("block").pp(i)));
        let blocks = blocks.collect::<Result<_>>()?;
        Ok(Self { pools: !net.cifar, stem, blocks, head: linear(features, args.classes, vars.pp("head"))? })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = self.stem.forward(x, train)?.relu()?;
        if self.pools {
            x = x.max_pool2d(2)?;
        }
        for block in &self.blocks {
            x = block.forward(&x, train)?;
        }
        self.head.forward(&x.mean((2, 3))?)
    }
}

fn main() -> Result<()> {
    let args = step::Args::parse();
    let net = step::Network::or_exit("peer-candle", &args.arch);
    let device = Device::Cpu;
    let vars = VarMap::new();
    let model =
        ResNet::new(&args, net, VarBuilder::from_varmap(&vars, DType::F32, &device))?;
    let shape = [args.batch, args.channels, args.size, args.size];
    let x = Tensor::from_vec(step::picture(shape.iter().product()), &shape, &device)?;
    let labels: Vec<u32> = (0..args.batch).map(|i| (i * 7 % args.classes) as u32).collect();
    let labels = Tensor::from_vec(labels, args.batch, &device)?;
    let mut optimizer = SGD::new(vars.all_vars(), 0.01)?;

    let mut run = || -> Result<()> {
        let logits = model.forward(&x, !args.infer)?;
        if args.infer {
            logits.to_vec2::<f32>()?;
            return Ok(());
        }
        optimizer.backward_step(&loss::cross_entropy(&logits, &labels)?)
    };
    let mut failed = None;
    step::time("candle 0.11.1", &args, || failed = failed.take().or_else(|| run().err()));
    failed.map_or(Ok(()), Err)
}
