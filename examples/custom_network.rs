//! A network that is in no paper: drawn layer by layer, trained for a few steps without any data set.
//!
//! `cargo run --release -p resnet-examples --example custom_network`

use resnet::backend::CpuBackend;
use resnet::core::graph::{ConvLayer, GraphBuilder, NormLayer};
use resnet::core::init::{Init, initial_values};
use resnet::core::op::{Optimizer, Padding, StepScalars};
use resnet::core::rng::{Purpose, Stream};
use resnet::core::{Executor, Graph, LowerOptions, Params, Result, TrainingStep};

const SIDE: usize = 16;
const BATCH: usize = 64;

fn main() -> Result<()> {
    let graph = network()?;
    println!("{}", graph.summary());

    let mut backend = CpuBackend::new(None)?;
    let rule = Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 };
    let mut params = Params::new(&mut backend, &graph, &initial_values(&graph, 0), Some(&rule))?;
    let mut net = Executor::new(&mut backend, &graph, LowerOptions::train(BATCH), 0.0)?;
    net.set_scalars(&mut backend, &StepScalars { lr: 0.05, ..StepScalars::default() })?;
    println!("{}\n", net.plan());
    let mut training = TrainingStep::new(rule);

    for step in 1..=60 {
        let (pixels, labels) = bars(step);
        training.run(&mut backend, &mut net, &mut params, &pixels, &labels)?;
        if step % 10 == 0 {
            let metrics = net.metrics(&mut backend)?;
            println!("step {step:2}, loss {:.4}, accuracy {:.3}", metrics.loss(), metrics.accuracy());
        }
    }
    Ok(())
}

/// Two residual blocks of one 5×5 convolution each. The builder checks every shape as it goes.
fn network() -> Result<Graph> {
    let conv = ConvLayer {
        out: 12,
        kernel: (5, 5),
        stride: 1,
        padding: Padding::all(2),
        groups: 1,
        init: Init::KaimingNormalFanOut,
        bias: None,
    };
    let norm = NormLayer { eps: 1e-5, momentum: 0.1, unbiased: true, gamma: 1.0 };
    let (mut g, picture) = GraphBuilder::new(1, SIDE, SIDE)?;
    let mut x = g.conv("stem", picture, ConvLayer { stride: 2, ..conv })?;
    for i in 0..2 {
        let y = g.conv(&format!("block{i}.conv"), x, conv)?;
        let y = g.norm(&format!("block{i}.norm"), y, norm)?;
        let y = g.add(&format!("block{i}.add"), y, x)?;
        x = g.relu(&format!("block{i}.relu"), y)?;
    }
    let pooled = g.global_avg_pool("pool", x)?;
    let logits = g.linear("fc", pooled, 2, Init::UniformFanIn, Some(Init::Value(0.0)))?;
    g.finish(logits)
}

/// Pictures with a horizontal bar (class 0) or a vertical one (class 1), in noise.
fn bars(step: u64) -> (Vec<u8>, Vec<u32>) {
    let mut random = Stream::new(0, Purpose::Synthetic, 0, step);
    let mut pixels: Vec<u8> = (0..BATCH * SIDE * SIDE).map(|_| random.below(128) as u8).collect();
    let mut labels = vec![];
    for picture in pixels.chunks_exact_mut(SIDE * SIDE) {
        let (vertical, at) = (random.below(2), random.below(SIDE));
        for i in 0..SIDE {
            picture[if vertical == 1 { i * SIDE + at } else { at * SIDE + i }] = 255;
        }
        labels.push(vertical as u32);
    }
    (pixels, labels)
}
