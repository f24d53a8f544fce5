//! What the peers have in common: the arguments, the shape of the network and the clock.

use std::time::Instant;

use clap::Parser;

/// Steps that are run first and not counted.
const WARM_UP_STEPS: usize = 2;

/// Where the first step takes longer than this many seconds, it is the only one that is not counted, and one is counted.
const LONG_S: f64 = 5.0;

/// The arguments that `resnet bench` takes too.
#[derive(Parser)]
pub struct Args {
    /// resnet18, resnet34, resnet50 or resnet20-cifar
    #[arg(long, default_value = "resnet18")]
    pub arch: String,
    #[arg(long, default_value_t = 3)]
    pub channels: usize,
    #[arg(long, default_value_t = 224)]
    pub size: usize,
    #[arg(long, default_value_t = 1000)]
    pub classes: usize,
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    #[arg(long, default_value_t = 5)]
    pub steps: usize,
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Inference instead of a training step
    #[arg(long)]
    pub infer: bool,
    /// Only f32
    #[arg(long, default_value = "f32", value_parser = ["f32"])]
    pub precision: String,
}

/// What sets one network apart from another.
#[derive(Clone, Copy)]
pub struct Network {
    /// Channels of the stem and inside the first stage's blocks; they double from stage to stage.
    pub width: usize,
    /// Blocks of each stage.
    pub n_blocks: &'static [usize],
    pub bottleneck: bool,
    /// CIFAR's: a 3×3 stem without pooling, and shortcuts that take every other pixel and pad channels with zeros.
    pub cifar: bool,
}

impl Network {
    /// By its name.
    pub fn named(arch: &str) -> Option<Self> {
        let torchvision = |n_blocks, bottleneck| Some(Self { width: 64, n_blocks, bottleneck, cifar: false });
        match arch {
            "resnet18" => torchvision(&[2, 2, 2, 2], false),
            "resnet34" => torchvision(&[3, 4, 6, 3], false),
            "resnet50" => torchvision(&[3, 4, 6, 3], true),
            "resnet20-cifar" => Some(Self { width: 16, n_blocks: &[3, 3, 3], bottleneck: false, cifar: true }),
            _ => None,
        }
    }

    /// Or the end of the program.
    pub fn or_exit(peer: &str, arch: &str) -> Self {
        Self::named(arch).unwrap_or_else(|| {
            eprintln!("{peer}: no network {arch:?}; there are resnet18, resnet34, resnet50 and resnet20-cifar");
            std::process::exit(2)
        })
    }

    /// Its blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut all = vec![];
        let mut c_in = self.width;
        for (stage, &n) in self.n_blocks.iter().enumerate() {
            let width = self.width << stage;
            let c_out = if self.bottleneck { 4 * width } else { width };
            for i in 0..n {
                let stride = if i == 0 && stage > 0 { 2 } else { 1 };
                all.push(Block { c_in, width, c_out, stride });
                c_in = c_out;
            }
        }
        all
    }
}

/// One block: channels in, inside and out, and its stride.
#[derive(Clone, Copy)]
pub struct Block {
    pub c_in: usize,
    pub width: usize,
    pub c_out: usize,
    pub stride: usize,
}

/// Runs and times the steps, and prints one line of JSON. `step` must have done its work when it returns.
pub fn time(framework: &str, args: &Args, mut step: impl FnMut()) {
    let mut seconds = || {
        let start = Instant::now();
        step();
        start.elapsed().as_secs_f64()
    };
    let is_long = seconds() > LONG_S;
    let (n_more, n_counted) = if is_long { (0, 1) } else { (WARM_UP_STEPS - 1, args.steps.max(1)) };
    for _ in 0..n_more {
        seconds();
    }
    let mut times: Vec<f64> = (0..n_counted).map(|_| seconds()).collect();
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let median = if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 };
    println!(
        "{}",
        serde_json::json!({
            "framework": framework,
            "arch": args.arch,
            "mode": if args.infer { "infer" } else { "train" },
            "median_s": median,
            "min_s": times[0],
            "images_per_s": args.batch as f64 / median,
            "peak_rss_bytes": peak_rss_bytes(),
        })
    );
}

/// The largest resident size so far, where Linux tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Numbers that look like a normalised picture: they fill, they repeat in no short period, and need no generator.
pub fn picture(len: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}
