//! Single convolutions: plain sums against what the backend takes of its own accord.

use std::fmt::Write;
use std::time::Instant;

use resnet_benches::layer::{Direction, Layer};
use resnet_benches::{Case, convolutions, label};
use resnet_core::DType;
use resnet_core::op::Conv2d;
use resnet_cpu::{CpuBackend, Kernel, Peak};

/// Says what the tables show.
pub(crate) fn explain(text: &mut String) {
    text.push_str(
        "\n# Layer by layer\n\n\
         Every distinct convolution as a training step calls it: normalisation and ReLU are read with the input, sums are taken \
         with the output, and the gradient is masked as it is written.\n\
         A cell is GFLOP/s and the share of the peak, with plain sums and with what the backend takes of its own accord, which \
         is Winograd's algorithm for most 3×3 windows of stride 1.\n",
    );
}

/// Times the convolutions of a case and adds their table to the text.
pub(crate) fn table(
    text: &mut String,
    case: &Case,
    peak: &Peak,
    threads: Option<usize>,
) -> anyhow::Result<()> {
    writeln!(text, "\n## Convolutions of {case}\n")?;
    text.push_str("| layer | times | GFLOP |");
    for direction in Direction::ALL {
        let name = direction.name().replace('_', "-");
        write!(text, " {name}, strict | auto |")?;
    }
    writeln!(text, "\n|---|--:|--:|{}", "--:|--:|".repeat(3))?;
    for (op, times) in convolutions(&case.network()?, case.batch, DType::F32)? {
        let flops = 2.0 * op.macs() as f64;
        let [strict, auto] = [Kernel::Strict, Kernel::Auto].map(|kernel| seconds(&op, kernel, threads));
        let (strict, auto) = (strict?, auto?);
        write!(text, "| {} | {times} | {:.2} |", label(&op), flops / 1e9)?;
        for seconds in strict.into_iter().zip(auto).flat_map(|(strict, auto)| [strict, auto]) {
            let rate = flops / seconds;
            write!(text, " {:.0}, {:.0} % |", rate / 1e9, 100.0 * rate / peak.flops)?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// The fastest of a few calls of each direction.
fn seconds(op: &Conv2d, kernel: Kernel, threads: Option<usize>) -> anyhow::Result<[f64; 3]> {
    const CALLS: usize = 5;
    let mut backend = CpuBackend::with_kernel(threads, kernel)?;
    let mut layer = Layer::new(&mut backend, op)?;
    let mut least = [f64::INFINITY; 3];
    for (direction, least) in Direction::ALL.into_iter().zip(&mut least) {
        layer.run(&mut backend, direction)?;
        for _ in 0..CALLS {
            let start = Instant::now();
            layer.run(&mut backend, direction)?;
            *least = least.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(least)
}
