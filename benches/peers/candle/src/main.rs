//! One training step, or one inference pass, of torchvision's ResNet in Candle on the CPU.
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
}

impl Residual {
    fn new(block: step::Block, bottleneck: bool, vars: VarBuilder<'_>) -> Result<Self> {
        let step::Block { c_in, width, c_out, stride } = block;
        let layers = if bottleneck {
            vec![([c_in, width], 1, 1), ([width, width], 3, stride), ([width, c_out], 1, 1)]
        } else {
            vec![([c_in, width], 3, stride), ([width, c_out], 3, 1)]
        };
        let branch = layers.into_iter().enumerate();
        let branch = branch.map(|(i, (channels, k, s))| ConvNorm::new(channels, k, s, vars.pp(i)));
        let shortcut = (stride != 1 || c_in != c_out)
            .then(|| ConvNorm::new([c_in, c_out], 1, stride, vars.pp("shortcut")))
            .transpose()?;
        Ok(Self { branch: branch.collect::<Result<_>>()?, shortcut })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let identity = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, train)?,
            None => x.clone(),
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

struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Residual>,
    head: Linear,
}

impl ResNet {
    fn new(args: &step::Args, n_blocks: [usize; 4], bottleneck: bool, vars: VarBuilder<'_>) -> Result<Self> {
        let blocks = step::blocks(n_blocks, bottleneck);
        let features = blocks.last().map_or(64, |block| block.c_out);
        let stem = ConvNorm::new([args.channels, 64], 7, 2, vars.pp("stem"))?;
        let blocks = blocks.into_iter().enumerate();
        let blocks = blocks.map(|(i, block)| Residual::new(block, bottleneck, vars.pp("block").pp(i)));
        let blocks = blocks.collect::<Result<_>>()?;
        Ok(Self { stem, blocks, head: linear(features, args.classes, vars.pp("head"))? })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = self.stem.forward(x, train)?.relu()?.max_pool2d(2)?;
        for block in &self.blocks {
            x = block.forward(&x, train)?;
        }
        self.head.forward(&x.mean((2, 3))?)
    }
}

fn main() -> Result<()> {
    let args = step::Args::parse();
    let Some((n_blocks, bottleneck)) = step::stages(&args.arch) else {
        eprintln!("peer-candle: no network {:?}; there are resnet18, resnet34 and resnet50", args.arch);
        std::process::exit(2);
    };
    let device = Device::Cpu;
    let vars = VarMap::new();
    let model =
        ResNet::new(&args, n_blocks, bottleneck, VarBuilder::from_varmap(&vars, DType::F32, &device))?;
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
