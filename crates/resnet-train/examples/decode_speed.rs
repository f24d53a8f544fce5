//! Milliseconds from a picture file to a 224×224 crop on one core, beside torchvision's on the same files in turn:
//! `RESNET_TORCH_PYTHON=python cargo run --release -p resnet-train --example decode_speed PICTURE…`
//!
//! Without `RESNET_TORCH_PYTHON`, a Python that has torchvision, only ours are measured.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use resnet_core::preprocessing::{Preprocessing, Resize};
use resnet_core::rng::{Purpose, Stream};
use resnet_train::data::transform::{Scratch, Transform};
use resnet_train::data::{Picture, Pipeline, decode};

/// Rounds, of which the fastest counts: what else the machine does only makes one slower.
const N_ROUNDS: usize = 9;
/// Times that every file is read in a round.
const N_REPEATS: usize = 20;

type Anyhow<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Anyhow<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        return Err("name picture files".into());
    }
    let imagenet = Preprocessing {
        resize: Resize::ShortSide(256),
        ..Preprocessing::exact(224, 224, vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225])
    };
    let flip = vec![Transform::HorizontalFlip { probability: 0.5 }];
    let modes = [
        ("decode", Pipeline::default()),
        ("evaluation", Pipeline::for_evaluation(&imagenet)?),
        ("training", Pipeline::for_training(&imagenet, Some((0.08, 1.0)), flip)?),
    ];
    let mut torch = Torch::start(&files)?;
    println!("{} files, ms per picture, one thread, fastest of {N_ROUNDS} rounds", files.len());
    println!("{:12} {:>8} {:>12} {:>8}", "", "ours", "torchvision", "ratio");
    for (name, pipeline) in modes {
        let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
        for round in 0..N_ROUNDS {
            ours = ours.min(measure(&files, &pipeline, round as u64)?);
            if let Some(torch) = &mut torch {
                theirs = theirs.min(torch.measure(name)?);
            }
        }
        let (theirs, ratio) = match torch {
            Some(_) => (format!("{:.3}", theirs * 1e3), format!("{:.2}", theirs / ours)),
            None => ("-".into(), "-".into()),
        };
        println!("{name:12} {:8.3} {theirs:>12} {ratio:>8}", ours * 1e3);
    }
    Ok(())
}

/// Seconds per picture of one round.
fn measure(files: &[String], pipeline: &Pipeline, round: u64) -> Anyhow<f64> {
    let (mut picture, mut scratch) = (Picture::default(), Scratch::default());
    let start = Instant::now();
    for repeat in 0..N_REPEATS {
        for (i, file) in files.iter().enumerate() {
            let index = (repeat * files.len() + i) as u64;
            decode::decode(&std::fs::read(Path::new(file))?, &mut picture)?;
            pipeline.apply(
                &mut picture,
                &mut scratch,
                &mut Stream::new(0, Purpose::Augment, round, index),
            )?;
            std::hint::black_box(&picture);
        }
    }
    Ok(start.elapsed().as_secs_f64() / (N_REPEATS * files.len()) as f64)
}

/// The same in Python: a process that measures one round for every line it is sent.
struct Torch(Child, BufReader<std::process::ChildStdout>);

impl Torch {
    fn start(files: &[String]) -> Anyhow<Option<Self>> {
        let Some(python) = std::env::var_os("RESNET_TORCH_PYTHON") else { return Ok(None) };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/baseline/torch_pictures.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(N_REPEATS.to_string())
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Some(Self(child, answers)))
    }

    fn measure(&mut self, mode: &str) -> Anyhow<f64> {
        let input = self.0.stdin.as_mut().ok_or("no input")?;
        writeln!(input, "{mode}")?;
        let mut line = String::new();
        self.1.read_line(&mut line)?;
        Ok(line.trim().parse().map_err(|_| format!("the Python program answered {line:?}"))?)
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        drop(self.0.stdin.take()); // the end of its input ends it
        drop(self.0.wait());
    }
}
