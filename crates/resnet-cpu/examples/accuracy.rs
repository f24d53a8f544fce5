//! The error of the 3 × 3 convolutions of ResNet-18 at 96 pixels against f64, with plain sums, with Winograd's
//! algorithm, and with the arithmetic of AMX's tiles, which is emulated.
//!
//! ```text
//! cargo run --release -p resnet-cpu --example accuracy
//! ```
//!
//! Inputs are like the outputs of a ReLU, weights are scaled as He et al. do, gradients are normal.
//! Figures are root mean square errors relative to the root mean square of the result.

use resnet_conformance::Reference;
use resnet_core::op::{Conv2d, Op, Padding};
use resnet_core::rng::{Purpose, Stream};
use resnet_core::{
    Accumulate, Arithmetic, Backend, DType, GradOut, GradSource, HostData, HostDataMut, Result, Source,
    TensorDesc,
};
use resnet_cpu::{CpuBackend, Kernel};

fn main() -> Result<()> {
    let mut strict = CpuBackend::with_kernel(None, Kernel::Strict)?;
    let mut auto = CpuBackend::with_kernel(None, Kernel::Auto)?;
    let mut six = CpuBackend::with_kernel(None, Kernel::AmxEmulated)?;
    let mut three = CpuBackend::with_kernel(None, Kernel::HighEmulated)?;
    println!("{}", auto.describe());
    println!(
        "\n{:<16} {:<16} {:>9} {:>9} {:>6} {:>9} {:>9}",
        "layer", "direction", "plain", "auto", "way", "amx", "high"
    );
    // As many pictures as it takes for tiles to be used.
    for (n, h, c) in [(4, 24, 64), (16, 12, 128), (16, 6, 256), (64, 3, 512)] {
        let op = Conv2d::new((n, h, h, c), c, (3, 3), 1, Padding::all(1), 1, DType::F32)?;
        let mut random = Stream::new(0, Purpose::Synthetic, 0, h as u64);
        let mut normal = |len: usize, scale: f32| -> Vec<f32> {
            (0..len).map(|_| scale * random.normal() as f32).collect()
        };
        let mut x = normal(op.x_desc().len(), 1.0);
        x.iter_mut().for_each(|v| *v = v.max(0.0));
        let w = normal(op.w_desc().len(), (2.0 / (9 * c) as f32).sqrt());
        let dy = normal(op.y_desc().len(), 1.0);
        let wanted = directions(&mut Reference::new(), &op, &x, &w, &dy)?;
        let plain = directions(&mut strict, &op, &x, &w, &dy)?;
        let fast = directions(&mut auto, &op, &x, &w, &dy)?;
        let six = directions(&mut six, &op, &x, &w, &dy)?;
        let three = directions(&mut three, &op, &x, &w, &dy)?;
        let ops = [Op::Conv2d(op), Op::Conv2dBackwardData(op), Op::Conv2dBackwardWeight(op)];
        for (i, name) in ["forward", "backward-data", "backward-weight"].into_iter().enumerate() {
            let [plain, fast, six, three] =
                [&plain, &fast, &six, &three].map(|got| error(&got[i], &wanted[i]));
            let way = match auto.arithmetic(&ops[i]) {
                Arithmetic::Winograd { tile } => format!("{tile}×{tile}"),
                Arithmetic::Pieces { products } => format!("x{products}"),
                Arithmetic::Sums => "plain".to_owned(),
            };
            let layer = format!("{c}→{c} @{h}");
            println!("{layer:<16} {name:<16} {plain:>9.1e} {fast:>9.1e} {way:>6} {six:>9.1e} {three:>9.1e}");
        }
    }
    Ok(())
}

/// `y`, `dx` and `dw`.
fn directions<B: Backend>(b: &mut B, op: &Conv2d, x: &[f32], w: &[f32], dy: &[f32]) -> Result<[Vec<f32>; 3]> {
    b.prepare(&[Op::Conv2d(*op), Op::Conv2dBackwardData(*op), Op::Conv2dBackwardWeight(*op)])?;
    let x = put(b, op.x_desc(), x)?;
    let w = put(b, op.w_desc(), w)?;
    let dy = put(b, op.y_desc(), dy)?;
    let mut y = b.alloc(b.buffer_bytes(&op.y_desc()))?;
    let mut dx = b.alloc(b.buffer_bytes(&op.x_desc()))?;
    let mut dw = b.alloc(b.buffer_bytes(&op.w_desc()))?;
    b.conv2d(op, Source::raw(&x), &w, None, &mut y, None)?;
    b.conv2d_backward_data(op, GradSource::raw(&dy), &w, GradOut::set(&mut dx))?;
    b.conv2d_backward_weight(op, Source::raw(&x), GradSource::raw(&dy), &mut dw, None, Accumulate::Set)?;
    Ok([get(b, op.y_desc(), &y)?, get(b, op.x_desc(), &dx)?, get(b, op.w_desc(), &dw)?])
}

fn put<B: Backend>(b: &mut B, desc: TensorDesc, data: &[f32]) -> Result<B::Buffer> {
    let mut buffer = b.alloc(b.buffer_bytes(&desc))?;
    b.upload(&desc, HostData::F32(data), &mut buffer)?;
    Ok(buffer)
}

fn get<B: Backend>(b: &mut B, desc: TensorDesc, buffer: &B::Buffer) -> Result<Vec<f32>> {
    let mut out = vec![0.0; desc.len()];
    b.download(&desc, buffer, HostDataMut::F32(&mut out))?;
    Ok(out)
}

/// The reference comes back rounded to f32, which adds 3e-8 at most.
fn error(got: &[f32], wanted: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let errors: f64 = got.iter().zip(wanted).map(|(g, w)| square(f64::from(*g) - f64::from(*w))).sum();
    (errors / wanted.iter().map(|w| square(f64::from(*w))).sum::<f64>()).sqrt()
}
