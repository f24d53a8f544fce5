//! One training step, or one inference pass, of torchvision's or CIFAR's ResNet in Burn on its flex backend.
#![forbid(unsafe_code)]

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Parser;

#[path = "../../step.rs"]
mod step;

#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Self {
        let p = kernel / 2;
        Self {
            conv: Conv2dConfig::new(channels, [kernel, kernel])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(p, p, p, p))
                .with_bias(false)
                .init(device),
            norm: BatchNormConfig::new(channels[1]).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Residual {
    branch: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
    /// Channels of zeros before and after those of the input, in place of a shortcut with weights.
    padding: Option<usize>,
}

impl Residual {
    fn new(block: step::Block, net: step::Network, device: &Device) -> Self {
        let step::Block { c_in, width, c_out, stride } = block;
        let layer = |channels, kernel, stride| ConvNorm::new(channels, kernel, stride, device);
        let branch = if net.bottleneck {
            vec![layer([c_in, width], 1, 1), layer([width, width], 3, stride), layer([width, c_out], 1, 1)]
        } else {
            vec![layer([c_in, width], 3, stride), layer([width, c_out], 3, 1)]
        };
        let changes = stride != 1 || c_in != c_out;
        let shortcut = (changes && !net.cifar).then(|| layer([c_in, c_out], 1, stride));
        let padding = (changes && net.cifar).then_some((c_out - c_in) / 2);
        Self { branch, shortcut, padding }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let identity = match (&self.shortcut, self.padding) {
            (Some(shortcut), _) => shortcut.forward(x.clone()),
            (None, Some(padding)) => every_other_pixel(x.clone(), padding),
            (None, None) => x.clone(),
        };
        let mut y = x;
        for (i, layer) in self.branch.iter().enumerate() {
            y = layer.forward(y);
            if i + 1 < self.branch.len() {
                y = relu(y);
            }
        }
        relu(y + identity)
    }
}

/// The upper left of every four pixels, between channels of zeros.
fn every_other_pixel(x: Tensor<4>, padding: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let fours = x.reshape([n, c, h / 2, 2, w / 2, 2]);
    let ones = fours.slice([0..n, 0..c, 0..h / 2, 0..1, 0..w / 2, 0..1]).reshape([n, c, h / 2, w / 2]);
    let zeros = Tensor::zeros([n, padding, h / 2, w / 2], &ones.device());
    Tensor::cat(vec![zeros.clone(), ones, zeros], 1)
}

#[derive(Module, Debug)]
struct ResNet {
    stem: ConvNorm,
    pool: Option<MaxPool2d>,
    blocks: Vec<Residual>,
    average: AdaptiveAvgPool2d,
    head: Linear,
}

impl ResNet {
    fn new(args: &step::Args, net: step::Network, device: &Device) -> Self {
        let blocks = net.blocks();
        let features = blocks.last().map_or(net.width, |block| block.c_out);
        let (kernel, stride) = if net.cifar { (3, 1) } else { (7, 2) };
        let pool = MaxPool2dConfig::new([3, 3])
            .with_strides([2, 2])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
        Self {
            stem: ConvNorm::new([args.channels, net.width], kernel, stride, device),
            pool: (!net.cifar).then(|| pool.init()),
            blocks: blocks.into_iter().map(|block| Residual::new(block, net, device)).collect(),
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            head: LinearConfig::new(features, args.classes).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(x));
        if let Some(pool) = &self.pool {
            x = pool.forward(x);
        }
        for block in &self.blocks {
            x = block.forward(x);
        }
        self.head.forward(self.average.forward(x).flatten(1, 3))
    }
}

fn main() {
    let args = step::Args::parse();
    let net = step::Network::or_exit("peer-burn", &args.arch);
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global().expect("first use of the pool");
    let device = if args.infer { Device::flex() } else { Device::flex().autodiff() };
    let mut model = Some(ResNet::new(&args, net, &device));
    let shape = [args.batch, args.channels, args.size, args.size];
    let x = Tensor::<4>::from_data(TensorData::new(step::picture(shape.iter().product()), shape), &device);
    let labels: Vec<i64> = (0..args.batch).map(|i| (i * 7 % args.classes) as i64).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [args.batch]), &device);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut optimizer = SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)))
        .with_weight_decay(Some(WeightDecayConfig::new(1e-4)))
        .init();

    step::time("burn 0.22.1 (flex)", &args, || {
        let net = model.take().expect("put back after each step");
        let logits = net.forward(x.clone());
        if args.infer {
            let _ = logits.into_data();
            model = Some(net);
            return;
        }
        let gradients = loss.forward(logits, labels.clone()).backward();
        let gradients = GradientsParams::from_grads(gradients, &net);
        model = Some(optimizer.step(0.01, net, gradients));
    });
}
