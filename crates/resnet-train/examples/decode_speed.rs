//! CPU milliseconds from a picture file to a 224×224 crop on one thread, beside Python's readers on the same files in turn:
//! `cargo run --release -p resnet-train --example decode_speed -- [READER=PYTHON…] PICTURE…`
//!
//! A reader is `torchvision`, `pillow` or `libjpeg-turbo` (see `benches/baseline/pictures.py`), and `PYTHON` one that has it.
//! Time is that of the processor, so that what else the machine does counts little; elsewhere than on Linux it is the clock's.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use resnet_core::preprocessing::{Preprocessing, Resize};
use resnet_core::rng::{Purpose, Stream};
use resnet_train::data::transform::{Scratch, Transform};
use resnet_train::data::{Picture, Pipeline, decode};

/// Rounds, of which the median counts. In each, all readers take their turn.
const N_ROUNDS: usize = 9;
/// Times that every file is read in a round.
const N_REPEATS: usize = 20;

type Anyhow<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Anyhow<()> {
    let (readers, files): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.contains('=') && !Path::new(argument).exists());
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
    let mut others = readers.iter().map(|r| Reader::start(r, &files)).collect::<Anyhow<Vec<_>>>()?;
    println!("{} files, CPU ms per picture, one thread, median of {N_ROUNDS} rounds\n", files.len());
    let names: Vec<&str> = others.iter().map(|o| o.name.as_str()).collect();
    println!(
        "| | ours | {} |",
        names.iter().flat_map(|n| [*n, "times faster"]).collect::<Vec<_>>().join(" | ")
    );
    println!("|---|--:|{}", "--:|".repeat(2 * others.len()));
    for (name, pipeline) in modes {
        let mut rounds = vec![vec![]; others.len() + 1];
        for round in 0..N_ROUNDS {
            rounds[0].push(measure(&files, &pipeline, round as u64)?);
            for (other, rounds) in others.iter_mut().zip(&mut rounds[1..]) {
                rounds.push(other.measure(name)?);
            }
        }
        let medians: Vec<f64> = rounds.into_iter().map(median).collect();
        let theirs = medians[1..].iter().map(|t| format!(" {:.3} | {:.2} |", t * 1e3, t / medians[0]));
        println!("| {name} | {:.3} |{}", medians[0] * 1e3, theirs.collect::<String>());
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds per picture of one round.
fn measure(files: &[String], pipeline: &Pipeline, round: u64) -> Anyhow<f64> {
    let (mut picture, mut scratch) = (Picture::default(), Scratch::default());
    let start = Clock::start();
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
    Ok(start.seconds() / (N_REPEATS * files.len()) as f64)
}

/// Time that this thread spends on a processor, or that passes.
struct Clock(Instant, Option<f64>);

impl Clock {
    fn start() -> Self {
        Self(Instant::now(), Self::on_processor())
    }

    fn seconds(&self) -> f64 {
        let busy = self.1.zip(Self::on_processor()).map(|(start, now)| now - start);
        busy.unwrap_or_else(|| self.0.elapsed().as_secs_f64())
    }

    /// The first number of Linux's `schedstat`: nanoseconds.
    fn on_processor() -> Option<f64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
    }
}

/// The same in Python: a process that measures one round for every line it is sent.
struct Reader {
    name: String,
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Reader {
    fn start(named: &str, files: &[String]) -> Anyhow<Self> {
        let (name, python) = named.split_once('=').ok_or("READER=PYTHON wanted")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/baseline/pictures.py");
        let mut process = Command::new(python)
            .arg(script)
            .args([name, &N_REPEATS.to_string()])
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{python}: {e}"))?;
        let answers = BufReader::new(process.stdout.take().ok_or("no output")?);
        Ok(Self { name: name.into(), process, answers })
    }

    fn measure(&mut self, mode: &str) -> Anyhow<f64> {
        let input = self.process.stdin.as_mut().ok_or("no input")?;
        writeln!(input, "{mode}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().parse().map_err(|_| format!("{} answered {line:?}", self.name))?)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.process.stdin.take()); // the end of its input ends it
        drop(self.process.wait());
    }
}
